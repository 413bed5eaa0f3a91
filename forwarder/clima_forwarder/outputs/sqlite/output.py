"""Writes records into one SQLite file. Identity is the primary key: nothing is stored twice."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TypeVar

import msgspec

from clima_core.identity import Lane, Stream
from clima_core.reading import rfc3339
from clima_core.wire import StationReport
from clima_forwarder.outputs.base import (
    FIND_LIMIT,
    Confirmed,
    DeadLetter,
    Document,
    Found,
    Highest,
    Result,
)
from clima_forwarder.outputs.sqlite import Options
from clima_forwarder.outputs.sqlite.database import Database

T = TypeVar("T", bound=Document | DeadLetter)

STORED = Result("stored")
EXISTS = Result("exists")

_FIND = """
SELECT sequence, body FROM records WHERE lane = :lane AND sequence BETWEEN :first AND :last
UNION ALL
SELECT sequence, NULL FROM deadletters WHERE lane = :lane AND sequence BETWEEN :first AND :last
ORDER BY sequence
"""
_HIGHEST = """
SELECT stream,
    max(
        coalesce((SELECT max(sequence) FROM records WHERE lane = id), 0),
        coalesce((SELECT max(sequence) FROM deadletters WHERE lane = id), 0)
    ),
    coalesce((SELECT json_extract(CAST(report AS TEXT), '$.last') FROM reports WHERE lane = id), 0)
FROM lanes WHERE station = ? AND journal = ?
"""
_REPORT = """
INSERT INTO reports VALUES (:lane, :reported, :report)
ON CONFLICT (lane) DO UPDATE SET reported = excluded.reported, report = excluded.report
WHERE excluded.reported > reports.reported OR reports.reported > :now
"""


class Output:
    """The output `sqlite`; `outputs.base.Output` says what each call promises."""

    def __init__(self, options: Options) -> None:
        self._database = Database(options.path)

    async def open(self) -> None:
        await self._database.open(create=True)

    async def close(self) -> None:
        await self._database.close()

    async def create(self, documents: Sequence[Document]) -> list[Result]:
        return await self._insert(
            "INSERT OR IGNORE INTO records VALUES (?, ?, ?, ?)",
            documents,
            lambda each: (milliseconds(each.timestamp), each.body),
        )

    async def confirmed(self, *_: object) -> Confirmed:
        return Confirmed()  # nothing is ever on the way: `create` says it at once

    async def dead_letter(self, letters: Sequence[DeadLetter]) -> list[Result]:
        return await self._insert(
            "INSERT OR IGNORE INTO deadletters VALUES (?, ?, ?, ?, ?, ?)",
            letters,
            lambda each: (rfc3339(each.received), each.reason, each.message, each.body),
        )

    async def _insert(
        self, statement: str, rows: Sequence[T], values: Callable[[T], tuple[object, ...]]
    ) -> list[Result]:
        def work(connection: sqlite3.Connection) -> list[Result]:
            lanes = _Lanes(connection)
            results = []
            for each in rows:
                key = lanes[each.station, each.lane], each.sequence
                inserted = connection.execute(statement, (*key, *values(each))).rowcount == 1
                results.append(STORED if inserted else EXISTS)
            return results

        return await self._database.write(work)

    async def find(
        self,
        station: str,
        lane: Lane,
        first: int,
        last: int,
        *,
        since: float,  # noqa: ARG002 - what was written is visible at once
    ) -> list[Found]:
        if last - first >= FIND_LIMIT:
            raise ValueError(f"{last - first + 1} sequences; at most {FIND_LIMIT}")

        def work(connection: sqlite3.Connection) -> list[Found]:
            number = lane_number(connection, station, lane)
            rows = connection.execute(_FIND, {"lane": number, "first": first, "last": last})
            return [Found(*row) for row in rows]

        return await self._database.read(work)

    async def highest(self, station: str, journal: str) -> dict[Stream, Highest]:
        def work(connection: sqlite3.Connection) -> dict[Stream, Highest]:
            rows = connection.execute(_HIGHEST, (station, journal))
            return {stream: Highest(stored, reported) for stream, stored, reported in rows}

        return await self._database.read(work)

    async def report(self, reports: Sequence[StationReport]) -> None:
        def work(connection: sqlite3.Connection) -> None:
            lanes = _Lanes(connection)
            now = milliseconds(datetime.now(UTC))
            for report in reports:
                reported = milliseconds(report.reported)
                for lane in report.lanes:
                    row = {
                        "lane": lanes[report.station, lane.lane],
                        "reported": reported,
                        "report": msgspec.json.encode(lane),
                        "now": now,
                    }
                    connection.execute(_REPORT, row)

        await self._database.write(work)


class _Lanes(dict[tuple[str, Lane], int]):
    """The numbers of lanes within one transaction; a new lane is given one."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__()
        self._connection = connection

    def __missing__(self, key: tuple[str, Lane]) -> int:
        station, lane = key
        self._connection.execute(
            "INSERT OR IGNORE INTO lanes (station, journal, stream) VALUES (?, ?, ?)",
            (station, *lane),
        )
        self[key] = lane_number(self._connection, station, lane)
        return self[key]


def lane_number(connection: sqlite3.Connection, station: str, lane: Lane) -> int:
    """The lane's number in the file; 0, which none has, when it is not there."""
    row = connection.execute(
        "SELECT id FROM lanes WHERE station = ? AND journal = ? AND stream = ?", (station, *lane)
    ).fetchone()
    return int(row[0]) if row else 0


def milliseconds(moment: datetime) -> int:
    """As times are stored."""
    return round(moment.timestamp() * 1000)
