"""Getting a batch into the store, each record exactly once, and saying what became of each.

What always holds:

- A record is reported stored only when the store said so of this very content.
- What somebody on the way to the store has accepted is not stored. It counts when the store is
  seen to have it, and is looked for and sent again only when it is on the way no more.
- Each record is reported as soon as its own fate is known: no gap holds up what is around it.
- A record that may have been sent before (`Session.suspects`) is created only after a search
  that sees everything up to the last attempt has not found it. The `_id` alone would not do: it
  is unique within one backing index, and after a rollover the same id is taken again.
- An id that is there with *other* content is a conflict, never an acknowledgement: a clone or
  a restored card used the sequence twice, and the station has to number its record anew.
- What the store refuses for good becomes a dead letter, alone, and only then counts as done.
  One that is refused itself is kept bare, and said once, with its reason.
- A dead letter that the store does not keep in `LETTER_TRIES` tries goes back to its station, for
  later, and `Health` says so: it holds up nothing else, and nobody else's readings.
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
from clima_forwarder.outputs.content import same_content
from clima_forwarder.sessions import Session

log = structlog.get_logger("clima_forwarder.delivery")

RETRY_S, RETRY_CAP_S = 0.5, 15.0
LETTER_TRIES = 5
NOT_CONFIRMED = "records that were accepted did not reach the store; they are sent again"
UNDERWAY = "refused on the way to the store; its dead letter there says why"

Sleep = Callable[[float], Awaitable[None]]
Tell = Callable[["Delivered"], None]


@dataclass
class Delivered:
    """What became of some records of one batch: each sequence is in exactly one of the four.

    `later` are those that the store neither takes nor keeps as dead letters just now.
    """

    stored: Ranges = field(default_factory=Ranges)
    dead: list[DeadLetter] = field(default_factory=list)
    conflict: Ranges = field(default_factory=Ranges)
    later: Ranges = field(default_factory=Ranges)

    def __bool__(self) -> bool:
        return bool(self.stored or self.dead or self.conflict)


@dataclass(frozen=True)
class _Work:
    """A batch in delivery; `done` is what nobody was told yet."""

    session: Session
    lane: Lane
    tell: Tell
    done: Delivered = field(default_factory=Delivered)

    def tell_what_is_done(self) -> None:
        if self.done:
            self.tell(Delivered(self.done.stored, self.done.dead, self.done.conflict))
            self.done.stored, self.done.dead, self.done.conflict = Ranges(), [], Ranges()


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
        tell: Tell,
    ) -> Delivered:
        """Store the documents and keep the letters; returns when all are accounted for.

        What is settled while other records are not is told at once, and not returned again.
        """
        work = _Work(session, lane, tell)
        refused = await self._store(work, documents)
        await self._keep(work, [*letters, *refused])
        return work.done

    async def _store(self, work: _Work, documents: Sequence[Document]) -> list[DeadLetter]:
        """Store the documents; returns those that the store refuses for good."""
        refused: list[DeadLetter] = []
        pending = {document.sequence: document for document in documents}
        await self._until_settled(
            work,
            pending,
            lambda found: _take_found(pending, found, work.done),
            lambda: self._create(work, pending, refused),
        )
        return refused

    async def _create(
        self, work: _Work, pending: dict[int, Document], refused: list[DeadLetter]
    ) -> None:
        """Create what is pending and settle each by its own result.

        What stays pending is there already (whose content it has is for `find` to say), or did
        not arrive, or the store asks to try it again, which raises UnavailableError when the
        rest is settled.
        """
        documents = list(pending.values())
        work.session.attempts.add(work.lane, Ranges.of(pending))
        results = await self._bulk.create(documents)
        stored, busy, doubt, accepted = [], "", "", []
        for document, (status, reason) in zip(documents, results, strict=True):
            if status == "stored":
                stored.append(document.sequence)
            elif status == "accepted":
                accepted.append(document.sequence)
                doubt = reason
            elif status == "refused":
                refused.append(_letter(pending.pop(document.sequence), reason))
            elif status == "retry":
                busy = reason
        work.done.stored |= Ranges.of(stored)
        for sequence in stored:
            del pending[sequence]
        if doubt:
            self._health.store_failed(doubt)
        if accepted:
            await self._until_confirmed(work, pending, Ranges.of(accepted))
        if busy:
            raise UnavailableError(busy)

    async def _until_confirmed(
        self, work: _Work, pending: dict[int, Document], accepted: Ranges
    ) -> None:
        """Wait for the store to have what was accepted.

        What does not arrive stays pending, and raises UnavailableError.
        """
        since = time.monotonic()
        while accepted:
            try:
                stored, dead = await self._output.confirmed(
                    work.session.station, work.lane, accepted, since
                )
            except ClimaError as error:  # still on the way
                self._health.store_failed(str(error))
                continue
            if not (stored or dead):
                log.warning(
                    "records_not_confirmed",
                    station=work.session.station,
                    stream=work.lane.stream,
                    sequences=str(accepted)[:500],
                )
                raise UnavailableError(NOT_CONFIRMED)
            self._health.store_worked()
            work.done.stored |= stored
            work.done.dead += [_letter(pending[sequence], UNDERWAY) for sequence in dead]
            accepted -= stored | dead
            for sequence in stored | dead:
                del pending[sequence]
            if accepted:
                work.tell_what_is_done()

    async def _keep(self, work: _Work, letters: list[DeadLetter]) -> None:
        """Keep dead letters until the store has each of them, or some tries have failed."""
        pending = {letter.sequence: letter for letter in letters}
        refusals: dict[int, str] = {}
        failed: list[str] = []
        await self._until_settled(
            work,
            pending,
            lambda found: _take_letters(pending, found, work.done),
            lambda: self._dead_letter(work, pending, refusals, failed),
        )
        refused = {each.sequence: each for each in letters if each.sequence in refusals}
        for sequence in refused.keys() - set(work.done.later):
            _say_kept_bare(refused[sequence], refusals[sequence])

    async def _until_settled(
        self,
        work: _Work,
        pending: Mapping[int, Document | DeadLetter],
        take_found: Callable[[Sequence[Found]], None],
        write: Callable[[], Awaitable[None]],
    ) -> None:
        """Look for what may be there and write the rest, again and again, until none is pending.

        Both callbacks take out of `pending` what they settle.
        """
        session, lane = work.session, work.lane
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
                work.tell_what_is_done()
                await self._sleep(pause_s(failures, RETRY_S, RETRY_CAP_S))
                failures += 1

    async def _dead_letter(
        self,
        work: _Work,
        pending: dict[int, DeadLetter],
        refusals: dict[int, str],
        failed: list[str],
    ) -> None:
        """Try to keep what is pending; `refusals` are of those that are bare from now on.

        `failed` has a reason for each try that did not keep them all; with the last one allowed
        the rest is given back.
        """
        letters = list(pending.values())
        work.session.attempts.add(work.lane, Ranges.of(pending))
        results = await self._output.dead_letter(letters)
        unkept = ""
        for letter, (status, reason) in zip(letters, results, strict=True):
            if status in {"stored", "exists"}:
                work.done.dead.append(pending.pop(letter.sequence))
            elif status == "refused" and not letter.bare:
                refusals[letter.sequence] = reason
                pending[letter.sequence] = msgspec.structs.replace(letter, bare=True)
            else:
                unkept = reason
        if unkept:
            self._health.letters_failed(unkept)
            failed.append(unkept)
        elif len(pending) < len(letters):
            self._health.letters_kept()
        if len(failed) == LETTER_TRIES:
            work.done.later |= Ranges.of(pending)
            pending.clear()

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


def _say_kept_bare(letter: DeadLetter, refusal: str) -> None:
    """What was left out is in the log, which tells it this once."""
    log.error(
        "dead_letter_refused",
        id=letter.id,
        reason=refusal,
        letter=f"{letter.reason}: {letter.message}",
    )


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
