"""Reads the SQLite file for `clima audit` and `clima readings`."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta

import msgspec

from clima_core.identity import STREAMS, Lane, Stream
from clima_core.ranges import Pair, Ranges
from clima_core.wire import LaneReport, StationReport
from clima_forwarder.outputs.base import Presence, Reading
from clima_forwarder.outputs.means import Means
from clima_forwarder.outputs.sqlite import Options
from clima_forwarder.outputs.sqlite.database import Database
from clima_forwarder.outputs.sqlite.output import lane_number, milliseconds

PAGE = 1_000

_SPAN = "SELECT min(sequence), max(sequence), count(*) FROM {table} WHERE lane = ?"
_SEQUENCES = "SELECT sequence FROM {table} WHERE lane = ? ORDER BY sequence"
_FIRST = "SELECT time FROM records WHERE lane = ? ORDER BY sequence LIMIT 1"
_READINGS = """
SELECT time, station, body FROM records JOIN lanes ON lanes.id = lane
WHERE stream = 'w' AND station = coalesce(:station, station) AND time >= :start AND time < :end
ORDER BY time, station
"""


class _Record(msgspec.Struct, frozen=True):
    weather: dict[str, float | None] = {}


class Archive:
    """The reading side; `outputs.base.Archive` says what each call promises."""

    def __init__(self, options: Options) -> None:
        self._database = Database(options.path)

    async def open(self) -> None:
        await self._database.open(create=False)

    async def close(self) -> None:
        await self._database.close()

    async def reports(self) -> list[StationReport]:
        return await self._database.read(_reports)

    async def lanes(self) -> list[tuple[str, Lane]]:
        return await self._database.read(_lanes)

    async def retention(self) -> Mapping[Stream, timedelta | None]:
        return dict.fromkeys(STREAMS)  # nothing is ever deleted

    async def presence(self, station: str, lane: Lane) -> Presence:
        def work(connection: sqlite3.Connection) -> Presence:
            number = lane_number(connection, station, lane)
            stored = _sequences(connection, "records", number)
            dead = _sequences(connection, "deadletters", number)
            first = connection.execute(_FIRST, (number,)).fetchone()
            begins = _moment(first[0]) if first else None
            return Presence(stored, Ranges(), dead, begins)  # the primary key takes none twice

        return await self._database.read(work)

    async def readings(
        self,
        station: str | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        every: timedelta | None = None,
    ) -> AsyncIterator[Reading]:
        limits = {
            "station": station,
            "start": milliseconds(start) if start else -(2**62),
            "end": milliseconds(end) if end else 2**62,
        }
        rows = self._rows(limits)
        readings = _averaged(rows, every) if every else rows
        async for reading in readings:
            yield reading

    async def _rows(self, limits: dict[str, str | int | None]) -> AsyncIterator[Reading]:
        cursor = await self._database.read(lambda found: found.execute(_READINGS, limits))
        while rows := await self._database.read(lambda _: cursor.fetchmany(PAGE)):
            for time, station, body in rows:
                values = msgspec.json.decode(body, type=_Record).weather
                yield Reading(_moment(time), station, values)


async def _averaged(rows: AsyncIterator[Reading], every: timedelta) -> AsyncIterator[Reading]:
    """Rows that come in the order of time, as means per interval and station."""
    width = milliseconds(datetime.fromtimestamp(0, UTC) + every)
    begins, means = 0, dict[str, Means]()
    async for row in rows:
        time = milliseconds(row.time) // width * width
        if time != begins:
            for reading in _results(begins, means):
                yield reading
            begins, means = time, {}
        means.setdefault(row.station, Means()).add(row.values)
    for reading in _results(begins, means):
        yield reading


def _results(begins: int, means: dict[str, Means]) -> list[Reading]:
    return [Reading(_moment(begins), name, means[name].result()) for name in sorted(means)]


def _sequences(connection: sqlite3.Connection, table: str, lane: int) -> Ranges:
    first, last, count = connection.execute(_SPAN.format(table=table), (lane,)).fetchone()
    if not count:
        return Ranges()
    if count == last - first + 1:
        return Ranges([(first, last)])
    rows = connection.execute(_SEQUENCES.format(table=table), (lane,))
    return Ranges(_runs(sequence for (sequence,) in rows))


def _runs(sequences: Iterable[int]) -> Iterator[Pair]:
    """The islands of ascending numbers: a loop is faster here than a window function."""
    first, before = 1, 0
    for sequence in sequences:
        if sequence != before + 1:
            yield first, before  # 1..0 at the start: empty
            first = sequence
        before = sequence
    yield first, before


def _lanes(connection: sqlite3.Connection) -> list[tuple[str, Lane]]:
    rows = connection.execute(
        "SELECT station, journal, stream FROM lanes"
        " WHERE EXISTS (SELECT 1 FROM records WHERE lane = id)"
        " OR EXISTS (SELECT 1 FROM deadletters WHERE lane = id) ORDER BY 1, 2, 3"
    )
    return [(station, Lane(journal, stream)) for station, journal, stream in rows]


def _reports(connection: sqlite3.Connection) -> list[StationReport]:
    found: dict[tuple[str, int], list[LaneReport]] = {}
    rows = connection.execute(
        "SELECT station, reported, report FROM reports JOIN lanes ON id = lane"
        " ORDER BY station, reported"
    )
    for station, reported, text in rows:
        found.setdefault((station, reported), []).append(msgspec.json.decode(text, type=LaneReport))
    return [
        StationReport(station, _moment(reported), lanes)
        for (station, reported), lanes in found.items()
    ]


def _moment(time: int) -> datetime:
    return datetime.fromtimestamp(time / 1000, UTC)
