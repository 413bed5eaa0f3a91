"""The proof of completeness: where each sequence that a station assigned has come to.

A lane's sequences are `1..last`, `last` being what the station itself reports, so that a lost
tail shows, and a lane of which nothing ever arrived. Each of them is exactly one of

    stored     in the store as a record
    dead       in the store as a dead letter
    dropped    given up by the station, which said so
    waiting    still on the station, which said so
    expired    before all that is left of a lane older than its retention
    gap        none of these: lost, and worth a repair

and a sequence that is stored more than once is doubled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from clima_core.identity import Lane, Stream
from clima_core.ranges import Ranges
from clima_core.wire import MAX_PAIRS, LaneReport
from clima_forwarder.outputs.base import Archive, Presence

RETENTION: Mapping[Stream, timedelta | None] = {
    "w": None,  # for ever
    "s": timedelta(days=90),
    "l": timedelta(days=30),
}
FRESH = timedelta(minutes=2)  # a report this young: what came after it may still be on its way


class LaneAudit(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the sequences `1..last` of one lane."""

    station: str
    journal: str
    stream: Stream
    reported: datetime | None  # when the station last spoke of this lane; None: never
    last: int
    stored: Ranges
    doubled: Ranges
    dead: Ranges
    dropped: Ranges
    waiting: Ranges
    expired: Ranges
    gaps: Ranges

    @property
    def lane(self) -> Lane:
        return Lane(self.journal, self.stream)

    @property
    def sound(self) -> bool:
        """Nothing is lost and nothing doubled."""
        return not self.gaps and not self.doubled

    @property
    def verdict(self) -> str:
        """In a word or two."""
        faults = [name for name in ("gaps", "doubled") if getattr(self, name)]
        return ", ".join(faults) or ("waiting" if self.waiting else "complete")


async def audit(
    archive: Archive,
    now: datetime,
    station: str | None = None,
    retention: Mapping[Stream, timedelta | None] = RETENTION,
) -> list[LaneAudit]:
    """Every lane that was reported or stored, of one station or of all.

    What stations say is read first: what they report as waiting then may be stored by the time
    it is looked for, but never the other way round.
    """
    said: dict[tuple[str, Lane], tuple[datetime, LaneReport]] = {
        (report.station, lane.lane): (report.reported, lane)
        for report in await archive.reports()
        for lane in report.lanes
    }
    audited = []
    for name, lane in sorted({*said, *await archive.lanes()}):
        if station in (None, name):
            reported, report = said.get((name, lane), (None, None))
            presence = await archive.presence(name, lane)
            audited.append(
                account(name, lane, presence, report, reported, now, retention[lane.stream])
            )
    return audited


def account(
    station: str,
    lane: Lane,
    presence: Presence,
    report: LaneReport | None,
    reported: datetime | None,
    now: datetime,
    retention: timedelta | None,
) -> LaneAudit:
    """Give each sequence of a lane its place."""
    here = presence.stored | presence.dead
    last = max(here.last or 0, report.last if report else 0)
    unseen = Ranges([(1, last)]) - here
    dropped = unseen & _dropped(report)
    waiting = (unseen - dropped) & _waiting(report, reported, last, now)
    expired = Ranges()
    if report and retention and report.since < now - retention:
        left = (here | dropped | waiting).first or last + 1
        expired = Ranges([(1, left - 1)])
    return LaneAudit(
        station=station,
        journal=lane.journal,
        stream=lane.stream,
        reported=reported,
        last=last,
        stored=presence.stored,
        doubled=presence.doubled,
        dead=presence.dead - presence.stored,
        dropped=dropped,
        waiting=waiting,
        expired=expired,
        gaps=unseen - dropped - waiting - expired,
    )


def _dropped(report: LaneReport | None) -> Ranges:
    return Ranges((each.first, each.last) for each in report.dropped) if report else Ranges()


def _waiting(
    report: LaneReport | None, reported: datetime | None, last: int, now: datetime
) -> Ranges:
    """What the station holds: as it says, and what it could not have said yet."""
    if report is None or reported is None:
        return Ranges()
    said = Ranges(report.waiting)
    if len(report.waiting) == MAX_PAIRS:  # cut: anything higher may be waiting too
        said |= Ranges([(report.waiting[-1][1] + 1, report.last)])
    if now - reported < FRESH:
        said |= Ranges([(report.last + 1, last)])
    return said


def summary(audited: Sequence[LaneAudit]) -> str:
    """One sentence for people."""
    gaps = sum(len(each.gaps) for each in audited)
    doubled = sum(len(each.doubled) for each in audited)
    stored = sum(len(each.stored) for each in audited)
    return f"{stored:,} stored, {gaps:,} lost, {doubled:,} doubled, in {len(audited)} lanes"
