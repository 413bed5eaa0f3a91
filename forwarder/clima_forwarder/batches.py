"""Batches from the moment they come in until each of their records is answered for.

What always holds:

- Every record of a batch is answered: by an ACK, or by a NACK that says what follows. Left
  unanswered it would keep a place of its station's credit for ever.
- No two deliveries have the same record in hand: the later one waits for the earlier, and then
  finds what that has stored.
- What is in hand is bounded, for each station and for all; beyond that a batch is sent back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import structlog

from clima_core import wire
from clima_core.errors import ProtocolError
from clima_core.ranges import Ranges
from clima_forwarder import intake
from clima_forwarder.delivery import Delivered, Delivery
from clima_forwarder.health import Health
from clima_forwarder.metrics import Metrics
from clima_forwarder.outputs.base import DeadLetter, Output
from clima_forwarder.sessions import Session

log = structlog.get_logger("clima_forwarder.batches")

MOST_BYTES_IN_HAND = 24 * 1024 * 1024
RECORD_OVERHEAD_BYTES = 500  # what a record takes here beside its own bytes
CREDIT = 4  # batches that a station may have in flight when there is room
RETRY_BUSY_S, RETRY_AHEAD_S, RETRY_STORE_S, RETRY_FAULT_S = 2.0, 30.0, 5.0, 60.0
RETRY_LETTERS_S = 60.0

Answer = Callable[[bytes, wire.FromForwarder], None]


class Batches:
    """Takes batches in, has them delivered, and answers; `answer` sends without waiting."""

    def __init__(self, output: Output, health: Health, metrics: Metrics, answer: Answer) -> None:
        self._delivery = Delivery(output, health)
        self._health = health
        self._metrics = metrics
        self._answer = answer
        self._unpacker = wire.Unpacker()
        self._bytes = 0
        self._names: dict[str, intake.Names] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def in_hand(self) -> int:
        """How many batches are not answered yet."""
        return len(self._tasks)

    @property
    def credit(self) -> int:
        """Batches that a station may have in flight: none while the store takes nothing."""
        if not self._health.store_works:
            return 0
        return max(1, CREDIT - CREDIT * self._bytes // MOST_BYTES_IN_HAND)

    async def close(self, patience_s: float) -> None:
        """Let deliveries finish for a while; what is left then is not acknowledged."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=patience_s)
        for task in self._tasks:
            task.cancel()

    def take(self, session: Session, header: wire.Batch, payload: bytes) -> None:
        """Take a batch in, or send it back."""
        if not self._health.store_is_open:
            text = "the store is not open yet"
            self._send_back(session, header, "store_unavailable", text, RETRY_STORE_S)
            return
        under_way = session.attempts.under_way
        if len(under_way) >= CREDIT or self._bytes + _cost(header) > MOST_BYTES_IN_HAND:
            self._send_back(session, header, "busy", "too much in hand", RETRY_BUSY_S)
            return
        try:
            bodies = self._unpacker.unpack(header, payload)
        except ProtocolError as error:
            self._metrics.messages_refused.labels("protocol").inc()
            log.warning("batch_refused", station=session.station, reason=str(error))
            self._send_back(session, header, "malformed", str(error), RETRY_FAULT_S)
            return
        self._bytes += _cost(header)
        earlier = session.attempts.overlapping(header)
        task = asyncio.create_task(self._settle(session, header, bodies, earlier))
        under_way[task] = header
        self._tasks.add(task)
        self._metrics.in_delivery.set(len(self._tasks))

    async def _settle(
        self,
        session: Session,
        header: wire.Batch,
        bodies: list[bytes],
        earlier: Sequence[asyncio.Task[None]],
    ) -> None:
        """Deliver a batch and answer it, once those are through that share records with it."""
        done = None
        try:
            if earlier:
                await asyncio.wait(earlier)
            done = await self._deliver(session, header, bodies)
        except Exception:  # a fault of ours; nobody but the one station should feel it
            log.exception("delivery_failed", station=session.station)
        finally:
            self._let_go(session, header)
        if done is None:  # to answer twice for what is settled already does no harm
            text = "a fault in the forwarder; its log says more"
            self._send_back(session, header, "fault", text, RETRY_FAULT_S)
        else:
            self._delivered(session, header, done)

    def _let_go(self, session: Session, header: wire.Batch) -> None:
        """Before the answer: who has it may send the next batch at once."""
        if (task := asyncio.current_task()) is not None:
            session.attempts.under_way.pop(task, None)
            self._tasks.discard(task)
        self._bytes -= _cost(header)
        self._metrics.in_delivery.set(len(self._tasks))

    async def _deliver(
        self, session: Session, header: wire.Batch, bodies: list[bytes]
    ) -> Delivered:
        now = datetime.now(UTC)
        names = self._names.setdefault(session.station, set())
        sorted_ = intake.sort(session.station, header, bodies, now, names)
        if sorted_.ahead:
            text = f"@timestamp up to {sorted_.furthest.isoformat()}, here it is {now.isoformat()}"
            ahead = Ranges.of(sorted_.ahead)
            self._nack(session, header, ahead, "clock_ahead", text, RETRY_AHEAD_S)
            self._metrics.records.labels("ahead").inc(len(ahead))
        return await self._delivery.deliver(
            session,
            header.lane,
            sorted_.documents,
            sorted_.letters,
            lambda part: self._delivered(session, header, part),
        )

    # -- answers ---------------------------------------------------------------------------

    def _delivered(self, session: Session, header: wire.Batch, done: Delivered) -> None:
        for code, letters in _by_reason(done.dead).items():
            self._say_dead(session, header, code, letters)
        if done.conflict:
            text = "the store has another record under this identity"
            self._nack(session, header, done.conflict, "conflict", text, action="conflict")
            log.error("identity_conflict", station=session.station, sequences=str(done.conflict))
        if done.later:
            text = "it cannot be stored, nor kept as a dead letter just now"
            self._nack(session, header, done.later, "store_unavailable", text, RETRY_LETTERS_S)
        settled = done.stored | Ranges.of(letter.sequence for letter in done.dead)
        for start in range(0, len(settled.pairs), wire.MAX_PAIRS):
            part = list(settled.pairs[start : start + wire.MAX_PAIRS])
            ack = wire.Ack(header.journal, header.stream, part, self.credit)
            self._answer(session.routing_id, ack)
        count = self._metrics.records.labels
        count("stored").inc(len(done.stored))
        count("dead_letter").inc(len(done.dead))
        count("conflict").inc(len(done.conflict))

    def _say_dead(
        self, session: Session, header: wire.Batch, code: str, letters: Sequence[DeadLetter]
    ) -> None:
        dead, text = Ranges.of(letter.sequence for letter in letters), letters[0].message
        log.error(
            "dead_letters",
            station=session.station,
            journal=header.journal,
            stream=header.stream,
            sequences=str(dead)[:500],
            code=code,
            reason=text,
        )
        self._nack(session, header, dead, code, text, action="dead_letter")

    def _send_back(
        self, session: Session, header: wire.Batch, code: str, text: str, retry_after_s: float
    ) -> None:
        everything = Ranges([(header.first, header.last)])
        self._nack(session, header, everything, code, text, retry_after_s)

    def _nack(
        self,
        session: Session,
        header: wire.Batch,
        ranges: Ranges,
        code: str,
        text: str,
        retry_after_s: float = 0.0,
        *,
        action: Any = "retry",
    ) -> None:
        nack = wire.Nack(
            journal=header.journal,
            stream=header.stream,
            ranges=wire.pairs(ranges),
            action=action,
            code=code,
            message=text[:500],
            credit=self.credit,
            time=datetime.now(UTC),
            retry_after_s=retry_after_s,
        )
        self._answer(session.routing_id, nack)


def _cost(header: wire.Batch) -> int:
    """The bytes of memory that a batch takes while it is in hand, roughly."""
    return header.size + header.count * RECORD_OVERHEAD_BYTES


def _by_reason(letters: Sequence[DeadLetter]) -> dict[str, list[DeadLetter]]:
    """One answer per reason: a batch may be dead letters from end to end."""
    by_reason: dict[str, list[DeadLetter]] = {}
    for letter in letters:
        by_reason.setdefault(letter.reason, []).append(letter)
    return by_reason
