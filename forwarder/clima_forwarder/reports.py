"""What stations say of their lanes, on its way to the store for `clima audit`.

Only the newest report of a station counts, so they are kept here until the next flush and then
written together. A report that is lost with the process is made again with the next PING.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from clima_core.errors import UnavailableError
from clima_core.wire import LaneReport, StationReport
from clima_forwarder.outputs.base import Output


class Reports:
    """The newest report of each station that is not yet in the store."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._newest: dict[str, StationReport] = {}

    def put(self, station: str, lanes: Sequence[LaneReport]) -> None:
        """Take a station's word."""
        self._newest[station] = StationReport(station, datetime.now(UTC), list(lanes))

    async def flush(self) -> None:
        """Write what has come; while the store is away, keep it."""
        reports, self._newest = self._newest, {}
        if reports:
            try:
                await self._output.report(list(reports.values()))
            except UnavailableError:
                self._newest = reports | self._newest
