"""A spool's file and the ledgers of its lanes, kept in step: what all changes of it go through.

A change of both is one transaction, and is taken back in both where it fails. The larger changes
have a module each (`undated.py`, `room.py`, `renumber.py`); `Spool` says when, and makes room.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Protocol

from clima_agent.spool.file import LaneRow, SpoolFile
from clima_agent.spool.ledger import ASSIGNED, UNDATED, Ledger
from clima_agent.spool.record import TOO_LONG, Document, identified
from clima_core.identity import STREAMS, Lane
from clima_core.ranges import Ranges

MOST_TOLD = 50  # runs of sequences in one event: a badly torn spool has thousands


class Report(Protocol):
    """How the spool says what a person must know: an event's name and its fields."""

    def __call__(self, event: str, /, **fields: object) -> None: ...


class Books:
    """The ledgers of an open file; `station` is whose, `tell` says what a person must know."""

    file: SpoolFile

    def __init__(self, station: str, now: Callable[[], datetime], tell: Report) -> None:
        self.station = station
        self.now = now
        self.tell = tell
        self.dated = 0  # the last undated record that was numbered, or given up
        self.changed = True  # something would not survive a power cut yet
        self._ledgers: dict[Lane, Ledger] = {}

    @property
    def journal(self) -> str:
        """The journal that new records go to."""
        own = [ledger for ledger in self._ledgers.values() if not ledger.adopted]
        return own[-1].lane.journal

    @property
    def ledgers(self) -> Mapping[Lane, Ledger]:
        """The account of every lane, in the order of their making."""
        return self._ledgers

    def drop(self, ledger: Ledger, ranges: Ranges, reason: str) -> None:
        """Give up what of `ranges` is not settled, and say so: it is lost for good."""
        self.tell_dropped(ledger, ledger.drop(ranges, reason), reason)

    def tell_dropped(self, ledger: Ledger, given_up: Ranges, reason: str) -> None:
        """Say what the ledger says, and keep that with the next sync."""
        if given_up:
            self.changed = True
            self.tell(
                "records_dropped",
                journal=ledger.lane.journal,
                stream=ledger.lane.stream,
                sequences=str(Ranges(given_up.pairs[:MOST_TOLD])),
                count=len(given_up),
                reason=reason,
            )

    def number(self, ledger: Ledger, documents: Sequence[Document]) -> Ranges:
        """Number and write them, in a transaction of the caller's, who takes it back if that fails.

        Returns the numbers of those that were given up because they are too long.
        """
        first = ledger.last + 1
        bodies = [
            identified(document, self.station, ledger.lane, sequence)
            for sequence, document in enumerate(documents, first)
        ]
        self.file.insert(ledger.number, first, self.recorded(), bodies)
        ledger.last += len(bodies)
        too_long = Ranges.of(first + n for n, body in enumerate(bodies) if body is None)
        if too_long:
            ledger.settle(TOO_LONG, too_long)
            self.save_account()
        return too_long

    def begins(self, ledger: Ledger, since: datetime) -> None:
        """The lane was made when nobody knew the time; in the caller's transaction."""
        ledger.since = since
        self.put_lane(ledger)

    def recorded(self) -> int:
        """When a record that is written now is written, as the file keeps it."""
        return int(self.now().timestamp())

    @contextmanager
    def all_or_nothing(self) -> Iterator[None]:
        """A durable change of both file and ledgers; everything is synced after it."""
        before = {lane: ledger.copy() for lane, ledger in self._ledgers.items()}
        try:
            with self.file.transaction(durable=True):
                yield
                self.save_account()
        except BaseException:
            self._ledgers = before
            raise
        for ledger in self._ledgers.values():
            ledger.synced = ledger.last

    def add_lanes(self, journal: str) -> None:
        """The weather's last: there a record is written at the tree's end, where it costs least."""
        for stream in reversed(STREAMS):
            self.add_lane(Lane(journal, stream))

    def add_lane(
        self, lane: Lane, adopted_since: datetime | None = None, *, never_sent: bool = False
    ) -> Ledger:
        """A new account, in the caller's transaction; adopted out of another file, or our own."""
        number, adopted = len(self._ledgers) + 1, adopted_since is not None
        since = adopted_since or self.now()
        ledger = Ledger(number, lane, since, adopted, 1 if never_sent or not adopted else None)
        self.put_lane(ledger)
        self._ledgers[lane] = ledger
        return ledger

    def save_account(self, besides: Sequence[tuple[int, str, int, int]] = ()) -> None:
        """Write down what the ledgers say, and rows `besides`; in the caller's transaction."""
        rows = [row for ledger in self._ledgers.values() for row in ledger.rows()]
        if self.dated:
            rows.append((UNDATED, ASSIGNED, 1, self.dated))
        self.file.save_settled([*rows, *besides])

    def put_lane(self, ledger: Ledger) -> None:
        """Write down what a lane is, but for its sequences; in the caller's transaction."""
        self.file.put_lane(
            LaneRow(
                ledger.number, ledger.lane, ledger.since, ledger.adopted, ledger.never_sent_from
            )
        )
