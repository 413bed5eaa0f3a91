"""Writes records to Elasticsearch's data streams by bulk `create`, and says what became of each.

What always holds:

- `_id` is the record's identity, and every write is a `create`: 409 means "already there". An
  `_id` is unique only within one backing index, so after a rollover the same one is taken
  again; hence `find` searches the whole data stream by sequence.
- What became of each is said by its own result (bulks.py), and no request is sent twice
  (connection.py).
"""

import base64
import time
from collections.abc import Sequence
from typing import Any

import msgspec

from clima_core.errors import ClimaError, ConfigurationError
from clima_core.identity import DATA_SETS, DEAD_LETTERS, STREAMS, Lane, Stream, lane_id
from clima_core.reading import rfc3339
from clima_core.wire import StationReport
from clima_elk import elasticsearch as assets
from clima_forwarder.outputs.base import (
    FIND_LIMIT,
    Confirmed,
    DeadLetter,
    Document,
    Found,
    Highest,
    Result,
)
from clima_forwarder.outputs.elasticsearch import Options
from clima_forwarder.outputs.elasticsearch.bulks import part, write
from clima_forwarder.outputs.elasticsearch.connection import Connection
from clima_forwarder.outputs.elasticsearch.reports import JOURNALS, keep
from clima_forwarder.outputs.elasticsearch.searches import Page, of_lane, where

FIND_STEP = 1_000  # sequences per search of `find`, so that memory stays bounded


class _Hit(msgspec.Struct, frozen=True):
    sort: tuple[int]
    source: msgspec.Raw = msgspec.field(default=msgspec.Raw(), name="_source")


class _Max(msgspec.Struct, frozen=True):
    value: float | None


class _Last(msgspec.Struct, frozen=True):
    last: _Max = _Max(None)


class _Highest(msgspec.Struct, frozen=True):
    aggregations: _Last = _Last()  # missing where there is no index yet


class Output:
    """The output `elasticsearch`; `outputs.base.Output` says what each call promises."""

    def __init__(self, options: Options) -> None:
        self.connection = Connection(options)
        self._install_templates = options.install_templates
        self._refreshed: dict[str, float] = {}  # data stream -> when its last refresh began

    async def open(self) -> None:
        await self.connection.check_version()
        request = self.connection.exchange
        try:
            if self._install_templates:
                await assets.install(request)
            elif missing := await assets.missing(request):
                raise ConfigurationError(
                    f"{self.connection.url} lacks the index templates {', '.join(missing)}, or has"
                    " older ones: run `clima provision`, or set install_templates"
                )
        except assets.InstallError as error:
            raise self.connection.refusal(error) from error

    async def close(self) -> None:
        await self.connection.close()

    async def create(self, documents: Sequence[Document]) -> list[Result]:
        lines: list[bytes] = []
        station, lane, action = "", None, b""
        for each in documents:  # hundreds of a lane in a row: the action is made for the first
            if each.lane is not lane or each.station is not station:
                station, lane = each.station, each.lane
                action = _create(station, lane)
            lines.append(b'%b%d"}}\n%b\n' % (action, each.sequence, each.body))
        return await write(self.connection, lines)

    async def confirmed(self, *_: object) -> Confirmed:
        return Confirmed()  # nothing is ever on the way: `create` says it at once

    async def dead_letter(self, letters: Sequence[DeadLetter]) -> list[Result]:
        return await write(
            self.connection,
            [
                part({"create": {"_index": DEAD_LETTERS.name, "_id": each.id}}, _letter(each))
                for each in letters
            ],
        )

    async def find(
        self, station: str, lane: Lane, first: int, last: int, *, since: float
    ) -> list[Found]:
        if last - first >= FIND_LIMIT:
            raise ValueError(f"{last - first + 1} sequences; at most {FIND_LIMIT}")
        stream = DATA_SETS[lane.stream].name
        await self._refresh((stream, DEAD_LETTERS.name), since)
        options = {"size": FIND_LIMIT, "sort": ["event.sequence"], "track_total_hits": True}
        found: list[Found] = []
        for start in range(first, last + 1, FIND_STEP):
            query = of_lane(station, lane.journal, start, min(start + FIND_STEP - 1, last))
            letters = [*query, {"term": {"deadletter.stream": lane.stream}}]
            answers = await self.connection.searches(
                Page[_Hit],
                (stream, {**options, **where(query)}),
                (DEAD_LETTERS.name, {**options, **where(letters), "_source": False}),
            )
            for page in answers:
                if page.total != len(page.hits):
                    raise ClimaError(f"{station}: too many copies of {lane} from {start}")
                found += (Found(hit.sort[0], bytes(hit.source) or None) for hit in page.hits)
        return sorted(found, key=lambda one: one.sequence)

    async def highest(self, station: str, journal: str) -> dict[Stream, Highest]:
        data_streams = [DATA_SETS[stream].name for stream in STREAMS]
        await self.connection.refresh(*data_streams, DEAD_LETTERS.name, JOURNALS)
        lane = of_lane(station, journal)
        searches = [
            (index, {"size": 0, **where(query), "aggs": {"last": {"max": {"field": field}}}})
            for stream in STREAMS
            for index, query, field in (
                (DATA_SETS[stream].name, lane, "event.sequence"),
                (
                    DEAD_LETTERS.name,
                    [*lane, {"term": {"deadletter.stream": stream}}],
                    "event.sequence",
                ),
                (JOURNALS, [*lane, {"term": {"stream": stream}}], "last"),
            )
        ]
        answers = await self.connection.searches(_Highest, *searches)
        lasts = [int(answer.aggregations.last.value or 0) for answer in answers]
        return {
            stream: Highest(max(stored, dead), reported)
            for stream, stored, dead, reported in zip(
                STREAMS, lasts[0::3], lasts[1::3], lasts[2::3], strict=True
            )
            if stored or dead or reported
        }

    async def report(self, reports: Sequence[StationReport]) -> None:
        await keep(self.connection, reports)

    async def _refresh(self, names: Sequence[str], since: float) -> None:
        stale = [name for name in names if self._refreshed.get(name, -1.0) < since]
        if stale:
            began = time.monotonic()
            await self.connection.refresh(*stale)
            self._refreshed.update(dict.fromkeys(stale, began))


def _create(station: str, lane: Lane) -> bytes:
    """The action line of a lane's records, up to the sequence."""
    index = DATA_SETS[lane.stream].name
    return f'{{"create":{{"_index":"{index}","_id":"{lane_id(station, lane)}:'.encode()


def _letter(letter: DeadLetter) -> dict[str, Any]:
    """The document of a dead letter; `event.original` is base64 where it is no text."""
    try:
        original, encoding = letter.body.decode(), "utf-8"
    except UnicodeDecodeError:
        original, encoding = base64.b64encode(letter.body).decode(), "base64"
    found_by = {
        "@timestamp": rfc3339(letter.received),
        "event": {"id": letter.id, "sequence": letter.sequence, "original": original},
        "station": {"id": letter.station, "journal": letter.lane.journal},
        "deadletter": {"stream": letter.lane.stream, "encoding": encoding},
    }
    if letter.bare:
        return found_by
    error = {"type": letter.reason, "message": letter.message}
    return {**found_by, "data_stream": DEAD_LETTERS._asdict(), "error": error}
