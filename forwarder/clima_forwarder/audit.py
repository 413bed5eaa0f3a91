"""The proof of completeness: where each sequence that a station assigned has come to.

A lane's sequences are `1..last`, `last` being what the station itself reports, so that a lost
tail shows, and a lane of which nothing ever arrived. Each of them is exactly one of

    stored     in the store as a record
    dead       in the store as a dead letter
    dropped    given up by the station, which said so
    waiting    still on the station, which said so
    missing    on a card that has fallen silent, while its station speaks on
    expired    before all that is left of a lane, and older than its retention
    unclear    before all that is left, and lost or expired: nobody can tell. Of readings, which
               are what all of this is for, it counts as a gap
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

FRESH = timedelta(minutes=2)  # a report this young: what came after it may still be on its way
SILENT = timedelta(days=1)  # a connected station speaks of all that waits, and more often
LATER = timedelta(days=1)  # than what expired with its index the next record may have come
AHEAD = timedelta(minutes=2)  # a report this much later than now: a clock was wrong


class LaneAudit(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the sequences `1..last` of one lane."""

    station: str
    journal: str
    stream: Stream
    reported: datetime | None  # when the station last spoke of this lane; None: never
    ahead: bool  # that is from the future: the clock of the forwarder's host was wrong
    spoke: datetime | None  # when the station last spoke of any lane
    last: int
    stored: Ranges
    doubled: Ranges
    dead: Ranges
    dropped: Ranges
    waiting: Ranges
    missing: Ranges
    expired: Ranges
    unclear: Ranges
    gaps: Ranges

    @property
    def lane(self) -> Lane:
        return Lane(self.journal, self.stream)

    @property
    def sound(self) -> bool:
        """Nothing is lost and nothing doubled."""
        return not (self.gaps or self.doubled or self.missing)

    @property
    def verdict(self) -> str:
        """In a word or two."""
        faults = [name for name in ("gaps", "doubled", "missing") if getattr(self, name)]
        if self.unclear:
            faults.append("gap or expired")
        return ", ".join(faults) or ("waiting" if self.waiting else "complete")


async def audit(
    archive: Archive,
    now: datetime,
    station: str | None = None,
    retention: Mapping[Stream, timedelta | None] | None = None,
) -> list[LaneAudit]:
    """Every lane that was reported or stored, of one station or of all.

    Records are kept as long as the store says, unless `retention` says otherwise.

    What stations say is read first: what they report as waiting then may be stored by the time
    it is looked for, but never the other way round.
    """
    kept = {**await archive.retention(), **(retention or {})}
    said: dict[tuple[str, Lane], tuple[datetime, LaneReport]] = {
        (report.station, lane.lane): (report.reported, lane)
        for report in await archive.reports()
        for lane in report.lanes
    }
    spoke: dict[str, datetime] = {}
    for (name, _), (moment, _) in said.items():
        if not _ahead(moment, now):
            spoke[name] = max(moment, spoke.get(name, moment))
    audited = []
    for name, lane in sorted({*said, *await archive.lanes()}):
        if station in (None, name):
            reported, report = said.get((name, lane), (None, None))
            presence = await archive.presence(name, lane)
            known = kept[lane.stream], spoke.get(name)
            audited.append(account(name, lane, presence, report, reported, now, *known))
    return audited


def account(
    station: str,
    lane: Lane,
    presence: Presence,
    report: LaneReport | None,
    reported: datetime | None,
    now: datetime,
    retention: timedelta | None,
    spoke: datetime | None = None,
) -> LaneAudit:
    """Give each sequence of a lane its place; `spoke` is when the station last said anything.

    A station that is off keeps what waits on it, for years if need be. But one that is connected
    speaks of every lane that has something to send: a lane that is left out is on another card.
    """
    here = presence.stored | presence.dead
    last = max(here.last or 0, report.last if report else 0)
    unseen = Ranges([(1, last)]) - here
    dropped = unseen & _dropped(report)
    held = (unseen - dropped) & _held(report, reported, last, now)
    silent = bool(spoke and reported and spoke - reported > SILENT)
    waiting, missing = (Ranges(), held) if silent else (held, Ranges())
    gone = unseen - dropped - held
    expired, unclear = _aged(gone, presence, report, reported, now, retention)
    return LaneAudit(
        station=station,
        journal=lane.journal,
        stream=lane.stream,
        reported=reported,
        ahead=reported is not None and _ahead(reported, now),
        spoke=spoke,
        last=last,
        stored=presence.stored,
        doubled=presence.doubled,
        dead=presence.dead - presence.stored,
        dropped=dropped,
        waiting=waiting,
        missing=missing,
        expired=expired,
        unclear=unclear,
        gaps=gone - expired - unclear,
    )


def _dropped(report: LaneReport | None) -> Ranges:
    return Ranges((each.first, each.last) for each in report.dropped) if report else Ranges()


def _ahead(reported: datetime, now: datetime) -> bool:
    """Whether a report is from the future; what it says of then cannot be believed."""
    return reported - now > AHEAD


def _held(report: LaneReport | None, reported: datetime | None, last: int, now: datetime) -> Ranges:
    """What the station holds: as it says, and what it could not have said yet."""
    if report is None or reported is None or _ahead(reported, now):
        return Ranges()
    said = Ranges(report.waiting)
    if len(report.waiting) == MAX_PAIRS:  # cut: anything higher may be waiting too
        said |= Ranges([(report.waiting[-1][1] + 1, report.last)])
    if now - reported < FRESH:
        said |= Ranges([(report.last + 1, last)])
    return said


def _aged(
    gone: Ranges,
    presence: Presence,
    report: LaneReport | None,
    reported: datetime | None,
    now: datetime,
    retention: timedelta | None,
) -> tuple[Ranges, Ranges]:
    """Of what is not there: what has expired, and what either has or is lost.

    Only a beginning expires. All of it was recorded before the first that is left, or, where
    nothing is left, before the station last spoke of it: if even that was so long ago, all of it
    has expired. If not, and the lane began so long ago, some of it may have: a station may have
    been silent, or had nothing to log, for longer than its records are kept. Of readings none of
    that is given the benefit of the doubt.
    """
    if not (report and reported and retention) or report.since >= now - retention:
        return Ranges(), Ranges()
    end = presence.stored.first
    beginning = gone if end is None else gone.between(1, end - 1)
    newest = reported if end is None else presence.begins
    if newest and newest <= now - retention + LATER:
        return beginning, Ranges()
    return Ranges(), beginning if report.stream != "w" else Ranges()


def summary(audited: Sequence[LaneAudit]) -> str:
    """One sentence for people."""

    def total(name: str) -> int:
        return sum(len(getattr(each, name)) for each in audited)

    parts = [f"{total('stored'):,} stored", f"{total('gaps'):,} lost"]
    if missing := total("missing"):
        parts.append(f"{missing:,} missing")
    if unclear := total("unclear"):
        parts.append(f"{unclear:,} lost or expired")
    return f"{', '.join(parts)}, {total('doubled'):,} doubled, in {len(audited)} lanes"
