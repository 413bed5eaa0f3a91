"""The spool: every record, in order, on the SD card until the store has it and a while longer.

What always holds:

1. A sequence is used once. It is assigned in the transaction that writes the record.
2. An appended record survives the death of the process; after `sync()` it survives a power cut.
   The time between two syncs is the window: the most that a power cut can lose.
3. Only synced records are ever offered for sending, so nothing is sent that a power cut could
   take back, and whose sequence would then be used again for something else.
4. A record leaves only when it was acknowledged, or when there is no room, and then the ledger
   says so in the same transaction: every sequence of a lane is acknowledged, dropped or waiting
   (`ledger.py`).
5. A body that comes out is the body that went in (`file.py`: checksums).

What was acknowledged is written down by the next sync, not at once: an acknowledgement that a
power cut takes back costs a look-up in the store, not a double. SQLite recovers from power cuts
by itself; a file that it calls malformed raises `SpoolDamagedError`, and `recover` puts it aside
and adopts what can still be read. A recovery that is cut short begins again, or is finished when
the spool is opened next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

from clima_agent.spool import renumber, room, salvage, undated
from clima_agent.spool.books import Books, Report
from clima_agent.spool.file import SpoolFile, SpoolFullError
from clima_agent.spool.ledger import Ledger, ledgers_in, taken_back_on_failure
from clima_agent.spool.record import TOO_LONG, Document
from clima_agent.spool.room import Limits
from clima_agent.spool.undated import Date, Start, Undated
from clima_core.identity import Lane, Stream, new_journal
from clima_core.ranges import Ranges
from clima_core.wire import LaneReport

Outcome = TypeVar("Outcome")


def _utc_now() -> datetime:
    return datetime.now(UTC)


def _silent(event: str, /, **fields: object) -> None:
    pass


class Spool(Books):
    """One station's spool, used by one thread; `:memory:` for a path makes one that forgets."""

    def __init__(
        self,
        path: Path | str,
        station: str,
        limits: Limits | None = None,
        *,
        now: Callable[[], datetime] = _utc_now,
        report: Report = _silent,
    ) -> None:
        """Open the spool, or make it; see `SpoolFile` for the errors."""
        super().__init__(station, now, report)
        self.limits = limits or Limits()
        if path != ":memory:":
            self._finish_recovery(Path(path))
        try:
            self.file = self._open(path)
        except SpoolFullError:  # closing it has emptied its log, which may be room enough
            room.throw_ballast(path)
            self.file = self._open(path)

    def close(self) -> None:
        """Sync and close."""
        try:
            self.sync()
        finally:
            self.file.close()

    # -- records in ------------------------------------------------------------------------

    def append(self, stream: Stream, documents: Sequence[Document]) -> None:
        """Number the documents in the current journal and write them, all or none of them.

        Each is given its `event.id`, `event.sequence` and `station.journal`. When the disk is
        full, room is made; where even that fails the documents are numbered and dropped, and
        the ledger and an event say so. So is one that is longer than may be sent.
        """
        ledger = self._ledgers[Lane(self.journal, stream)]
        self.changed = True
        try:
            too_long = self.with_room(partial(self._append, ledger, documents))
        except SpoolFullError:
            self.tell_dropped(ledger, ledger.lose(len(documents), "disk_full"), "disk_full")
        else:
            self.tell_dropped(ledger, too_long, TOO_LONG)

    def keep_undated(self, records: Sequence[Undated]) -> None:
        """Keep records of which nobody knows the time yet, all or none of them (`undated.py`)."""
        self.changed = True
        try:
            self.with_room(partial(undated.keep, self, records))
        except SpoolFullError:
            undated.give_up(self, records, "disk_full")

    @property
    def undated(self) -> int:
        """How many records wait for the time to be known."""
        return undated.count(self.file)

    def date(self, running: Start, document: Date) -> int:
        """The time is known: date what was kept until then, and number it; returns how many.

        `running` is the boot that is running. When the journal began is known now, too: a lane that
        has no record begins now. Cut short at any point, also by SpoolFullError, it goes on where
        it was: the starts that boots were given stay as they are.
        """
        self.changed = True
        starts = self.with_room(partial(undated.starts, self, running))
        done = 0
        while dated := self.with_room(partial(undated.date_slice, self, starts, document)):
            done += dated
        self.with_room(partial(undated.forget_starts, self, running))
        self.with_room(partial(undated.begin_timeless, self))
        return done

    def sync(self) -> None:
        """Make everything appended and acknowledged so far survive a power cut."""
        try:
            self.with_room(self._sync)
        except SpoolFullError:
            return  # what was not synced stays unsent, and is tried again
        for ledger in self._ledgers.values():
            ledger.synced = ledger.last
        self.changed = False

    # -- records out -----------------------------------------------------------------------

    def read(self, lane: Lane, first: int, last: int, max_bytes: int) -> list[bytes]:
        """The bodies of waiting records from `first`, up to `last` or `max_bytes` of NDJSON.

        At least one, however long, unless `first` itself is missing or damaged. What is so is
        dropped from the ledger and the run ends before it; after an empty list ask the ledger.
        """
        ledger = self._ledgers[lane]
        bodies: list[bytes] = []
        room_left = max_bytes
        for body in self.file.bodies(ledger.number, first, last):
            room_left -= len(body) + 1
            if room_left < 0 and bodies:
                return bodies
            bodies.append(body)
        if (unread := first + len(bodies)) <= last:
            present = self.file.held(ledger.number, unread + 1, last).first or last + 1
            self.drop(ledger, Ranges([(unread, present - 1)]), "damaged")
        return bodies

    def recent(self, stream: Stream, count: int) -> list[bytes]:
        """About the last `count` bodies of a stream, whichever journal they are in."""
        bodies: list[bytes] = []
        for ledger in sorted(self._ledgers.values(), key=lambda ledger: not ledger.adopted):
            if ledger.lane.stream == stream:
                for sequence in range(max(1, ledger.last - count + 1), ledger.last + 1):
                    bodies += self.file.bodies(ledger.number, sequence, sequence)
        return bodies[-count:]

    # -- the ledgers -----------------------------------------------------------------------

    def reports(self) -> list[LaneReport]:
        """Every lane as HELLO and PING carry them, in the order in which they matter.

        Those of the current journal, those with something to send, the others; the newest first.
        """
        ordered = sorted(
            self._ledgers.values(),
            key=lambda each: (each.lane.journal != self.journal, not each.waiting, -each.number),
        )
        return [ledger.report() for ledger in ordered]

    def acknowledge(self, lane: Lane, ranges: Ranges) -> None:
        """The store has these. Written down with the next sync."""
        if ledger := self._ledgers.get(lane):
            ledger.acknowledge(ranges)
            self.changed = True

    def reopen(self, lane: Lane, ranges: Ranges) -> Ranges:
        """The store turned out to lack these: those still here wait again and are returned."""
        if (ledger := self._ledgers.get(lane)) is None:
            return Ranges()
        wanted = ranges & ledger.acknowledged & self.file.held(ledger.number)
        held = Ranges(run for pair in wanted.pairs for run in self.file.runs(ledger.number, *pair))
        ledger.acknowledged -= held
        self.changed = self.changed or bool(held)
        return held

    def mark_sending(self) -> None:
        """From now on any synced record may have been sent. Durable before it returns."""
        if fresh := list(self.never_sent()):
            self.with_room(partial(self._mark_sending, fresh))

    def never_sent(self) -> dict[Lane, Ranges]:
        """What this spool has certainly never sent, lane by lane."""
        return {
            lane: Ranges([(ledger.never_sent_from, ledger.last)])
            for lane, ledger in self._ledgers.items()
            if ledger.never_sent_from is not None
        }

    def begin_journal(self, moving: Mapping[Lane, Ranges]) -> str:
        """Begin a new journal, and number in it anew the records of `moving`; its name."""
        self.with_room(partial(renumber.move, self, moving, new_journal()))
        return self.journal

    def number_anew(self, moving: Mapping[Lane, Ranges]) -> str:
        """As `begin_journal`, but in the current journal where `moving` is all of older ones."""
        if any(lane.journal == self.journal for lane in moving):
            return self.begin_journal(moving)
        self.with_room(partial(renumber.move, self, moving))
        return self.journal

    def oldest_waiting(self) -> datetime | None:
        """When the oldest waiting record was appended."""
        firsts = ((ledger.number, ledger.waiting.first) for ledger in self._ledgers.values())
        times = [self.file.recorded(number, first) for number, first in firsts if first]
        return min((datetime.fromtimestamp(time, UTC) for time in times if time), default=None)

    # -- inside ----------------------------------------------------------------------------

    def _finish_recovery(self, path: Path) -> None:
        if aside := salvage.finish(path):
            self.tell("spool_salvaged", put_aside=str(aside))

    def _open(self, path: Path | str) -> SpoolFile:
        self.file = SpoolFile(path)
        try:
            room.loaded(self.file, self._load)
            room.lay_ballast(self.file)
            room.settle(self.file)
        except BaseException:
            self.file.close()
            raise
        return self.file

    def _load(self) -> None:
        self._ledgers = ledgers_in(self.file)
        self.dated = undated.dated(self.file)
        with self.file.transaction(durable=True):
            if not self._ledgers:
                self.add_lanes(new_journal())
            for ledger in self._ledgers.values():
                self._begin_life(ledger)
            self.save_account()  # something must be written, or nothing would be flushed

    def _begin_life(self, ledger: Ledger) -> None:
        """All that is here survives a power cut now; what comes next was never sent."""
        if ledger.never_sent_from is None:
            ledger.never_sent_from = ledger.last + 1
            self.put_lane(ledger)

    def _append(self, ledger: Ledger, documents: Sequence[Document]) -> Ranges:
        with taken_back_on_failure([ledger]), self.file.transaction():
            return self.number(ledger, documents)

    def _sync(self) -> None:
        room.keep_within_limits(self, self.limits)
        if self.changed:
            with self.file.transaction(durable=True):
                self.save_account()

    def with_room(self, change: Callable[[], Outcome]) -> Outcome:
        """Make a change, and room for it while the disk is full; SpoolFullError: there is none."""
        try:
            return change()
        except SpoolFullError as error:
            full = error
        try:
            for _ in room.steps(self):
                try:
                    return change()
                except SpoolFullError as error:
                    full = error
        finally:
            room.settle(self.file)
        raise full

    def _mark_sending(self, lanes: Iterable[Lane]) -> None:
        with self.all_or_nothing():
            for lane in lanes:
                self._ledgers[lane].never_sent_from = None
                self.put_lane(self._ledgers[lane])
