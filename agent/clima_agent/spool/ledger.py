"""What became of each sequence of one lane.

Every sequence of `1..last` is exactly one of: acknowledged (the forwarder said it is stored),
dropped (the station gave it up, with a reason), or waiting. Sequences above `synced` are
assigned but would not survive a power cut yet, so nobody may be sent them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime

from clima_agent.spool.file import SpoolFile
from clima_core.identity import Lane
from clima_core.ranges import Ranges
from clima_core.wire import MAX_PAIRS, Dropped, LaneReport, pairs

ACKNOWLEDGED = "acknowledged"
ASSIGNED = "assigned"  # written down too: it outlives the records that it counts
UNDATED = 0  # has no ledger: records of which nobody knows the time (`undated.py`)


@dataclass
class Ledger:
    """The account of one lane; `number` is its key in the spool's file.

    `never_sent_from` is the lowest sequence that this spool has certainly never sent, or None
    once this life of it may have sent any. `adopted` lanes came out of another file. `since` is a
    guess while nobody knows the time, which is put right when records are dated (`Spool.date`).
    """

    number: int
    lane: Lane
    since: datetime
    adopted: bool = False
    never_sent_from: int | None = 1
    last: int = 0
    synced: int = 0
    acknowledged: Ranges = field(default_factory=Ranges)
    dropped: dict[str, Ranges] = field(default_factory=dict)

    @property
    def settled(self) -> Ranges:
        """All that needs no sending any more."""
        settled = self.acknowledged
        for ranges in self.dropped.values():
            settled |= ranges
        return settled

    @property
    def waiting(self) -> Ranges:
        """What may and must be sent: survives a power cut, and is not settled."""
        return Ranges([(1, self.synced)]) - self.settled

    @property
    def timeless(self) -> bool:
        """Nothing in it has a time: it is empty, or all was given up."""
        return self.last == sum(map(len, self.dropped.values()))

    def acknowledge(self, ranges: Ranges) -> None:
        """The store has these, even if they were given up since they were sent.

        What was never sent cannot be acknowledged.
        """
        stored = ranges.between(1, self.synced)
        self.acknowledged |= stored
        self.dropped = {reason: given_up - stored for reason, given_up in self.dropped.items()}

    def settle(self, how: str, ranges: Ranges) -> None:
        """Take over what was written down."""
        self.last = max(self.last, ranges.last or 0)
        if how == ACKNOWLEDGED:
            self.acknowledged |= ranges
        elif how != ASSIGNED:
            self.dropped[how] = self.dropped.get(how, Ranges()) | ranges

    def drop(self, ranges: Ranges, reason: str) -> Ranges:
        """Give up those of `ranges` that are not settled; returns them."""
        given_up = ranges.between(1, self.last) - self.settled
        if given_up:
            self.settle(reason, given_up)
        return given_up

    def lose(self, count: int, reason: str) -> Ranges:
        """Number so many records that were never kept, so that they are counted; the numbers."""
        lost = Ranges([(self.last + 1, self.last + count)])
        self.settle(reason, lost)
        return lost

    def fate(self, sequence: int) -> str | None:
        """Why a sequence was given up, if it was."""
        return next((why for why, ranges in self.dropped.items() if sequence in ranges), None)

    def truncate(self, last: int) -> None:
        """Forget everything above `last`: it lives on under other numbers."""
        kept = Ranges([(1, last)])
        self.last, self.synced = last, min(self.synced, last)
        self.acknowledged &= kept
        self.dropped = {reason: ranges & kept for reason, ranges in self.dropped.items()}

    def copy(self) -> Ledger:
        """An account of its own, for a change that may have to be taken back."""
        return replace(self, dropped=dict(self.dropped))

    def was_rolled_back(self, highest_seen: int) -> bool:
        """Whether somebody has seen a sequence that this spool has never sent.

        Then the spool is older than what it has sent: a restored image, a card that lied about
        its sync, or the twin of a cloned one. Comparing with what was never *sent*, rather than
        with what was assigned, also catches a restored spool that has since grown past it.
        """
        limit = self.last + 1 if self.never_sent_from is None else self.never_sent_from
        return highest_seen >= limit

    def rows(self) -> Iterator[tuple[int, str, int, int]]:
        """The account as the file keeps it."""
        assigned = Ranges([(1, self.last)])
        for how, ranges in [
            (ASSIGNED, assigned),
            (ACKNOWLEDGED, self.acknowledged),
            *self.dropped.items(),
        ]:
            for first, last in ranges.pairs:
                yield self.number, how, first, last

    def report(self) -> LaneReport:
        """The lane as HELLO and PING carry it.

        It ends where what was never sent begins: the forwarder takes what was reported for sent,
        and a spool behind what was sent for one that was rolled back.
        """
        last = self.synced
        if self.never_sent_from is not None:
            last = min(last, self.never_sent_from - 1)
        dropped = [
            Dropped(*pair, reason)
            for reason, ranges in sorted(self.dropped.items())
            for pair in pairs(ranges.between(1, last))
        ]
        return LaneReport(
            journal=self.lane.journal,
            stream=self.lane.stream,
            first=1,
            last=last,
            since=self.since,
            waiting=pairs(self.waiting.between(1, last)),
            dropped=dropped[:MAX_PAIRS],
        )


@contextmanager
def taken_back_on_failure(ledgers: Iterable[Ledger]) -> Iterator[None]:
    """What is changed in these ledgers stays only if nothing fails: for a transaction around it."""
    before = [(ledger, ledger.copy()) for ledger in ledgers]
    try:
        yield
    except BaseException:
        for ledger, copy in before:
            vars(ledger).update(vars(copy))
        raise


def ledgers_in(file: SpoolFile) -> dict[Lane, Ledger]:
    """The account of every lane as it is written down, in the order of their making."""
    ledgers: dict[Lane, Ledger] = {}
    for row in file.lanes():
        ledger = Ledger(*row)
        for how, ranges in file.settled(row.number):
            ledger.settle(how, ranges)
        ledger.last = ledger.synced = max(file.held(row.number).last or 0, ledger.last)
        ledgers[row.lane] = ledger
    return ledgers
