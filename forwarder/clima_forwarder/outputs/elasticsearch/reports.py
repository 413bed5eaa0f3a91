"""What stations say of their lanes, kept for `clima audit`: of each lane the newest report.

The version of a document is the moment of its report, so that the newest wins in whatever order
they come.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from clima_core.errors import UnavailableError
from clima_core.identity import lane_id
from clima_core.reading import rfc3339
from clima_core.wire import LaneReport, StationReport
from clima_forwarder.outputs.elasticsearch.bulks import EXISTS, part, write
from clima_forwarder.outputs.elasticsearch.connection import Connection

JOURNALS = "clima-journals"


class _Reported(msgspec.Struct, frozen=True):
    reported: datetime = datetime.min.replace(tzinfo=UTC)


class _Kept(msgspec.Struct, frozen=True):
    """A report that is there; one that is not is as old as can be."""

    version: int = msgspec.field(default=0, name="_version")
    source: _Reported = msgspec.field(default=_Reported(), name="_source")


class _Reports(msgspec.Struct, frozen=True):
    docs: list[_Kept]


@dataclass(frozen=True, eq=False)
class _Said:
    """What a station said of one lane."""

    reported: datetime
    station: str
    lane: LaneReport

    @property
    def id(self) -> str:
        return lane_id(self.station, self.lane.lane)

    @property
    def version(self) -> int:
        """The moment of reporting, so that the newest wins in whatever order they come."""
        return int(self.reported.timestamp() * 1000)

    def part(self, version: int) -> bytes:
        """Its part of a bulk."""
        lane = self.lane
        body = {
            "station": {"id": self.station, "journal": lane.journal},
            "reported": rfc3339(self.reported),
            "stream": lane.stream,
            "first": lane.first,
            "last": lane.last,
            "since": rfc3339(lane.since),
            "waiting": lane.waiting,
            "dropped": lane.dropped,
        }
        under = {"version": version, "version_type": "external"}
        return part({"index": {"_index": JOURNALS, "_id": self.id, **under}}, body)


async def keep(connection: Connection, reports: Sequence[StationReport]) -> None:
    """As `Output.report`."""
    said = [
        _Said(report.reported, report.station, lane) for report in reports for lane in report.lanes
    ]
    if outdone := await _keep(connection, {each: each.version for each in said}):
        await _keep(connection, await _outdated(connection, outdone))


async def _keep(connection: Connection, versions: Mapping[_Said, int]) -> list[_Said]:
    """Keep reports under these versions; returns those of which a higher one was there."""
    results = await write(connection, [said.part(version) for said, version in versions.items()])
    for result in results:
        if result.status in ("refused", "retry"):
            raise UnavailableError(f"a station's report could not be kept: {result.reason}")
    return [said for said, result in zip(versions, results, strict=True) if result == EXISTS]


async def _outdated(connection: Connection, outdone: Sequence[_Said]) -> dict[_Said, int]:
    """Those that are to replace what is there all the same, and the versions that do it.

    The clock of whoever wrote that was ahead: it lies in the future still, or what replaced
    it then had to take a version ahead of its time.
    """
    asked = [{"_index": JOURNALS, "_id": said.id, "_source": ["reported"]} for said in outdone]
    body = msgspec.json.encode({"docs": asked})
    there = (await connection.request("POST", "/_mget", _Reports, body)).docs
    now = datetime.now(UTC)
    return {
        said: kept.version + 1
        for said, kept in zip(outdone, there, strict=True)
        if said.reported > kept.source.reported or kept.source.reported > now
    }
