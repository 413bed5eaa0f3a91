"""What each station sent last, and what it said of itself, from whichever store there is."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from statistics import median
from typing import Any, NamedTuple

import msgspec

from clima_core.identity import DATA_SETS
from clima_core.reading import Health
from clima_core.wire import LaneReport, StationReport
from clima_forwarder.audit import SILENT
from clima_forwarder.doctor.site import Site
from clima_forwarder.outputs import open_archive, sqlite
from clima_forwarder.outputs.sqlite.database import Database
from clima_forwarder.stations import Stations

NEWEST = 20  # readings of each station: enough to tell its usual interval
MANY = 200  # searches in one request

_TIMES = """
SELECT time FROM records JOIN lanes ON lanes.id = lane
WHERE station = ? AND stream = 'w' ORDER BY time DESC LIMIT ?
"""
_HEALTH = """
SELECT time, body FROM records JOIN lanes ON lanes.id = lane
WHERE station = ? AND stream = 's' ORDER BY time DESC LIMIT 1
"""


class Said(NamedTuple):
    """What a station said of itself, and when it did."""

    time: datetime
    health: Health


class Seen(NamedTuple):
    """One station: its last readings, newest first."""

    station: str
    added: str = ""
    times: Sequence[datetime] = ()
    report: StationReport | None = None
    said: Said | None = None
    silent: int = 0  # readings on cards of the station's that speak no more

    @property
    def interval_s(self) -> float | None:
        """Seconds between two readings, usually; None where there are too few to tell."""
        gaps = [
            (later - earlier).total_seconds()
            for later, earlier in zip(self.times, self.times[1:], strict=False)
        ]
        return median(gaps) if gaps else None


class _Record(msgspec.Struct, frozen=True):
    health: Health = msgspec.field(default_factory=Health)


class _Hit(msgspec.Struct, frozen=True):
    sort: tuple[int | str]
    source: _Record = msgspec.field(default=_Record(), name="_source")


class _Hits(msgspec.Struct, frozen=True):
    hits: list[_Hit]


class _Page(msgspec.Struct, frozen=True):
    hits: _Hits


async def newest(site: Site) -> list[Seen]:
    """Every station that is let in, by name."""
    return await site.once("newest", lambda: _newest(site))


async def _newest(site: Site) -> list[Seen]:
    let_in = {each.id: each for each in Stations(site.config.stations.directory).read()[0]}
    if not let_in:
        return []
    output, names = site.config.output, sorted(let_in)
    reports = await _reports(site)
    if isinstance(output, sqlite.Options):
        sent = await _in_sqlite(output, names)
    else:
        sent = await _in_elasticsearch(site, names)
    seen = []
    for name, (times, said) in zip(names, sent, strict=True):
        report, silent = _word(reports.get(name, ()))
        seen.append(Seen(name, let_in[name].added, times, report, said, silent))
    return seen


Sent = tuple[list[datetime], Said | None]


async def _reports(site: Site) -> dict[str, list[StationReport]]:
    """What stations said of their lanes, by station."""
    if site.elasticsearch:
        await site.store()  # which says more shortly why there is nothing to be had
    archive = open_archive(site.elasticsearch or site.config.output)
    found: dict[str, list[StationReport]] = {}
    try:
        await archive.open()
        for each in await archive.reports():
            found.setdefault(each.station, []).append(each)
    finally:
        await archive.close()
    return found


def _word(reports: Sequence[StationReport]) -> tuple[StationReport | None, int]:
    """All lanes that the station speaks of, and the readings on cards that speak no more."""
    if not reports:
        return None, 0
    station, newest = reports[-1].station, reports[-1].reported
    lanes: list[LaneReport] = []
    silent = 0
    for each in reports:
        if newest - each.reported > SILENT:
            silent += waiting(each)
        else:
            lanes += each.lanes
    return StationReport(station, newest, lanes), silent


def waiting(report: StationReport) -> int:
    """How many readings wait, by this report."""
    weather = (lane for lane in report.lanes if lane.stream == "w")
    return sum(last - first + 1 for lane in weather for first, last in lane.waiting)


async def _in_elasticsearch(site: Site, names: Sequence[str]) -> list[Sent]:
    connection = await site.store()
    found: list[Sent] = []
    for start in range(0, len(names), MANY):
        part = names[start : start + MANY]
        searches = [
            (data_set.name, _last(name, size, fields))
            for name in part
            for data_set, size, fields in (
                (DATA_SETS["w"], NEWEST, False),
                (DATA_SETS["s"], 1, ["health"]),
            )
        ]
        pages = [page.hits.hits for page in await connection.searches(_Page, *searches)]
        for weather, health in zip(pages[0::2], pages[1::2], strict=True):
            said = [Said(_moment(hit.sort[0]), hit.source.health) for hit in health]
            found.append(([_moment(hit.sort[0]) for hit in weather], said[0] if said else None))
    return found


def _last(station: str, size: int, fields: object) -> dict[str, Any]:
    return {
        "size": size,
        "query": {"bool": {"filter": [{"term": {"station.id": station}}]}},
        "sort": [{"@timestamp": {"order": "desc", "format": "epoch_millis"}}],
        "_source": fields,
        "track_total_hits": False,
    }


async def _in_sqlite(options: sqlite.Options, names: Sequence[str]) -> list[Sent]:
    def work(connection: sqlite3.Connection) -> list[Sent]:
        found: list[Sent] = []
        for name in names:
            rows = connection.execute(_TIMES, (name, NEWEST)).fetchall()
            health = connection.execute(_HEALTH, (name,)).fetchone()
            found.append(([_moment(time) for (time,) in rows], _said(health)))
        return found

    database = Database(options.path)
    try:
        await database.open(create=False)
        return await database.read(work)
    finally:
        await database.close()


def _said(row: tuple[int, bytes] | None) -> Said | None:
    if row is None:
        return None
    return Said(_moment(row[0]), msgspec.json.decode(row[1], type=_Record).health)


def _moment(milliseconds: int | str) -> datetime:
    return datetime.fromtimestamp(int(milliseconds) / 1000, UTC)
