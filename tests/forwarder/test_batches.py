"""Batches of one station in any order, over any of its sessions, into a store that misbehaves."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from clima_core import wire
from clima_core.errors import UnavailableError
from clima_core.identity import Lane
from clima_core.ranges import Ranges
from clima_forwarder.batches import CREDIT, MOST_BYTES_IN_HAND, Batches
from clima_forwarder.health import Health
from clima_forwarder.metrics import Metrics
from clima_forwarder.outputs.base import DeadLetter, Document, Found, Result
from clima_forwarder.sessions import Session, Sessions
from tests.forwarder import instant
from tests.forwarder.client import LANE, record
from tests.forwarder.memory_output import Key, MemoryOutput

LAST = 40
UNFIT = {7, 8, 23}  # sequences whose record is refused at the door


class Treacherous(MemoryOutput):
    """Keeps the promises of `Output` to the letter, and breaks whatever they leave open.

    A search does not see what was written after the moment that was asked for; requests take
    their time before and after they take effect, fail on either side of it, and the data stream
    rolls over in between.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.chance = random.Random(seed)
        self.honest = False
        self.written: dict[tuple[int, Key], float] = {}

    async def create(self, documents: Sequence[Document]) -> list[Result]:
        await self.trouble()
        results = await super().create(documents)
        for each in documents:
            key = each.station, each.lane, each.sequence
            self.written.setdefault((len(self.indices) - 1, key), time.monotonic())
        if not self.honest and self.chance.random() < 0.3:
            self.roll_over()
        await self.trouble()
        return results

    async def dead_letter(self, letters: Sequence[DeadLetter]) -> list[Result]:
        await self.trouble()
        results = await super().dead_letter(letters)
        await self.trouble()
        return results

    async def find(
        self, station: str, lane: Lane, first: int, last: int, *, since: float
    ) -> list[Found]:
        await self.trouble()
        seen = [
            Found(key[2], self.indices[index][key])
            for (index, key), written in self.written.items()
            if key[:2] == (station, lane) and first <= key[2] <= last and written < since
        ]
        found = await super().find(station, lane, first, last, since=since)
        return sorted(
            seen + [each for each in found if each.body is None], key=lambda each: each.sequence
        )

    async def trouble(self) -> None:
        await asyncio.sleep(self.chance.random())
        if not self.honest and self.chance.random() < 0.2:
            raise UnavailableError("no answer")


class Station:
    """A station whose connections come and go while its messages are still on the road."""

    def __init__(self, output: MemoryOutput) -> None:
        self.health, self.sessions = Health(), Sessions()
        self.health.store_opened()
        self.batches = Batches(output, self.health, Metrics(), self.answer)
        self.open: list[Session] = []
        self.last = 0
        self.acknowledged = Ranges()
        self.answers: list[wire.FromForwarder] = []
        self.hello()

    def hello(self) -> None:
        """Open another session, as the router does; the earlier ones may still be heard."""
        attempts, now = self.sessions.attempts_of("roof"), time.monotonic()
        began = {LANE: self.last}
        self.open.append(Session("key", b"%d" % len(self.open), "roof", began, now, now, attempts))
        self.sessions.add(self.open[-1])

    def send(self, first: int, count: int, session: int = -1) -> None:
        """A batch of this station's records, on any of its sessions."""
        self.last = max(self.last, first + count - 1)
        batch, payload = packed(first, [body(each) for each in range(first, first + count)])
        self.batches.take(self.open[session % len(self.open)], batch, payload)

    async def idle(self) -> None:
        """Until all that was taken in is answered."""
        while self.batches.in_hand:  # noqa: ASYNC110 - time passes at once
            await asyncio.sleep(1)

    def answer(self, routing_id: bytes, message: wire.FromForwarder) -> None:  # noqa: ARG002
        self.answers.append(message)
        if isinstance(message, wire.Ack):
            self.acknowledged |= Ranges(message.ranges)

    async def finish(self) -> None:
        """Send what is not acknowledged, over and over, until all of it is."""
        self.hello()
        while missing := Ranges([(1, self.last)]) - self.acknowledged:
            first, last = missing.pairs[0]
            self.send(first, last - first + 1)
            await asyncio.sleep(1)


def packed(first: int, bodies: Sequence[bytes]) -> tuple[wire.Batch, bytes]:
    message, payload = wire.decode_from_agent(wire.Packer().pack(LANE, first, bodies))
    assert isinstance(message, wire.Batch)
    return message, payload


def body(sequence: int) -> bytes:
    return record("roof", sequence) if sequence not in UNFIT else b"no record"


Step = Callable[[Station], Awaitable[None]]


def sends(first: int, count: int, session: int) -> Step:
    async def step(station: Station) -> None:
        station.send(first, min(count, LAST + 1 - first), session)

    return step


async def says_hello(station: Station) -> None:
    station.hello()


def waits(seconds: float) -> Step:
    async def step(_: Station) -> None:
        await asyncio.sleep(seconds)

    return step


STEPS = st.one_of(
    st.builds(sends, st.integers(1, LAST), st.integers(1, 12), st.integers(-1, 3)),
    st.just(says_hello),
    st.builds(waits, st.floats(0, 3)),
)


@settings(max_examples=300)
@given(st.lists(STEPS, max_size=30), st.integers(0, 2**32))
@example([sends(1, 1, 0), waits(1), sends(1, 2, 0), sends(1, 1, 0), waits(2), waits(3)], 504)
def test_whatever_happens_each_record_is_stored_exactly_once(
    steps: Sequence[Step], seed: int
) -> None:
    """Failures before and after the write, rollovers, batches twice and at once, old sessions."""

    async def run() -> tuple[Station, Treacherous]:
        output = Treacherous(seed)
        station = Station(output)
        for step in steps:
            await step(station)
        output.honest = True
        await station.finish()
        await station.idle()  # what came twice may be in hand though all is acknowledged
        return station, output

    station, output = instant.run(run())
    sent = range(1, station.last + 1)
    expected = {("roof", LANE, each): body(each) for each in sent if each not in UNFIT}
    assert Counter(dict.fromkeys(expected, 1)) == Counter(
        key for index in output.indices for key in index
    )
    assert expected == {key: text for index in output.indices for key, text in index.items()}
    assert sorted(UNFIT.intersection(sent)) == sorted(key[2] for key in output.letters)
    assert 0 == station.batches.in_hand
    assert CREDIT == station.batches.credit


def test_the_same_batch_twice_at_once_is_one_delivery_after_the_other() -> None:
    """The second waits, finds what the first has stored, and is acknowledged too."""

    async def run() -> tuple[Station, Treacherous]:
        output = Treacherous(0)
        output.honest = True
        station = Station(output)
        station.send(1, 3)
        station.send(2, 3)
        await station.idle()
        return station, output

    station, output = instant.run(run())
    acks = [answer.ranges for answer in station.answers if isinstance(answer, wire.Ack)]
    assert [[(1, 3)], [(2, 4)]] == acks
    assert (4, 2) == (len(output.stored), output.creates)


def test_a_batch_full_of_dead_letters_is_two_answers() -> None:
    """One that says why, one that frees them: a thousand would not fit through the socket."""

    async def run() -> Station:
        station = Station(MemoryOutput())
        station.batches.take(station.open[0], *packed(1, [b"no record"] * wire.MAX_BATCH_RECORDS))
        await station.idle()
        return station

    nack, ack = instant.run(run()).answers
    assert isinstance(nack, wire.Nack)
    assert isinstance(ack, wire.Ack)
    assert ([(1, 1000)], "dead_letter", "malformed") == (nack.ranges, nack.action, nack.code)
    assert [(1, 1000)] == ack.ranges


def test_dead_letters_for_different_reasons_say_each() -> None:
    """A person reads these."""

    async def run() -> Station:
        station = Station(MemoryOutput())
        batch = packed(1, [b"no record", b"{}", b"no record"])
        station.batches.take(station.open[0], *batch)
        await station.idle()
        return station

    answers = instant.run(run()).answers
    nacks = [answer for answer in answers if isinstance(answer, wire.Nack)]
    assert [("malformed", [(1, 1), (3, 3)]), ("invalid", [(2, 2)])] == [
        (nack.code, nack.ranges) for nack in nacks
    ]


class Stuck(MemoryOutput):
    """Does not answer before it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.answering = asyncio.Event()

    async def create(self, documents: Sequence[Document]) -> list[Result]:
        await self.answering.wait()
        return await super().create(documents)


def test_what_a_station_has_in_hand_is_bounded() -> None:
    """Beyond its credit a batch is sent back for later; nothing of it is kept."""

    async def run() -> list[wire.FromForwarder]:
        output = Stuck()
        station = Station(output)
        for first in range(1, CREDIT + 3):
            station.send(first, 1)
        assert CREDIT == station.batches.in_hand
        said = list(station.answers)
        output.answering.set()
        await station.finish()
        assert CREDIT + 2 == len(output.stored)
        return said

    said = instant.run(run())
    assert [("retry", "busy", [(5, 5)]), ("retry", "busy", [(6, 6)])] == [
        (nack.action, nack.code, nack.ranges) for nack in said if isinstance(nack, wire.Nack)
    ]


def test_what_all_stations_have_in_hand_is_bounded() -> None:
    """Also when their records are small: each costs more here than its bytes."""

    async def run() -> None:
        output = Stuck()
        station = Station(output)
        batch = packed(1, [b"1"] * wire.MAX_BATCH_RECORDS)
        many, now = 0, time.monotonic()
        given = [station.batches.credit]
        while not station.answers:
            session = Session("key", b"%d" % many, f"s{many}", {LANE: 0}, now, now)
            station.batches.take(session, *batch)
            many += 1
            given.append(station.batches.credit)
        assert many * wire.MAX_BATCH_RECORDS * 500 >= MOST_BYTES_IN_HAND
        assert (CREDIT, 1) == (given[0], given[-1])
        assert sorted(given, reverse=True) == given
        await station.batches.close(patience_s=0)

    instant.run(run())


class NoLetters(MemoryOutput):
    """Keeps no dead letters before it is mended."""

    mended = False

    async def dead_letter(self, letters: Sequence[DeadLetter]) -> list[Result]:
        if self.mended:
            return await super().dead_letter(letters)
        return [Result("retry", "blocked")] * len(letters)


def test_dead_letters_that_cannot_be_kept_hold_up_nobodys_readings() -> None:
    """Each of a station's batches has one: it is sent back, and the readings are stored."""

    async def run() -> tuple[Station, NoLetters]:
        output = NoLetters()
        station = Station(output)
        for first in range(1, 2 * CREDIT, 2):
            station.batches.take(station.open[0], *packed(first, [b"no record", body(first + 1)]))
        for _ in range(60):
            await asyncio.sleep(1)
        assert (0, CREDIT) == (station.batches.in_hand, station.batches.credit)
        station.send(30, 3)
        await station.idle()
        assert Ranges([(30, 32)]) == station.acknowledged.between(30, 32)
        output.mended = True
        station.batches.take(station.open[0], *packed(1, [b"no record"]))
        await station.idle()
        assert 1 in station.acknowledged
        return station, output

    station, output = instant.run(run())
    nacks = [answer for answer in station.answers if isinstance(answer, wire.Nack)]
    back = Ranges(pair for nack in nacks if nack.action == "retry" for pair in nack.ranges)
    assert Ranges.of([1, 3, 5, 7, 8]) == back  # 8 is unfit too
    assert {"store_unavailable"} == {nack.code for nack in nacks if nack.action == "retry"}
    assert [1] == [sequence for _, _, sequence in output.letters]


class Broken(MemoryOutput):
    """Has a fault that nobody thought of, once."""

    broken = True

    async def create(self, documents: Sequence[Document]) -> list[Result]:
        if self.broken:
            self.broken = False
            raise ZeroDivisionError
        return await super().create(documents)


def test_a_fault_of_ours_sends_the_batch_back() -> None:
    """Unanswered, it would take its place of the station's credit for ever."""

    async def run() -> Station:
        station = Station(Broken())
        station.send(1, 3)
        await station.idle()
        await station.finish()
        return station

    station = instant.run(run())
    (nack,) = (answer for answer in station.answers if isinstance(answer, wire.Nack))
    assert ("retry", "fault", [(1, 3)]) == (nack.action, nack.code, nack.ranges)
    assert Ranges([(1, 3)]) == station.acknowledged


def test_nothing_is_written_to_a_store_that_is_not_open() -> None:
    """It would make its indices before their templates are there."""

    async def run() -> tuple[Station, MemoryOutput]:
        output = MemoryOutput()
        station = Station(output)
        station.health.store_is_open = False
        station.send(1, 1)
        return station, output

    station, output = instant.run(run())
    (nack,) = station.answers
    assert isinstance(nack, wire.Nack)
    assert ("retry", "store_unavailable") == (nack.action, nack.code)
    assert ([], 0) == (output.stored, output.creates)


@pytest.mark.parametrize("count", [2, 3])
def test_a_batch_that_is_not_what_its_header_says_is_sent_back(count: int) -> None:
    """None of its records has an identity that could be trusted."""

    async def run() -> Station:
        station = Station(MemoryOutput())
        batch, payload = packed(1, [body(1)])
        batch = msgspec.structs.replace(batch, count=count)
        station.batches.take(station.open[0], batch, payload)
        return station

    (nack,) = instant.run(run()).answers
    assert isinstance(nack, wire.Nack)
    assert ("retry", "malformed") == (nack.action, nack.code)
