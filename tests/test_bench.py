"""The benchmarks' small runs: every reading arrives once, or there is no figure. No speed."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import pytest
from bench import backlog, disk, feed, figures, logstash, reading, records, stations
from bench.figures import Figure
from bench.sink import Counts, Sink

from clima_agent.spool import Spool
from clima_core.identity import Lane
from clima_core.reading import Record
from tests.elasticsearch_server import Server

linux = pytest.mark.skipif(sys.platform != "linux", reason="CPU clocks and /proc are Linux's")
BULK = (
    b'{"create":{"_index":"weather","_id":"a:1"}}\n{}\n'
    b'{"create":{"_index":"weather","_id":"a:2"}}\n{}\n'
)


def test_the_sink_counts_what_it_is_given_and_what_is_distinct() -> None:
    """A record that comes twice is answered as a server does, and shows."""
    sink = Sink()
    target = "/_bulk?filter_path=errors,items.*.status"
    _, answer = sink.answer("POST", target, BULK)
    created = {"create": {"status": 201}}
    assert {"errors": False, "items": [created, created]} == msgspec.json.decode(answer)
    _, answer = sink.answer("POST", target, BULK[: len(BULK) // 2])
    assert msgspec.json.decode(answer)["errors"]
    assert {"weather": Counts(3, 2)} == sink.counts()


@pytest.mark.parametrize("kind", records.KINDS)
def test_the_records_are_readings(kind: records.Kind, tmp_path: Path) -> None:
    """Both kinds pass the forwarder's typed check; the short one is as long as the rivals' was."""
    path = tmp_path / "spool.db"
    journal = records.fill(path, kind, 1000)
    spool = Spool(path, records.station(kind).id)
    bodies = spool.read(Lane(journal, "w"), 1, 1000, 2**20)
    spool.close()
    assert 1000 == len(bodies)
    assert all(msgspec.json.decode(body, type=Record).weather for body in bodies)
    mean = sum(map(len, bodies)) / 1000
    assert abs(mean - {"short": 366, "full": 961}[kind]) < 25


@linux
@pytest.mark.slow
@pytest.mark.parametrize("part", [backlog, reading, disk, feed, stations])
def test_a_small_run_loses_and_doubles_nothing(part: figures.Part, tmp_path: Path) -> None:
    """Each part checks its own counts, and has figures only when they agree."""
    found = part.measure(tmp_path, quick=True)
    assert found
    assert all(figure.value > 0 for figure in found)


@linux
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_small_run_by_way_of_logstash_acknowledges_everything(
    elasticsearch: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each station waits for all of its acknowledgements, or there is no figure."""
    monkeypatch.setenv("CLIMA_TEST_ELASTICSEARCH_URL", elasticsearch.url)
    found = logstash.measure(tmp_path, quick=True)
    assert 6 == len(found)


def test_a_figure_says_whether_it_keeps_its_limit() -> None:
    """Without a limit it is only told."""
    assert "ok" == Figure("a", 1.0, "s", 2).verdict
    assert "missed" == Figure("a", 3.0, "s", 2).verdict
    assert not Figure("a", 3.0, "s").verdict


def test_of_several_runs_the_median_counts() -> None:
    """Figure by figure."""
    runs = [[Figure("a", value, "s")] for value in (3.0, 1.0, 2.0)]
    assert [Figure("a", 2.0, "s")] == figures.medians(runs)
