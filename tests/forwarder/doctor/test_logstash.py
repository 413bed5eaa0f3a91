"""Logstash's queues."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from clima_core.configuration import Secret
from clima_core.identity import Lane
from clima_forwarder.doctor import logstash as check
from clima_forwarder.outputs import logstash
from tests import logstash_standin
from tests.e2e.harness import wait_until
from tests.elasticsearch_server import Server
from tests.forwarder.doctor.conftest import Patient, by_logstash, straight
from tests.forwarder.doctor.overlay import Overlay
from tests.forwarder.outputs.stores import documents
from tests.logstash_standin import StandIn


@pytest.fixture
def stand_in(elasticsearch: Server, tmp_path: Path) -> Iterator[StandIn]:
    """A Logstash of the test's own."""
    yield from logstash_standin.running(tmp_path / "logstash", elasticsearch.url, statistics_s=0.1)


def pipelines(**changes: Any) -> tuple[int, Any]:
    """Statistics of pipelines of which nothing is wrong but what `changes` say of `readings`."""
    fine = {"events": {"out": 1}, "queue": {"events_count": 0, "max_queue_size_in_bytes": 1000}}
    names = ("readings", "logs", "deadletters")
    return 200, {"pipelines": {name: dict(fine) for name in names} | {"readings": fine | changes}}


async def test_a_queue_that_is_empty_and_one_that_stands_still(
    patient: Patient, elasticsearch: Server, stand_in: StandIn, station: str, journal: str
) -> None:
    """Accepted, and not one leaves: broken. When they go again, all is well."""
    options = logstash.Options(
        url=stand_in.url,
        statistics_url=stand_in.statistics_url,
        username=stand_in.username,
        password=Secret(stand_in.password),
        elasticsearch=straight(elasticsearch.url),
    )
    patient.output = options
    stand_in.wait_true()
    assert ["ok"] * 3 == [state for state, _ in await patient.states(check)]
    stand_in.trouble(hold=True)
    _post(stand_in, b"\n".join(e.body for e in documents(station, Lane(journal, "w"), [1, 2, 3])))
    wait_until("they show", lambda: stand_in.statistics()["readings"]["queue"]["events_count"] == 3)
    found = (await patient.looked(check))[0]
    assert "broken" == found.state
    assert "3 events wait, and none left" in found.text


def _post(stand_in: StandIn, lines: bytes) -> None:
    login = b64encode(f"{stand_in.username}:{stand_in.password}".encode()).decode()
    headers = {"content-type": "application/x-ndjson", "authorization": f"Basic {login}"}
    with urlopen(Request(stand_in.url, lines, headers)) as answer:
        assert 200 == answer.status


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"queue": {"queue_size_in_bytes": 990, "max_queue_size_in_bytes": 1000}},
            "the queue is full",
        ),
        (
            {
                "dead_letter_queue": {
                    "queue_size_in_bytes": 990,
                    "max_queue_size_in_bytes": 1000,
                }
            },
            "the dead letter queue is full",
        ),
        ({"dead_letter_queue": {"dropped_events": 3}}, "3 dead letters dropped"),
    ],
)
async def test_queues_that_are_full(
    changes: dict[str, Any], said: str, patient: Patient, other: Overlay
) -> None:
    """Of readings, of dead letters; and dead letters that are gone."""
    other.answers["/_node/stats/pipelines"] = pipelines(**changes)
    patient.output = by_logstash(other.url, other.url)
    (text,) = [text for state, text in await patient.states(check) if state == "broken"]
    assert said in text


async def test_a_pipeline_that_does_not_run(patient: Patient, other: Overlay) -> None:
    """A mistake in its file stops one alone; Logstash goes on."""
    other.answers["/_node/stats/pipelines"] = (200, {"pipelines": {"readings": {}, "logs": {}}})
    patient.output = by_logstash(other.url, other.url)
    broken = [text for state, text in await patient.states(check) if state == "broken"]
    assert ["pipeline deadletters is not running"] == broken


@pytest.mark.parametrize("answer", [(401, b""), (200, b"nonsense"), (500, b"")])
async def test_statistics_that_are_not_to_be_had(
    answer: tuple[int, Any], patient: Patient, other: Overlay
) -> None:
    """Why, instead of a guess."""
    other.answers["/_node/stats/pipelines"] = answer
    patient.output = by_logstash(other.url, other.url)
    assert ["unchecked"] == [state for state, _ in await patient.states(check)]
