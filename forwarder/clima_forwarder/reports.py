"""What stations say of their lanes, on its way to the store for `clima audit`.

Only the newest report counts, so it is kept here until it is due and then written with those of
the other stations: a lane that has changed, and each station at most once per `INTERVAL_S`, so
that two thousand stations do not write more about their readings than readings. A report that
is lost with the process is made again with the next PING.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from clima_core.errors import ClimaError
from clima_core.identity import Lane
from clima_core.wire import LaneReport, StationReport
from clima_forwarder.outputs.base import Output

INTERVAL_S = 60.0


class Reports:
    """The newest report of each station, as far as the store does not have it."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._newest: dict[str, StationReport] = {}
        self._written: dict[str, dict[Lane, LaneReport]] = {}
        self._due: dict[str, float] = {}
        self._lasts: dict[str, dict[Lane, int]] = {}

    def heard(self, station: str, lane: Lane, last: int) -> None:
        """What the store has of a lane's last sequence, from an earlier report."""
        lasts = self._lasts.setdefault(station, {})
        lasts[lane] = max(last, lasts.get(lane, 0))

    def put(self, station: str, lanes: Sequence[LaneReport]) -> None:
        """Take a station's word; a PING may be without."""
        if lanes:
            earlier = self._lasts.get(station, {})
            raised = [_raised(lane, earlier.get(lane.lane, 0)) for lane in lanes]
            self._lasts[station] = {lane.lane: lane.last for lane in raised}
            self._newest[station] = StationReport(station, datetime.now(UTC), raised)

    async def flush(self, *, everything: bool = False) -> None:
        """Write what has changed and is due; while the store is away, keep it."""
        moment = time.monotonic()
        due = {
            station: report
            for station, report in self._newest.items()
            if everything or self._due.get(station, 0.0) <= moment
        }
        changed = [self._changed(report) for report in due.values()]
        if writing := [report for report in changed if report.lanes]:
            try:
                await self._output.report(writing)
            except ClimaError:
                return
        for station, report in due.items():
            self._due[station] = moment + INTERVAL_S
            self._written[station] = {each.lane: each for each in report.lanes}
            if self._newest.get(station) is report:
                del self._newest[station]

    def _changed(self, report: StationReport) -> StationReport:
        written = self._written.get(report.station, {})
        lanes = [each for each in report.lanes if written.get(each.lane) != each]
        return StationReport(report.station, report.reported, lanes)


def _raised(report: LaneReport, last: int) -> LaneReport:
    """A spool that was rolled back says less than it did; what it had assigned is missed still."""
    return report if last <= report.last else msgspec.structs.replace(report, last=last)
