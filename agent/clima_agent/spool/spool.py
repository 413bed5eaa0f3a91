"""The spool: every record, in order, on the SD card until the store has it and a while longer.

What always holds:

1. A sequence is used once. It is assigned in the transaction that writes the record.
2. An appended record survives the death of the process; after `sync()` it survives a power cut.
   The time between two syncs is the window: the most that a power cut can lose.
3. Only synced records are ever offered for sending, so nothing is sent that a power cut could
   take back, and whose sequence would then be used again for something else.
4. A record leaves only when it was acknowledged, or when there is no room, and then the ledger
   says so: every sequence of a lane is acknowledged, dropped or waiting (`ledger.py`).
5. A body that comes out is the body that went in (`file.py`: checksums).

What was acknowledged is written down by the next sync, not at once: an acknowledgement that a
power cut takes back costs a look-up in the store, not a double. SQLite recovers from power cuts
by itself; a file that it calls malformed raises `SpoolDamagedError`, and `recover` puts it aside
and adopts what can still be read.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import msgspec

from clima_agent.spool import room, salvage
from clima_agent.spool.file import LaneRow, SpoolFile, SpoolFullError
from clima_agent.spool.ledger import Ledger
from clima_agent.spool.room import Limits
from clima_core.errors import ClimaError
from clima_core.identity import DATA_SETS, STREAMS, Lane, Stream, event_id, new_journal
from clima_core.ranges import Ranges
from clima_core.wire import MAX_RECORD_BYTES, LaneReport

Document = Mapping[str, Any]


class Report(Protocol):
    """How the spool says what a person must know: an event's name and its fields."""

    def __call__(self, event: str, /, **fields: object) -> None: ...


def _utc_now() -> datetime:
    return datetime.now(UTC)


def _silent(event: str, /, **fields: object) -> None:
    pass


class Spool:
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
        self.file = SpoolFile(path)
        self.station = station
        self.limits = limits or Limits()
        self.now = now
        self.tell = report
        self._ledgers: dict[Lane, Ledger] = {}
        self.changed = True  # something would not survive a power cut yet
        try:
            self._load()
        except BaseException:
            self.file.close()
            raise

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
        the ledger and an event say so.
        """
        ledger = self._ledgers[Lane(self.journal, stream)]
        bodies = [
            self._body(ledger.lane, sequence, document)
            for sequence, document in enumerate(documents, ledger.last + 1)
        ]
        written = self._insert(ledger, bodies)
        ledger.last += len(bodies)
        self.changed = True
        if not written:
            self.drop(ledger, Ranges([(ledger.last - len(bodies) + 1, ledger.last)]), "disk_full")

    def sync(self) -> None:
        """Make everything appended and acknowledged so far survive a power cut."""
        try:
            room.keep_within_limits(self)
            if self.changed:
                with self.file.transaction(durable=True):
                    self._save_settled()
        except SpoolFullError:
            self._made_room()  # what was not synced stays unsent, and is tried again
            return
        for ledger in self._ledgers.values():
            ledger.synced = ledger.last
        self.changed = False

    # -- records out -----------------------------------------------------------------------

    def read(self, lane: Lane, first: int, last: int, max_bytes: int) -> list[bytes]:
        """The bodies of waiting records from `first`, up to `last` or `max_bytes` of NDJSON.

        What is missing or damaged is dropped from the ledger and the run ends before it; an
        empty list means that `first` itself was, so ask the ledger again.
        """
        ledger = self._ledgers[lane]
        bodies: list[bytes] = []
        room_left = max_bytes
        for body in self.file.bodies(ledger.number, first, last):
            room_left -= len(body) + 1
            if room_left < 0:
                return bodies
            bodies.append(body)
        if (unread := first + len(bodies)) <= last:
            present = next(self.file.sequences(ledger.number, unread + 1, last), last + 1)
            self.drop(ledger, Ranges([(unread, present - 1)]), "damaged")
        return bodies

    def recent(self, stream: Stream, count: int) -> list[bytes]:
        """About the last `count` bodies of a stream, whichever journal they are in."""
        bodies: list[bytes] = []
        for ledger in sorted(self._ledgers.values(), key=lambda ledger: not ledger.adopted):
            if ledger.lane.stream == stream:
                first = max(1, ledger.last - count + 1)
                bodies += self.file.bodies(ledger.number, first, ledger.last)
        return bodies[-count:]

    # -- the account -----------------------------------------------------------------------

    @property
    def journal(self) -> str:
        """The journal that new records go to."""
        own = [ledger for ledger in self._ledgers.values() if not ledger.adopted]
        return own[-1].lane.journal

    @property
    def ledgers(self) -> Mapping[Lane, Ledger]:
        """The account of every lane, in the order of their making."""
        return self._ledgers

    def reports(self) -> list[LaneReport]:
        """Every lane, the newest first, as HELLO and PING carry them."""
        return [ledger.report() for ledger in reversed(self._ledgers.values())]

    def acknowledge(self, lane: Lane, ranges: Ranges) -> None:
        """The store has these. Written down with the next sync."""
        if ledger := self._ledgers.get(lane):
            ledger.acknowledge(ranges)
            self.changed = True

    def reopen(self, lane: Lane, ranges: Ranges) -> Ranges:
        """The store turned out to lack these: those still here wait again and are returned."""
        if (ledger := self._ledgers.get(lane)) is None:
            return Ranges()
        held = ranges & ledger.acknowledged & self.file.held(ledger.number)
        ledger.acknowledged -= held
        self.changed = self.changed or bool(held)
        return held

    def drop(self, ledger: Ledger, ranges: Ranges, reason: str) -> None:
        """Give up what of `ranges` is not settled, and say so: it is lost for good."""
        if given_up := ledger.drop(ranges, reason):
            self.changed = True
            self.tell(
                "records_dropped",
                journal=ledger.lane.journal,
                stream=ledger.lane.stream,
                sequences=str(given_up),
                count=len(given_up),
                reason=reason,
            )

    def mark_sending(self) -> None:
        """From now on any synced record may have been sent. Durable before it returns."""
        fresh = [item for item in self._ledgers.values() if item.never_sent_from is not None]
        if fresh:
            with self.file.transaction(durable=True):
                for ledger in fresh:
                    self.file.set_never_sent_from(ledger.number, None)
            for ledger in fresh:
                ledger.never_sent_from = None

    def never_sent(self) -> dict[Lane, Ranges]:
        """What this spool has certainly never sent, lane by lane."""
        return {
            lane: Ranges([(ledger.never_sent_from, ledger.last)])
            for lane, ledger in self._ledgers.items()
            if ledger.never_sent_from is not None
        }

    def begin_journal(self, moving: Mapping[Lane, Ranges]) -> str:
        """Begin a new journal, and number in it anew the records of `moving`; its name.

        Only what nobody has stored may move: what was never sent, or what a forwarder would
        not take because another record has its identity. Durable, whole or not at all.
        """
        journal = new_journal()
        with self.file.transaction(durable=True):
            self._add_lanes(journal)
            for lane, ranges in moving.items():
                self._move(self._ledgers[lane], self._ledgers[Lane(journal, lane.stream)], ranges)
            self._save_settled()
        for ledger in self._ledgers.values():
            ledger.synced = ledger.last
        return journal

    def oldest_waiting(self) -> datetime | None:
        """When the oldest waiting record was appended."""
        firsts = ((ledger.number, ledger.waiting.first) for ledger in self._ledgers.values())
        times = [self.file.recorded(number, first) for number, first in firsts if first]
        return min((datetime.fromtimestamp(time, UTC) for time in times if time), default=None)

    # -- inside ----------------------------------------------------------------------------

    def _load(self) -> None:
        self._ledgers = ledgers_in(self.file)
        with self.file.transaction(durable=True):
            if not self._ledgers:
                self._add_lanes(new_journal())
            for ledger in self._ledgers.values():
                self._begin_life(ledger)

    def _begin_life(self, ledger: Ledger) -> None:
        """All that is here survives a power cut now; what comes next was never sent."""
        if ledger.never_sent_from is None:
            ledger.never_sent_from = ledger.last + 1
            self.file.set_never_sent_from(ledger.number, ledger.never_sent_from)

    def _add_lanes(self, journal: str) -> None:
        for stream in STREAMS:
            self._add_lane(Lane(journal, stream))

    def _add_lane(self, lane: Lane, adopted_since: datetime | None = None) -> None:
        number, adopted = len(self._ledgers) + 1, adopted_since is not None
        since = adopted_since or self.now()
        row = LaneRow(number, lane, since, adopted, None if adopted else 1)
        self.file.add_lane(row)
        self._ledgers[lane] = Ledger(*row)

    def _insert(self, ledger: Ledger, bodies: list[bytes]) -> bool:
        """Write the bodies behind the lane's last record; False when the disk has no room."""
        while True:
            try:
                with self.file.transaction():
                    recorded = int(self.now().timestamp())
                    self.file.insert(ledger.number, ledger.last + 1, recorded, bodies)
                return True
            except SpoolFullError:
                if not self._made_room():
                    return False

    def _made_room(self) -> bool:
        try:
            return room.make_room(self)
        except SpoolFullError:
            return False

    def _save_settled(self) -> None:
        self.file.save_settled(row for ledger in self._ledgers.values() for row in ledger.rows())

    def _move(self, source: Ledger, target: Ledger, ranges: Ranges) -> None:
        """Renumber records of `source` at the end of `target`, inside a transaction."""
        recorded = int(self.now().timestamp())
        for first, last in ranges.pairs:
            bodies = [
                self._body(target.lane, sequence, msgspec.json.decode(body))
                for sequence, body in enumerate(
                    self.file.bodies(source.number, first, last), target.last + 1
                )
            ]
            self.file.insert(target.number, target.last + 1, recorded, bodies)
            target.last += len(bodies)
            self.file.delete(source.number, first, last)
        if ranges and ranges.pairs[-1][1] >= source.last:
            source.truncate(ranges.pairs[-1][0] - 1)
        source.acknowledged |= ranges.between(1, source.last)  # stored, as another record

    def _body(self, lane: Lane, sequence: int, document: Document) -> bytes:
        """The document's JSON, with the identity that it keeps for ever."""
        event = {"id": event_id(self.station, lane, sequence), "sequence": sequence}
        body = msgspec.json.encode(
            {
                **document,
                "data_stream": DATA_SETS[lane.stream]._asdict(),
                "event": {**document.get("event", {}), **event},
                "station": {
                    **document.get("station", {}),
                    "id": self.station,
                    "journal": lane.journal,
                },
            }
        )
        if len(body) > MAX_RECORD_BYTES:
            raise ClimaError(f"a record of {len(body)} bytes; {MAX_RECORD_BYTES} is the most")
        return body

    def adopt(self, records: Iterable[salvage.Salvaged], settled: salvage.Settled) -> int:
        """Take in what was salvaged under its own identity, to wait; how many records."""
        count = 0
        with self.file.transaction(durable=True):
            for lane, sequence, recorded, body in records:
                if lane not in self._ledgers:
                    self._add_lane(lane, datetime.fromtimestamp(recorded, UTC))
                ledger = self._ledgers[lane]
                self.file.insert(ledger.number, sequence, recorded, [body])
                ledger.last = max(ledger.last, sequence)
                count += 1
            for lane, how, ranges in settled:
                if lane in self._ledgers:
                    self._ledgers[lane].settle(how, ranges)
        for ledger in self._ledgers.values():
            if ledger.adopted:
                here = Ranges.of(self.file.sequences(ledger.number, 1, ledger.last))
                self.drop(ledger, Ranges([(1, ledger.last)]) - here, "damaged")
        self.sync()
        return count


def ledgers_in(file: SpoolFile) -> dict[Lane, Ledger]:
    """The account of every lane as it is written down, in the order of their making."""
    ledgers: dict[Lane, Ledger] = {}
    for row in file.lanes():
        ledger = Ledger(*row)
        for how, ranges in file.settled(row.number):
            ledger.settle(how, ranges)
        held = file.held(row.number)
        ledger.last = ledger.synced = max(held.last or 0, ledger.settled.last or 0)
        ledgers[row.lane] = ledger
    return ledgers


def recover(path: Path, station: str, limits: Limits | None, **options: Any) -> Spool:
    """Put a damaged spool aside, begin a new one, and adopt what can be read of the old.

    Salvaged records keep their journal and sequence and wait to be sent; the forwarder finds
    out which of them the store has already. The damaged file is never deleted.
    """
    aside = salvage.put_aside(path)
    spool = Spool(path, station, limits, **options)
    try:
        count = spool.adopt(salvage.records(aside, station), salvage.settled(aside))
    except sqlite3.Error:
        spool.close()
        raise
    spool.tell("spool_salvaged", records=count, put_aside=str(aside))
    return spool
