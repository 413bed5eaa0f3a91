"""`clima audit --repair` of what a real Elasticsearch has more than once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence

import msgspec
import pytest

from clima_core.errors import EXIT_FINDING, EXIT_OK, EXIT_UNAVAILABLE
from clima_core.identity import DATA_SETS, Lane
from clima_forwarder.cli import main
from clima_forwarder.outputs import elasticsearch as elasticsearch_output
from clima_forwarder.outputs import open_output
from clima_forwarder.outputs.base import Document
from clima_forwarder.outputs.elasticsearch import copies as surplus
from tests.elasticsearch_server import Server
from tests.forwarder.outputs.stores import document, documents

WEATHER = DATA_SETS["w"].name

Audit = Callable[..., tuple[int, list[dict[str, list[list[int]]]]]]


@pytest.fixture
def lane(journal: str) -> Lane:
    """The weather of a journal of its own."""
    return Lane(journal, "w")


@pytest.fixture
def audit(elasticsearch: Server, station: str, capsys: pytest.CaptureFixture[str]) -> Audit:
    """`clima audit` of the station, with options: its exit code, and the ranges of its lanes."""

    def run(*options: str) -> tuple[int, list[dict[str, list[list[int]]]]]:
        command = ["audit", "--url", elasticsearch.url, "--station", station, "--json", *options]
        code = main(command)
        return code, [lane["ranges"] for lane in json.loads(capsys.readouterr().out)]

    return run


def store(server: Server, batch: Sequence[Document]) -> None:
    """As the forwarder does."""

    async def create() -> None:
        output = open_output(elasticsearch_output.Options(url=server.url))
        await output.open()
        assert {"stored"} == {result.status for result in await output.create(batch)}
        await output.close()

    asyncio.run(create())


def copies(server: Server, station: str) -> list[tuple[str, str, int]]:
    """Index, `_id` and sequence of all that is stored of a station."""
    server.request("POST", f"/{WEATHER}/_refresh")
    query = {"query": {"term": {"station.id": station}}, "size": 1000}
    hits = server.request("POST", f"/{WEATHER}/_search", query)["hits"]["hits"]
    return sorted((hit["_index"], hit["_id"], hit["_source"]["event"]["sequence"]) for hit in hits)


def test_the_first_copy_of_what_is_stored_twice_is_left(
    elasticsearch: Server, station: str, lane: Lane, audit: Audit
) -> None:
    """The other one is deleted, and nothing else."""
    batch = documents(station, lane, range(1, 601))
    store(elasticsearch, batch)
    before = copies(elasticsearch, station)
    elasticsearch.rollover(WEATHER)
    store(elasticsearch, batch[20:540])
    code, (ranges,) = audit()
    assert (EXIT_FINDING, [[21, 540]]) == (code, ranges["doubled"])

    code, (ranges,) = audit("--repair")
    assert (EXIT_OK, [], [[1, 600]]) == (code, ranges["doubled"], ranges["stored"])
    assert before == copies(elasticsearch, station)


def test_two_who_repair_at_once_keep_the_same_copy() -> None:
    """Whatever order the server gives them in: else each deletes what the other one keeps."""
    found = [
        surplus._Copy(".ds-x-000001", identity, 1, 1, (1,), msgspec.Raw(b"{}"))
        for identity in ("one", "another")
    ]
    kept = {surplus._in_order(each, "roof:0:w:1")[0].id for each in (found, found[::-1])}
    assert 1 == len(kept)


def test_a_copy_under_another_identity_goes_first(
    elasticsearch: Server, station: str, lane: Lane, audit: Audit
) -> None:
    """As another program made it: even where it is the older one."""
    (first,) = documents(station, lane, [1])
    path = f"/{WEATHER}/_create/copied-by-hand-{lane.journal}?refresh=true"
    elasticsearch.request("PUT", path, msgspec.json.decode(first.body))
    elasticsearch.rollover(WEATHER)
    store(elasticsearch, [first])
    assert EXIT_OK == audit("--repair")[0]
    ((_, identity, _),) = copies(elasticsearch, station)
    assert f"{station}:{lane.journal}:w:1" == identity


def test_a_copy_that_logstash_wrote_anew_says_the_same(
    elasticsearch: Server, station: str, lane: Lane, audit: Audit
) -> None:
    """It leaves `.000` of a time out."""
    (first,) = documents(station, lane, [1])
    store(elasticsearch, [first])
    elasticsearch.rollover(WEATHER)
    assert b".000Z" in first.body
    anew = msgspec.structs.replace(first, body=first.body.replace(b".000Z", b"Z", 1))
    store(elasticsearch, [anew])
    assert EXIT_OK == audit("--repair")[0]
    assert 1 == len(copies(elasticsearch, station))


def test_copies_that_do_not_say_the_same_are_left(
    elasticsearch: Server, station: str, lane: Lane, audit: Audit
) -> None:
    """Nobody but a person can tell which one is right."""
    batch = documents(station, lane, [1, 2])
    store(elasticsearch, batch)
    elasticsearch.rollover(WEATHER)
    warmer = document(station, lane, 1, weather={"air_temperature": 40.5})
    store(elasticsearch, [warmer, batch[1]])

    code, (ranges,) = audit("--repair")
    assert (EXIT_FINDING, [[1, 1]]) == (code, ranges["doubled"])
    assert [1, 1, 2] == sorted(sequence for _, _, sequence in copies(elasticsearch, station))


def test_where_nothing_can_be_deleted_it_is_said(
    elasticsearch: Server,
    station: str,
    lane: Lane,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Both copies stay, and nobody is told of a privilege: the index is closed for writing."""
    batch = documents(station, lane, [1])
    store(elasticsearch, batch)
    elasticsearch.rollover(WEATHER)
    store(elasticsearch, batch)
    block = f"/{WEATHER}/_settings?expand_wildcards=all"
    elasticsearch.request("PUT", block, {"index.blocks.write": True})
    command = ["audit", "--url", elasticsearch.url, "--station", station, "--repair"]
    try:
        assert EXIT_UNAVAILABLE == main(command)
    finally:
        elasticsearch.request("PUT", block, {"index.blocks.write": None})
    said = capsys.readouterr().err
    assert "answered 403 to a deletion: cluster_block_exception" in said
    assert "privilege" not in said
    assert 2 == len(copies(elasticsearch, station))
