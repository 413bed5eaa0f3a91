"""A store opened, and records as stations make them to put into it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from clima_core.identity import DATA_SETS, Lane, event_id
from clima_core.reading import rfc3339
from clima_forwarder.outputs import Options, open_archive, open_output
from clima_forwarder.outputs.base import Archive, DeadLetter, Document, Output

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


@asynccontextmanager
async def opened(store: Options) -> AsyncIterator[tuple[Output, Archive]]:
    """Both sides of a store, closed at the end."""
    output, archive = open_output(store), open_archive(store)
    try:
        await output.open()
        await archive.open()
        yield output, archive
    finally:
        await archive.close()
        await output.close()
