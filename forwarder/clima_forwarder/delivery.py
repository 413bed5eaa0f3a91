"""Getting a batch into the store, each record exactly once, and saying what became of each.

What always holds:

- A record is reported stored only when the store said so of this very content.
- A record that may have been sent before (`Session.suspects`) is created only after a search
  that sees everything up to the last attempt has not found it. The `_id` alone would not do: it
  is unique within one backing index, and after a rollover the same id is taken again.
- An id that is there with *other* content is a conflict, never an acknowledgement: a clone or
  a restored card used the sequence twice, and the station has to number its record anew.
- What the store refuses for good becomes a dead letter, alone, and only then counts as done.
- Whatever else goes wrong at the store, be it down, full or locked, is said by `Health` and
  tried again for as long as it lasts: it is the operator's to mend, and no reading's fault.

The caller sees to it that no two deliveries have the same record in hand at once.

Nothing here survives the process and nothing has to: what was not acknowledged still lies on
the station.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec
import structlog

from clima_core.backoff import pause_s
from clima_core.errors import ClimaError, UnavailableError
from clima_core.identity import Lane
from clima_core.ranges import Ranges
from clima_forwarder.bulk import Bulk
from clima_forwarder.health import Health
from clima_forwarder.outputs.base import DeadLetter, Document, Found, Output
from clima_forwarder.sessions import Session

log = structlog.get_logger("clima_forwarder.delivery")

RETRY_S, RETRY_CAP_S = 0.5, 15.0

Sleep = Callable[[float], Awaitable[None]]


@dataclass
class Delivered:
    """What became of the records of one batch: every sequence is in exactly one of the three."""

    stored: Ranges = field(default_factory=Ranges)
    dead: list[DeadLetter] = field(default_factory=list)
    conflict: Ranges = field(default_factory=Ranges)


class Delivery:
    """Delivers to one output. It tries until the store has answered for every record."""

    def __init__(self, output: Output, health: Health, sleep: Sleep = asyncio.sleep) -> None:
        self._output = output
        self._sleep = sleep
        self._bulk = Bulk(output)
        self._health = health

    async def deliver(
        self,
        session: Session,
        lane: Lane,
        documents: Sequence[Document],
        letters: Sequence[DeadLetter],
    ) -> Delivered:
        """Store the documents and keep the letters; returns when all are accounted for."""
        done = Delivered()
        refused = await self._store(session, lane, documents, done)
        await self._keep(session, lane, [*letters, *refused], done)
        return done

    async def _store(
        self, session: Session, lane: Lane, documents: Sequence[Document], done: Delivered
    ) -> list[DeadLetter]:
        """Store the documents; returns those that the store refuses for good."""
        refused: list[DeadLetter] = []
        pending = {document.sequence: document for document in documents}
        await self._until_settled(
            session,
            lane,
            pending,
            lambda found: _take_found(pending, found, done),
            lambda: self._create(session, lane, pending, refused, done),
        )
        return refused

    async def _create(
        self,
        session: Session,
        lane: Lane,
        pending: dict[int, Document],
        refused: list[DeadLetter],
        done: Delivered,
    ) -> None:
        """Create what is pending and settle each by its own result.

        What stays pending is there already (whose content it has is for `find` to say), or the
        store asks to try it again, which raises UnavailableError when the rest is settled.
        """
        documents = list(pending.values())
        session.attempts.add(lane, Ranges.of(pending))
        results = await self._bulk.create(documents)
        outcomes = list(zip(documents, results, strict=True))
        stored = [document.sequence for document, result in outcomes if result.status == "stored"]
        done.stored |= Ranges.of(stored)
        for sequence in stored:
            del pending[sequence]
        busy = ""
        for document, (status, reason) in outcomes if pending else ():
            if status == "refused":
                refused.append(_letter(pending.pop(document.sequence), reason))
            elif status == "retry":
                busy = reason
        if busy:
            raise UnavailableError(busy)

    async def _keep(
        self, session: Session, lane: Lane, letters: list[DeadLetter], done: Delivered
    ) -> None:
        """Keep dead letters until the store has each of them."""
        pending = {letter.sequence: letter for letter in letters}
        await self._until_settled(
            session,
            lane,
            pending,
            lambda found: _take_letters(pending, found, done),
            lambda: self._dead_letter(session, lane, pending, done),
        )

    async def _until_settled(
        self,
        session: Session,
        lane: Lane,
        pending: Mapping[int, Document | DeadLetter],
        take_found: Callable[[Sequence[Found]], None],
        write: Callable[[], Awaitable[None]],
    ) -> None:
        """Look for what may be there and write the rest, again and again, until none is pending.

        Both callbacks take out of `pending` what they settle.
        """
        suspects, since = session.suspects(lane, Ranges.of(pending))
        failures = 0
        while pending:
            try:
                if suspects:
                    take_found(await self._find(session.station, lane, suspects, since))
                if pending:
                    await write()
                self._health.store_worked()
            except ClimaError as error:
                self._health.store_failed(str(error))
            suspects, since = Ranges.of(pending), time.monotonic()
            if pending:
                await self._sleep(pause_s(failures, RETRY_S, RETRY_CAP_S))
                failures += 1

    async def _dead_letter(
        self, session: Session, lane: Lane, pending: dict[int, DeadLetter], done: Delivered
    ) -> None:
        letters = list(pending.values())
        session.attempts.add(lane, Ranges.of(pending))
        results = await self._output.dead_letter(letters)
        for letter, result in zip(letters, results, strict=True):
            if result.status in {"stored", "exists"}:
                done.dead.append(pending.pop(letter.sequence))
            elif result.status == "refused":
                log.error("dead_letter_refused", id=letter.id, reason=result.reason)

    async def _find(self, station: str, lane: Lane, sequences: Ranges, since: float) -> list[Found]:
        first, last = sequences.first or 0, sequences.last or 0
        found = await self._output.find(station, lane, first, last, since=since)
        return [each for each in found if each.sequence in sequences]


def _take_found(pending: dict[int, Document], found: Sequence[Found], done: Delivered) -> None:
    """Settle what the store has already, if it has just that."""
    stored, conflict = [], []
    for each in found:
        document = pending.pop(each.sequence, None)
        if document is None:
            continue
        if each.body is None or same_content(each.body, document.body):
            stored.append(each.sequence)
        else:
            conflict.append(each.sequence)
    done.stored |= Ranges.of(stored)
    done.conflict |= Ranges.of(conflict)


def _take_letters(pending: dict[int, DeadLetter], found: Sequence[Found], done: Delivered) -> None:
    """Settle what the store has already as a dead letter."""
    for each in found:
        if each.body is None and each.sequence in pending:
            done.dead.append(pending.pop(each.sequence))


def same_content(stored: bytes, sent: bytes) -> bool:
    """Whether a stored document is the one that was sent, but for what the store itself adds."""
    theirs, ours = msgspec.json.decode(stored), msgspec.json.decode(sent)
    if isinstance(theirs.get("event"), dict):
        theirs["event"].pop("ingested", None)
    return bool(theirs == ours)


def _letter(document: Document, reason: str) -> DeadLetter:
    return DeadLetter(
        station=document.station,
        lane=document.lane,
        sequence=document.sequence,
        reason="refused_by_store",
        message=reason,
        body=document.body,
        received=datetime.now(UTC),
    )
