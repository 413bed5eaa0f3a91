"""A store opened, and records as stations make them to put into it."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from clima_core.configuration import Secret
from clima_core.errors import UnavailableError
from clima_core.identity import DATA_SETS, Lane, event_id
from clima_core.ranges import Ranges
from clima_core.reading import rfc3339
from clima_forwarder.outputs import Options, elasticsearch, logstash, open_archive, open_output
from clima_forwarder.outputs.base import (
    Archive,
    Confirmed,
    DeadLetter,
    Document,
    Output,
    Result,
)
from clima_forwarder.outputs.logstash.idleness import Pace
from clima_forwarder.outputs.logstash.output import Output as LogstashOutput
from tests.elasticsearch_server import Server
from tests.logstash_standin import StandIn

PATIENCE_S = 60.0
STATISTICS_S = 0.2  # how old a stand-in's statistics are; the real one's up to 5 s
PACE = Pace(poll_s=0.2, settle_s=0.3, stuck_s=1.5)
START = datetime(2024, 5, 1, tzinfo=UTC)


def document(station: str, lane: Lane, sequence: int, **fields: Any) -> Document:
    """A record of ten seconds after the one before; `fields` are added to it, or replace."""
    time = START + timedelta(seconds=10 * (sequence - 1))
    body = {
        "@timestamp": rfc3339(time),
        "data_stream": DATA_SETS[lane.stream]._asdict(),
        "event": {"id": event_id(station, lane, sequence), "sequence": sequence},
        "station": {"id": station, "journal": lane.journal},
        **fields,
    }
    return Document(station, lane, sequence, time, msgspec.json.encode(body))


def documents(station: str, lane: Lane, sequences: Iterable[int]) -> list[Document]:
    """Several, with weather in them."""
    return [
        document(station, lane, sequence, weather={"air_temperature": sequence / 10})
        for sequence in sequences
    ]


def letter(station: str, lane: Lane, sequence: int, body: bytes = b'{"x":') -> DeadLetter:
    """A record that is no JSON."""
    return DeadLetter(station, lane, sequence, "malformed", "no JSON", body, START)


def content(body: bytes | None) -> dict[str, Any]:
    """What a document says: without what the store adds, the time as a moment."""
    said: dict[str, Any] = msgspec.json.decode(body or b"{}")
    event = {name: value for name, value in said["event"].items() if name != "ingested"}
    return {**said, "event": event, "@timestamp": datetime.fromisoformat(said["@timestamp"])}


def through(stand_in: StandIn, server: Server, **options: Any) -> logstash.Options:
    """The output `logstash` by way of a stand-in."""
    return logstash.Options(
        url=stand_in.url,
        username=stand_in.username,
        password=Secret(stand_in.password),
        statistics_url=stand_in.statistics_url,
        elasticsearch=elasticsearch.Options(url=server.url),
        **options,
    )


async def heard(
    output: Output, station: str, lane: Lane, missing: Ranges, since: float
) -> Confirmed:
    """What becomes of accepted records, once it can be seen: the forwarder waits for that too."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                return await output.confirmed(station, lane, missing, since)
            except UnavailableError:
                await asyncio.sleep(0.05)


async def create(output: Output, batch: Sequence[Document]) -> list[Result]:
    """What becomes of records in the end, however far the store is away."""
    results = await output.create(batch)
    accepted: dict[tuple[str, Lane], list[int]] = {}
    for document, result in zip(batch, results, strict=True):
        if result.status == "accepted":
            accepted.setdefault((document.station, document.lane), []).append(document.sequence)
    outcome: dict[tuple[str, Lane, int], Result] = {}
    for (station, lane), sequences in accepted.items():
        missing = Ranges.of(sequences)
        while missing:
            now = time.monotonic()
            found = await heard(output, station, lane, missing, now)
            if not (found.stored or found.dead):  # then one has to look once more
                first, last = missing.first or 0, missing.last or 0
                there = await output.find(station, lane, first, last, since=now)
                found = Confirmed(Ranges.of(each.sequence for each in there if each.body))
                assert found.stored, f"{missing} are gone"
            outcome |= {(station, lane, each): Result("stored") for each in found.stored}
            outcome |= {(station, lane, each): Result("refused") for each in found.dead}
            missing -= found.stored | found.dead
    return [
        outcome.get((document.station, document.lane, document.sequence), result)
        for document, result in zip(batch, results, strict=True)
    ]


def writing(store: Options) -> Output:
    """The writing side; its `open` is still to be called."""
    if isinstance(store, logstash.Options):
        return LogstashOutput(store, None if is_real(store) else PACE)
    return open_output(store)


def is_real(store: Options) -> bool:
    """Whether it is the Logstash that somebody else looks after, and may use just now."""
    url = os.environ.get("CLIMA_TEST_LOGSTASH_URL")
    return isinstance(store, logstash.Options) and store.url == url


async def open_patiently(output: Output) -> None:
    """As the forwarder does, until it can be opened."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                return await output.open()
            except UnavailableError:
                await asyncio.sleep(1)


@asynccontextmanager
async def opened(store: Options) -> AsyncIterator[tuple[Output, Archive]]:
    """Both sides of a store, closed at the end."""
    output, archive = writing(store), open_archive(store)
    try:
        await (open_patiently(output) if is_real(store) else output.open())
        await archive.open()
        yield output, archive
    finally:
        await archive.close()
        await output.close()
