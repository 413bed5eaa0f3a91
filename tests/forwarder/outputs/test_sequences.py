"""Which sequences a data stream has: exact, whatever copies there are and whatever the numbers."""

from __future__ import annotations

import msgspec
import pytest

from clima_core.identity import DATA_SETS, Lane, event_id
from clima_core.ranges import Ranges
from clima_forwarder.outputs.base import Document
from clima_forwarder.outputs.elasticsearch import Options
from clima_forwarder.outputs.elasticsearch.connection import Connection
from clima_forwarder.outputs.elasticsearch.searches import of_lane
from clima_forwarder.outputs.elasticsearch.sequences import Counting
from tests.elasticsearch_server import Server
from tests.forwarder.outputs.stores import document, opened

WEATHER = DATA_SETS["w"].name


async def test_copies_under_another_id_are_found_and_hide_no_gap(
    elasticsearch: Server, station: str, journal: str
) -> None:
    """A copy and a hole in one bucket of the histogram make up the right count."""
    lane = Lane(journal, "w")
    sequences = Ranges([(1, 50_000)]) - Ranges.of([500, 30_000, 30_001])
    async with opened(Options(url=elasticsearch.url)) as (output, archive):
        await output.create([document(station, lane, sequence) for sequence in sequences])
        for sequence in (501, 501, 49_999):
            body = document(station, lane, sequence).body
            elasticsearch.request("POST", f"/{WEATHER}/_doc", msgspec.Raw(body))
        presence = await archive.presence(station, lane)
    assert (sequences, Ranges.of([501, 49_999])) == presence[:2]


def numbered(station: str, lane: Lane, sequence: int) -> Document:
    """A record of the first moment, whatever its number."""
    event = {"id": event_id(station, lane, sequence), "sequence": sequence}
    first = document(station, lane, 1, event=event)
    return msgspec.structs.replace(first, sequence=sequence)


@pytest.mark.timeout(60)
async def test_a_sequence_out_of_all_reason_costs_no_more_than_another(
    elasticsearch: Server, station: str, journal: str
) -> None:
    """Whoever has a key can store one, for good: nothing is held for the millions in between."""
    lane = Lane(journal, "w")
    far = 10**11
    sequences = Ranges([(1, 1000), (far // 2, far // 2 + 1), (far, far + 2)]) - Ranges.of([500])
    doubled = Ranges.of([501, far // 2, far + 1])
    async with opened(Options(url=elasticsearch.url)) as (output, archive):
        await output.create([numbered(station, lane, sequence) for sequence in sequences])
        for sequence in doubled:
            body = numbered(station, lane, sequence).body
            elasticsearch.request("POST", f"/{WEATHER}/_doc", msgspec.Raw(body))
        presence = await archive.presence(station, lane)
    assert (sequences, doubled) == presence[:2]


@pytest.mark.parametrize("most", [2, 3, 7, 100])
async def test_copies_are_looked_for_in_parts_of_bounded_size(
    elasticsearch: Server, station: str, journal: str, most: int
) -> None:
    """However they are spread, each is found, at the edges of parts too."""
    lane = Lane(journal, "w")
    sequences = Ranges([(1, 20), (100, 119), (10**6, 10**6 + 4)])
    doubled = Ranges.of([1, 2, 19, 20, 100, 103, 10**6 + 4])
    async with opened(Options(url=elasticsearch.url)) as (output, _):
        await output.create([document(station, lane, sequence) for sequence in sequences])
        for sequence in doubled:
            body = document(station, lane, sequence).body
            elasticsearch.request("POST", f"/{WEATHER}/_doc", msgspec.Raw(body))
    connection = Connection(Options(url=elasticsearch.url))
    counting = Counting(connection, most_buckets=5, most_documents=most)
    found = await counting.sequences(WEATHER, of_lane(station, journal))
    await connection.close()
    assert (sequences, doubled) == found
