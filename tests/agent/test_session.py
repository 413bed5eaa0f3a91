"""What is sent next, and what an answer means: a real spool, and no socket or clock."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Literal

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from clima_agent.session import Session
from clima_agent.spool import Spool
from clima_core import wire
from clima_core.identity import Lane
from clima_core.ranges import Pair, Ranges
from tests.agent.spool.stock import WEATHER, documents

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def welcome(credit: int = 4, max_records: int = 10, max_bytes: int = 2**20) -> wire.Welcome:
    return wire.Welcome(
        version=1,
        time=NOW,
        credit=credit,
        heartbeat_s=10.0,
        max_records=max_records,
        max_bytes=max_bytes,
        seen=[],
    )


@pytest.fixture
def spool() -> Iterator[Spool]:
    opened = Spool(":memory:", "roof")
    opened.mark_sending()
    yield opened
    opened.close()


def make(spool: Spool, count: int, padding: int = 0) -> None:
    """So many readings, synced."""
    spool.append("w", documents(count, padding=padding))
    spool.sync()


def begin(spool: Spool, limits: wire.Welcome | None = None) -> Session:
    """A session as `Sender` begins it."""
    began = {lane: ledger.synced for lane, ledger in spool.ledgers.items()}
    return Session(spool, limits or welcome(), began)


def sent(session: Session, now: float = 0.0) -> list[Pair]:
    """All that goes out now, batch by batch, each checked against its header."""
    batches = []
    while frames := session.next_batch(now):
        header, payload = wire.decode_from_agent(frames)
        assert isinstance(header, wire.Batch)
        assert header.count == len(wire.Unpacker().unpack(header, payload))
        batches.append((header.first, header.last))
    return batches


def ack(spool: Spool, *pairs: Pair, credit: int = 4, stream: Literal["w", "s"] = "w") -> wire.Ack:
    return wire.Ack(spool.journal, stream, list(pairs), credit)


def nack(
    spool: Spool,
    *pairs: Pair,
    action: Literal["retry", "dead_letter", "conflict"] = "retry",
    retry_after_s: float = 0.0,
    credit: int = 4,
) -> wire.Nack:
    return wire.Nack(
        spool.journal, "w", list(pairs), action, "code", "message", credit, NOW, retry_after_s
    )


def test_a_backlog_leaves_one_credit_free(spool: Spool) -> None:
    """So that a fresh reading need not wait for a batch of old ones."""
    make(spool, 100)
    session = begin(spool)
    assert [(1, 10), (11, 20), (21, 30)] == sent(session)
    make(spool, 1)
    assert [(101, 101)] == sent(session)
    assert 4 == session.in_flight


def test_fresh_records_go_before_the_backlog(spool: Spool) -> None:
    """Of any lane: the oldest of the fresh first, then the oldest of all."""
    make(spool, 100)
    session = begin(spool)
    make(spool, 12)
    assert [(101, 110), (111, 112), (1, 10)] == sent(session)


def test_a_single_credit_is_for_fresh_and_old_alike(spool: Spool) -> None:
    """Or a backlog would wait for ever."""
    make(spool, 15)
    session = begin(spool, welcome(credit=1))
    assert [(1, 10)] == sent(session)
    session.acknowledged(ack(spool, (1, 10), credit=1))
    assert [(11, 15)] == sent(session)


def test_without_credit_nothing_goes_out(spool: Spool) -> None:
    """The store is away; a PONG or an answer brings credit again."""
    make(spool, 5)
    session = begin(spool, welcome(credit=0))
    assert [] == sent(session)
    session.credit = 1
    assert [(1, 5)] == sent(session)


def test_a_record_is_in_flight_once(spool: Spool) -> None:
    """However often one asks, until its batch is answered in full."""
    make(spool, 10)
    session = begin(spool)
    assert [(1, 10)] == sent(session)
    session.acknowledged(ack(spool, (1, 9)))
    assert ([], 1) == (sent(session), session.in_flight)
    session.acknowledged(ack(spool, (10, 10)))
    assert ([], 0) == (sent(session), session.in_flight)
    assert not spool.ledgers[Lane(spool.journal, "w")].waiting


def test_a_batch_keeps_the_limits_of_the_welcome(spool: Spool) -> None:
    """In records and in bytes; one record goes even where it alone is longer."""
    make(spool, 4, padding=1000)
    assert [(1, 2), (3, 4)] == sent(begin(spool, welcome(max_bytes=3000)))
    assert [(1, 1), (2, 2), (3, 3)] == sent(begin(spool, welcome(max_bytes=10)))


def test_answers_come_in_any_order_and_twice(spool: Spool) -> None:
    """And for more than was asked; only what was sent is settled by it."""
    make(spool, 30)
    session = begin(spool)
    assert 3 == len(sent(session))
    session.acknowledged(ack(spool, (21, 30), (1000, 2000)))
    session.acknowledged(ack(spool, (1, 5)))
    session.acknowledged(ack(spool, (1, 5)))
    assert 2 == session.in_flight
    assert Ranges([(6, 20)]) == spool.ledgers[Lane(spool.journal, "w")].waiting


def test_credit_follows_the_latest_answer(spool: Spool) -> None:
    """Back-pressure: less at once, and more again."""
    make(spool, 100)
    session = begin(spool)
    assert 3 == len(sent(session))
    session.acknowledged(ack(spool, (1, 10), credit=2))
    assert [] == sent(session)
    session.acknowledged(ack(spool, (11, 20), credit=3))
    assert [(31, 40)] == sent(session)


def test_what_is_to_be_retried_is_held_until_its_time(spool: Spool) -> None:
    """Others go on meanwhile, and it is known when to look again."""
    make(spool, 30)
    session = begin(spool)
    assert [(1, 10), (11, 20), (21, 30)] == sent(session)
    assert not session.refused(nack(spool, (5, 6), retry_after_s=30.0), now=100.0)
    assert [] == sent(session, now=129.0)
    assert 130.0 == session.next_due
    session.acknowledged(ack(spool, (1, 4), (7, 20)))
    assert [(5, 6)] == sent(session, now=130.0)
    assert session.next_due is None


def test_a_dead_letter_is_freed_by_its_acknowledgement(spool: Spool) -> None:
    """Until then it may yet have to be sent again."""
    make(spool, 10)
    session = begin(spool)
    sent(session)
    assert not session.refused(nack(spool, (3, 3), action="dead_letter"), now=0.0)
    assert 3 in spool.ledgers[Lane(spool.journal, "w")].waiting
    session.acknowledged(ack(spool, (1, 10)))
    assert 0 == session.in_flight


def test_a_conflict_is_for_the_caller_to_mend(spool: Spool) -> None:
    """It is in flight no longer, and it is said which records it is."""
    make(spool, 10)
    session = begin(spool)
    sent(session)
    assert Ranges([(2, 4)]) == session.refused(nack(spool, (2, 4), action="conflict"), now=0.0)
    session.acknowledged(ack(spool, (1, 1), (5, 10)))
    assert 0 == session.in_flight


def test_a_repair_sends_what_the_spool_still_has(spool: Spool) -> None:
    """Acknowledged once, wanted again."""
    make(spool, 10)
    session = begin(spool)
    sent(session)
    session.acknowledged(ack(spool, (1, 10)))
    resend = wire.Resend(spool.journal, "w", [(4, 6), (50, 60)])
    assert Ranges([(4, 6)]) == session.wanted_again(resend)
    assert [(4, 6)] == sent(session)


def test_damaged_records_hold_nobody_up(spool: Spool) -> None:
    """One after the other is dropped, and what can be read goes out at once."""
    make(spool, 20)
    with spool.file.transaction():
        for sequence in (1, 3, 5, 6, 20):
            spool.file._all(
                "UPDATE record SET body = x'00' WHERE id = ?", (WEATHER << 48 | sequence,)
            )
    session = begin(spool, welcome(credit=20))
    assert [(2, 2), (4, 4), (7, 16), (17, 19)] == sent(session)
    dropped = spool.ledgers[Lane(spool.journal, "w")].dropped["damaged"]
    assert Ranges([(1, 1), (3, 3), (5, 6), (20, 20)]) == dropped


def test_lanes_that_were_not_reported_are_not_sent(spool: Spool) -> None:
    """The forwarder would take their records for new, and store again what it has."""
    make(spool, 5)
    old = spool.journal
    spool.begin_journal({})
    make(spool, 5)
    began = {lane: x.synced for lane, x in spool.ledgers.items() if lane.journal != old}
    session = Session(spool, welcome(), began)
    assert [(1, 5)] == sent(session)
    assert Ranges([(1, 5)]) == spool.ledgers[Lane(old, "w")].waiting


class Conversation(RuleBasedStateMachine):
    """Any order of making, sending and answering keeps the promises of `session.py`."""

    def __init__(self) -> None:
        super().__init__()
        self.spool = Spool(":memory:", "roof")
        self.spool.mark_sending()
        self.lane = Lane(self.spool.journal, "w")
        self.session = begin(self.spool, welcome(max_records=7))
        self.credit = 4
        self.now = 0.0
        self.flying: list[Ranges] = []
        self.held: list[tuple[Ranges, float]] = []

    @rule(count=st.integers(1, 25))
    def make(self, count: int) -> None:
        make(self.spool, count)

    @rule()
    def send(self) -> None:
        while frames := self.session.next_batch(self.now):
            header, _ = wire.decode_from_agent(frames)
            assert isinstance(header, wire.Batch)
            batch = Ranges([(header.first, header.last)])
            busy = [*self.flying, *(ranges for ranges, until in self.held if until > self.now)]
            assert not any(batch & other for other in busy)
            self.flying.append(batch)
            assert len(self.flying) <= self.credit

    @rule(seconds=st.floats(0, 20))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(data=st.data(), credit=st.integers(0, 6), stored=st.booleans())
    def answer(self, data: st.DataObject, credit: int, stored: bool) -> None:
        if not self.flying:
            return
        batch = self.flying[data.draw(st.integers(0, len(self.flying) - 1))]
        some = Ranges.of(data.draw(st.lists(st.sampled_from(list(batch)), min_size=1)))
        self.credit = credit
        pairs = list(some.pairs)
        if stored:
            self.session.acknowledged(ack(self.spool, *pairs, credit=credit))
        else:
            self.session.refused(
                nack(self.spool, *pairs, retry_after_s=15.0, credit=credit), self.now
            )
            self.held.append((some, self.now + 15.0))
        self.flying = [left for each in self.flying if (left := each - some)]

    @invariant()
    def in_flight_is_counted(self) -> None:
        assert len(self.flying) == self.session.in_flight

    def teardown(self) -> None:
        """With all answered, all is stored: nothing was forgotten."""
        self.now += 100.0
        for _ in range(1000):
            self.session.acknowledged(
                ack(self.spool, *(pair for each in self.flying for pair in each.pairs))
            )
            self.credit, self.flying = 4, []
            self.send()
            if not self.flying:
                break
        assert not self.spool.ledgers[self.lane].waiting
        self.spool.close()


Conversation.TestCase.settings = settings(max_examples=60)
TestConversation = Conversation.TestCase
