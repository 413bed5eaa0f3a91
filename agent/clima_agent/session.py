"""The agent's half of one session with a forwarder: what to send next, what an answer means.

No I/O and no clock: `Sender` owns the socket and passes the time in. What always holds:

- A record is in flight at most once, and there are never more batches in flight than the
  forwarder gives credit for.
- Only an ACK settles a record. Whatever else happens it stays waiting in the spool.
- Fresh records (synced since the session began) go before the backlog, and one credit is kept
  for them, so that catching up never delays what is new.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from clima_agent.spool import Ledger, Spool
from clima_core.identity import STREAMS, Lane
from clima_core.ranges import Ranges
from clima_core.wire import Ack, Nack, Packer, Resend, Welcome


@dataclass
class _Outstanding:
    """A batch that is not answered in full."""

    lane: Lane
    unanswered: Ranges


@dataclass
class _Held:
    """Records that the forwarder wants later."""

    lane: Lane
    ranges: Ranges
    until: float


class Session:
    """One session; `began` is the last sequence of each lane that HELLO reported."""

    def __init__(self, spool: Spool, welcome: Welcome, began: Mapping[Lane, int]) -> None:
        self._spool = spool
        self._welcome = welcome
        self._began = began
        self._packer = Packer()
        self._outstanding: list[_Outstanding] = []
        self._held: list[_Held] = []
        self.credit = welcome.credit

    def next_batch(self, now: float) -> list[bytes] | None:
        """The frames of the next batch, which counts as in flight from here on; or None."""
        self._held = [held for held in self._held if held.until > now]
        free = self.credit - len(self._outstanding)
        if free < 1:
            return None
        backlog = free > 1 or self.credit == 1
        while run := next(self._candidates(backlog=backlog), None):
            lane, first, last = run
            most = min(last, first + self._welcome.max_records - 1)
            if bodies := self._spool.read(lane, first, most, self._welcome.max_bytes):
                sent = Ranges([(first, first + len(bodies) - 1)])
                self._outstanding.append(_Outstanding(lane, sent))
                return self._packer.pack(lane, first, bodies)
            # the first of the run was damaged and is dropped now: look again
        return None

    def acknowledged(self, ack: Ack) -> Ranges:
        """Settle what the store has; returns what that was."""
        lane, ranges = Lane(ack.journal, ack.stream), Ranges(ack.ranges)
        self.credit = ack.credit
        self._spool.acknowledge(lane, ranges)
        self._answered(lane, ranges)
        return ranges

    def refused(self, nack: Nack, now: float) -> Ranges:
        """Take back what was not stored: to be sent later, or at once under a new identity.

        Returns the ranges that are in conflict; the caller has them numbered anew.
        """
        lane, ranges = Lane(nack.journal, nack.stream), Ranges(nack.ranges)
        self.credit = nack.credit
        if nack.action == "dead_letter":
            return Ranges()  # an ACK for it follows
        self._answered(lane, ranges)
        if nack.action == "conflict":
            return ranges
        self._held.append(_Held(lane, ranges, now + nack.retry_after_s))
        return Ranges()

    def wanted_again(self, resend: Resend) -> Ranges:
        """The store lacks these after all; returns those that the spool still has."""
        return self._spool.reopen(Lane(resend.journal, resend.stream), Ranges(resend.ranges))

    @property
    def next_due(self) -> float | None:
        """When the first of the records held back may be sent."""
        return min((held.until for held in self._held), default=None)

    @property
    def in_flight(self) -> int:
        """How many batches wait for an answer."""
        return len(self._outstanding)

    def _answered(self, lane: Lane, ranges: Ranges) -> None:
        for batch in self._outstanding:
            if batch.lane == lane:
                batch.unanswered -= ranges
        self._outstanding = [batch for batch in self._outstanding if batch.unanswered]

    def _candidates(self, *, backlog: bool) -> Iterator[tuple[Lane, int, int]]:
        """Runs of sequences to send, the most wanted first.

        Only of lanes that HELLO told of: the forwarder takes others for new, and would store
        again without a search what it has.
        """
        ledgers = sorted(
            (self._spool.ledgers[lane] for lane in self._began),
            key=lambda ledger: STREAMS.index(ledger.lane.stream),
        )
        for ledger in ledgers:
            if ledger.last > (began := self._began[ledger.lane]):
                fresh = self._sendable(ledger).between(began + 1, ledger.last)
                if fresh:
                    yield ledger.lane, *fresh.pairs[0]
        if backlog:
            for ledger in ledgers:
                if sendable := self._sendable(ledger):
                    yield ledger.lane, *sendable.pairs[0]

    def _sendable(self, ledger: Ledger) -> Ranges:
        busy = Ranges()
        for item in self._outstanding:
            if item.lane == ledger.lane:
                busy |= item.unanswered
        for held in self._held:
            if held.lane == ledger.lane:
                busy |= held.ranges
        return ledger.waiting - busy
