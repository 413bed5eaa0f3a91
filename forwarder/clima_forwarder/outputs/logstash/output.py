"""Sends records to Logstash, and sees to it that they reach Elasticsearch.

What always holds:

- What Logstash has taken, or may have, is `accepted` and no more. It is stored when Elasticsearch
  has it (confirmation.py), and given up, to be sent again, only when Logstash is idle and
  Elasticsearch does not have it. So no two copies of a record are on the way at once.
- That holds across a restart of the forwarder, too: `open` waits until Logstash is idle, so that
  nothing an earlier forwarder sent can arrive behind our back.
- Everything else is done at Elasticsearch itself: looking for records, keeping dead letters of our
  own and what stations report.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence

import structlog

from clima_core.errors import ClimaError, UnavailableError
from clima_core.identity import Lane, Stream
from clima_core.ranges import Ranges
from clima_core.wire import StationReport
from clima_forwarder.outputs.base import Confirmed, DeadLetter, Document, Found, Highest, Result
from clima_forwarder.outputs.elasticsearch.output import Output as Elasticsearch
from clima_forwarder.outputs.logstash import Options
from clima_forwarder.outputs.logstash.confirmation import Confirmation
from clima_forwarder.outputs.logstash.connection import Connection
from clima_forwarder.outputs.logstash.idleness import Idleness, Pace
from clima_forwarder.outputs.logstash.search import Search

log = structlog.get_logger("clima_forwarder.outputs.logstash")


POST_BYTES = 1_000_000  # of one request; aiohttp warns of more, and Logstash takes 16 MB at most


class Output:
    """The output `logstash`; `outputs.base.Output` says what each call promises."""

    def __init__(self, options: Options, pace: Pace | None = None) -> None:
        self._logstash = Connection(options)
        self._store = Elasticsearch(options.elasticsearch)
        self._pace = pace or Pace()
        self._idleness = Idleness(self._logstash, self._pace)
        self._confirmation = Confirmation(
            Search(self._store.connection), self._idleness, options.confirm_s, self._pace.poll_s
        )

    async def open(self) -> None:
        await self._logstash.open()
        await self._store.open()
        opened = time.monotonic()
        while not self._idleness.lasts_since(opened):
            await self._idleness.observe()
            if on_the_way := self._idleness.on_the_way:
                raise UnavailableError(
                    f"Logstash still has {on_the_way} records in hand from before;"
                    " new ones wait on their stations"
                )
            await asyncio.sleep(self._pace.poll_s)

    async def close(self) -> None:
        await self._confirmation.close()
        await self._logstash.close()
        await self._store.close()

    async def create(self, documents: Sequence[Document]) -> list[Result]:
        results: list[Result] = []
        for lines in _bodies(documents):
            try:
                doubt = await self._logstash.post(b"\n".join([*lines, b""]))
            except ClimaError as error:
                if not results:
                    raise
                left = len(documents) - len(results)
                return results + [Result("retry", str(error))] * left
            if doubt:
                log.warning("acceptance_in_doubt", records=len(lines), reason=doubt)
            results += [Result("accepted", doubt)] * len(lines)
        return results

    async def confirmed(
        self, station: str, lane: Lane, sequences: Ranges, since: float, /
    ) -> Confirmed:
        return await self._confirmation.of(station, lane, sequences, since)

    async def dead_letter(self, letters: Sequence[DeadLetter]) -> list[Result]:
        return await self._store.dead_letter(letters)

    async def find(
        self, station: str, lane: Lane, first: int, last: int, *, since: float
    ) -> list[Found]:
        return await self._store.find(station, lane, first, last, since=since)

    async def highest(self, station: str, journal: str) -> dict[Stream, Highest]:
        return await self._store.highest(station, journal)

    async def report(self, reports: Sequence[StationReport]) -> None:
        await self._store.report(reports)


def _bodies(documents: Sequence[Document]) -> Iterator[list[bytes]]:
    """The lines of one request after the other, of `POST_BYTES` at most, or of one record."""
    lines: list[bytes] = []
    size = 0
    for document in documents:
        if lines and size + len(document.body) > POST_BYTES:
            yield lines
            lines, size = [], 0
        lines.append(document.body)
        size += len(document.body) + 1
    if lines:
        yield lines
