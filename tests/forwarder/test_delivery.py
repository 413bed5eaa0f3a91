"""Each record exactly once, whatever the store answers or fails to answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import pytest

from clima_core.errors import ClimaError, ConfigurationError, UnavailableError
from clima_core.identity import Lane
from clima_core.ranges import Ranges
from clima_forwarder.delivery import Delivered, Delivery, same_content
from clima_forwarder.health import Health
from clima_forwarder.outputs.base import DeadLetter, Document, Found, Result
from clima_forwarder.sessions import Session
from tests.forwarder.client import JOURNAL, LANE, NOON, record
from tests.forwarder.memory_output import MemoryOutput, fails

KEY = ("roof", LANE)


def session(began: int = 0) -> Session:
    """A session whose HELLO reported the lane up to `began`."""
    return Session("key", b"id", "roof", {LANE: began}, time.monotonic(), time.monotonic())


def documents(first: int, last: int, temperature: float = 21.5) -> list[Document]:
    return [
        Document(
            "roof",
            LANE,
            each,
            NOON,
            record("roof", each, weather={"air_temperature": temperature}),
        )
        for each in range(first, last + 1)
    ]


def letter(sequence: int) -> DeadLetter:
    return DeadLetter("roof", LANE, sequence, "invalid", "no", b"\xff", NOON)


async def at_once(seconds: float) -> None:
    """A sleep that takes no time but lets others have a turn."""
    assert 0 <= seconds <= 15
    await asyncio.sleep(0)


def deliver(
    output: MemoryOutput,
    sent: Sequence[Document],
    *,
    to: Session | None = None,
    letters: Sequence[DeadLetter] = (),
    health: Health | None = None,
) -> Delivered:
    """Deliver in a loop of its own, without waiting between attempts."""

    async def run() -> Delivered:
        delivery = Delivery(output, health or Health(), at_once)
        return await delivery.deliver(to or session(), LANE, sent, letters)

    return asyncio.run(run())


def ids(*sequences: int) -> list[str]:
    return sorted(f"roof:{JOURNAL}:w:{each}" for each in sequences)


def test_fresh_records_are_created_without_a_search() -> None:
    """The everyday case costs one bulk request and nothing else."""
    output = MemoryOutput()
    done = deliver(output, documents(1, 3))
    assert (Ranges([(1, 3)]), [], Ranges()) == (done.stored, done.dead, done.conflict)
    assert (1, []) == (output.creates, output.finds)
    sent = {(*KEY, each.sequence): each.body for each in documents(1, 3)}
    assert sent == output.indices[0]


def test_what_may_have_been_sent_before_is_searched_first() -> None:
    """A search as of the session's opening; what it finds is acknowledged and not sent again."""
    output, again = MemoryOutput(), session(began=3)
    deliver(output, documents(1, 2))
    output.roll_over()
    done = deliver(output, documents(1, 4), to=again)
    assert Ranges([(1, 4)]) == done.stored
    assert [again.opened] == output.finds
    assert ids(1, 2, 3, 4) == output.stored


def test_a_lane_that_hello_did_not_report_is_searched() -> None:
    """Nobody knows what was sent of it, so none of it counts as fresh."""
    output = MemoryOutput()
    deliver(output, documents(1, 2))
    output.roll_over()
    unaware = session()
    unaware.began = {Lane(JOURNAL, "s"): 9}
    deliver(output, documents(1, 3), to=unaware)
    assert ids(1, 2, 3) == output.stored


def test_each_document_is_settled_by_its_own_result() -> None:
    """One is refused, one has to wait, one is there already: the others are none the worse."""
    output, busy = MemoryOutput(), [2]
    deliver(output, documents(3, 3))

    def verdict(document: Document) -> Result | None:
        if document.sequence == 1:
            return Result("refused", "mapper_parsing_exception")
        if document.sequence == 2 and busy:
            busy.pop()
            return Result("retry", "too many requests")
        return None

    output.verdict = verdict
    done = deliver(output, documents(1, 4))
    assert Ranges([(2, 4)]) == done.stored
    assert [(1, "refused_by_store", "mapper_parsing_exception")] == [
        (dead.sequence, dead.reason, dead.message) for dead in done.dead
    ]
    assert ids(2, 3, 4) == output.stored
    assert [(*KEY, 1)] == list(output.letters)


def test_a_failure_before_the_store_heard_loses_nothing() -> None:
    """The attempt is made again until the store answers."""
    output = MemoryOutput()
    output.before_create = fails(3)
    assert Ranges([(1, 3)]) == deliver(output, documents(1, 3)).stored
    assert (4, ids(1, 2, 3)) == (output.creates, output.stored)


def test_an_answer_that_was_lost_doubles_nothing_across_a_rollover() -> None:
    """The store has it, nobody heard, and the new index would take the same id again."""
    output = MemoryOutput()
    lost = fails(1)

    def lose_and_roll_over() -> None:
        output.roll_over()
        lost()

    output.after_create = lose_and_roll_over
    assert Ranges([(1, 3)]) == deliver(output, documents(1, 3)).stored
    assert (1, ids(1, 2, 3)) == (output.creates, output.stored)


def test_the_search_after_a_lost_answer_sees_that_attempt() -> None:
    """It asks for whatever was written before a moment that is later than the attempt."""
    output, attempted = MemoryOutput(), []
    output.after_create = fails(1)
    output.before_create = lambda: attempted.append(time.monotonic())
    deliver(output, documents(1, 1))
    assert attempted[0] < output.finds[0]


def test_another_record_under_the_same_identity_is_a_conflict() -> None:
    """Neither acknowledged nor overwritten: the station has to number its own anew."""
    output = MemoryOutput()
    deliver(output, documents(1, 2, temperature=1.0))
    done = deliver(output, documents(2, 3, temperature=2.0))
    assert (Ranges([(3, 3)]), Ranges([(2, 2)])) == (done.stored, done.conflict)
    assert documents(2, 2, temperature=1.0)[0].body == output.indices[0][*KEY, 2]


def test_a_second_session_sees_what_the_first_attempted() -> None:
    """A cloned card sends the same fresh number after a rollover: found, and a conflict."""
    output, one, other = MemoryOutput(), session(), session()
    other.attempts = one.attempts
    deliver(output, documents(1, 1, temperature=1.0), to=one)
    output.roll_over()
    done = deliver(output, documents(1, 1, temperature=2.0), to=other)
    assert (Ranges([(1, 1)]), ids(1)) == (done.conflict, output.stored)


def test_dead_letters_are_kept_exactly_once() -> None:
    """Sent again, they are found and said to be dead once more, and not kept twice."""
    output = MemoryOutput()
    kept: list[int] = []
    own = output.dead_letter

    async def counting(letters: Sequence[DeadLetter]) -> list[Result]:
        kept.extend(each.sequence for each in letters)
        return await own(letters)

    output.dead_letter = counting  # type: ignore[method-assign]
    first = deliver(output, documents(2, 2), letters=[letter(1), letter(3)])
    again = deliver(output, documents(2, 2), letters=[letter(1), letter(3)], to=session(began=3))
    assert [[1, 3], [1, 3]] == [[dead.sequence for dead in done.dead] for done in (first, again)]
    assert [1, 3] == kept
    assert Ranges([(2, 2)]) == again.stored


def test_what_is_there_as_a_dead_letter_is_accounted_for() -> None:
    """The store refused it once; that it is sent again as a reading does not store it."""
    output = MemoryOutput()
    deliver(output, [], letters=[letter(1)])
    assert Ranges([(1, 1)]) == deliver(output, documents(1, 1), to=session(began=1)).stored
    assert [] == output.stored


FAILURES = [
    UnavailableError("gone"),
    ConfigurationError("401: wrong key"),
    ClimaError("answered 400"),
]


class Flaky(MemoryOutput):
    """Every call fails the first time, with the same error."""

    def __init__(self, error: ClimaError) -> None:
        super().__init__()
        self.error = error
        self.failed: set[str] = set()

    def fail_once(self, call: str) -> None:
        if call not in self.failed:
            self.failed.add(call)
            raise self.error

    async def create(self, documents: Sequence[Document]) -> list[Result]:
        self.fail_once("create")
        return await super().create(documents)

    async def find(
        self, station: str, lane: Lane, first: int, last: int, *, since: float
    ) -> list[Found]:
        self.fail_once("find")
        return await super().find(station, lane, first, last, since=since)

    async def dead_letter(self, letters: Sequence[DeadLetter]) -> list[Result]:
        self.fail_once("dead_letter")
        return await super().dead_letter(letters)


@pytest.mark.parametrize("error", FAILURES, ids=lambda error: type(error).__name__)
def test_whatever_is_wrong_with_the_store_is_said_and_outlasted(error: ClimaError) -> None:
    """A revoked API key is the operator's to mend: no delivery dies of it."""
    health, told = Health(), []
    health.store_opened()
    health.on_change(lambda: told.append(dict(health.problems)))
    output = Flaky(error)
    done = deliver(output, documents(1, 2), letters=[letter(3)], health=health)
    assert ({"create", "find", "dead_letter"}, Ranges([(1, 2)])) == (output.failed, done.stored)
    assert [3] == [dead.sequence for dead in done.dead]
    assert {"store": str(error)} == told[0]
    assert {} == told[-1]


def test_a_store_that_failed_at_dead_letters_alone_is_found_working_again() -> None:
    """No credit is given while it fails, so that nothing else would ever show it."""
    health = Health()
    health.store_opened()
    output = Flaky(UnavailableError("gone"))
    output.failed = {"create", "find"}
    deliver(output, [], letters=[letter(1)], health=health)
    assert health.store_works


@pytest.mark.parametrize(
    ("same", "stored"),
    [
        (True, b'{"a":1.0,"event":{"id":"x"}}'),
        (True, b'{"event":{"ingested":"2026-06-01T12:00:00Z","id":"x"},"a":1}'),
        (False, b'{"a":2,"event":{"id":"x"}}'),
        (False, b'{"a":1,"b":null,"event":{"id":"x"}}'),
    ],
)
def test_content_is_compared_but_for_what_the_store_adds(same: bool, stored: bytes) -> None:
    """The order of fields and the time of ingestion are the store's; all else is the record."""
    assert same == same_content(stored, b'{"a":1,"event":{"id":"x"}}')
