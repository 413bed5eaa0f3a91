"""What stations say of their lanes, on its way to the store for `clima audit`.

Only the newest report counts, so it is kept here until it is due and then written with those of
the other stations: a lane that has changed, and each station at most once per `INTERVAL_S`, so
that two thousand stations do not write more about their readings than readings. A lane with
something to send is written anew every `REPEAT_S` though nothing has changed: its report grows
old only when the station speaks of it no more. A report that is lost with the process is made
again with the next PING.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TypeVar

import msgspec

from clima_core.errors import ClimaError
from clima_core.identity import Lane
from clima_core.wire import MAX_LANES, LaneReport, StationReport
from clima_forwarder.outputs.base import Output

INTERVAL_S = 60.0
REPEAT_S = 3600.0
MOST_LANES = 4 * MAX_LANES  # of one station: two devices with one key report different ones

T = TypeVar("T")


class Reports:
    """The newest report of each station, as far as the store does not have it."""

    def __init__(self, output: Output, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._output = output
        self._monotonic = monotonic
        self._newest: dict[str, StationReport] = {}
        self._written: dict[str, dict[Lane, LaneReport]] = {}
        self._due: dict[str, float] = {}
        self._again: dict[str, float] = {}  # when what waits is to be written though unchanged
        self._lasts: dict[str, dict[Lane, int]] = {}

    def heard(self, station: str, lane: Lane, last: int) -> None:
        """What the store has of a lane's last sequence, from an earlier report."""
        lasts = self._lasts.setdefault(station, {})
        lasts[lane] = max(last, lasts.get(lane, 0))

    def put(self, station: str, lanes: Sequence[LaneReport]) -> None:
        """Take a station's word; a PING may be without."""
        if lanes:
            lasts = self._lasts.get(station, {})
            raised = {each.lane: _raised(each, lasts.get(each.lane, 0)) for each in lanes}
            self._lasts[station] = _merged(
                lasts, {lane: report.last for lane, report in raised.items()}
            )
            unwritten = self._newest[station].lanes if station in self._newest else ()
            merged = _merged({each.lane: each for each in unwritten}, raised)
            self._newest[station] = StationReport(station, datetime.now(UTC), list(merged.values()))

    async def flush(self, *, everything: bool = False) -> None:
        """Write what has changed and is due; while the store is away, keep it."""
        moment = self._monotonic()
        due = {
            station: report
            for station, report in self._newest.items()
            if everything or self._due.get(station, 0.0) <= moment
        }
        news = [self._news(report, moment) for report in due.values()]
        if writing := [report for report in news if report.lanes]:
            try:
                await self._output.report(writing)
            except ClimaError:
                return
        for station, report in due.items():
            self._due[station] = moment + INTERVAL_S
            if self._again.get(station, 0.0) <= moment:
                self._again[station] = moment + REPEAT_S
            self._written[station] = {each.lane: each for each in report.lanes}
            if self._newest.get(station) is report:
                del self._newest[station]

    def _news(self, report: StationReport, moment: float) -> StationReport:
        """The lanes that have changed, and those with something to send when it is time."""
        written = self._written.get(report.station, {})
        again = self._again.get(report.station, 0.0) <= moment
        lanes = [
            each
            for each in report.lanes
            if written.get(each.lane) != each or (again and each.waiting)
        ]
        return StationReport(report.station, report.reported, lanes)


def _raised(report: LaneReport, last: int) -> LaneReport:
    """A spool that was rolled back says less than it did; what it had assigned is missed still."""
    return report if last <= report.last else msgspec.structs.replace(report, last=last)


def _merged(earlier: Mapping[Lane, T], newer: Mapping[Lane, T]) -> dict[Lane, T]:
    """Both; of a lane that is in both the newer, and of too many those heard of last."""
    merged = {lane: value for lane, value in earlier.items() if lane not in newer} | dict(newer)
    return dict(list(merged.items())[-MOST_LANES:])
