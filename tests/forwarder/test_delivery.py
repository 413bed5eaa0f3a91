"""Each record exactly once, whatever the store answers or fails to answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

import pytest
from structlog.testing import capture_logs

from clima_core.errors import ClimaError, ConfigurationError, UnavailableError
from clima_core.identity import Lane
from clima_core.ranges import Ranges
from clima_forwarder.delivery import NOT_CONFIRMED, Delivered, Delivery
from clima_forwarder.health import LETTERS_S, Health
from clima_forwarder.outputs.base import Confirmed, DeadLetter, Document, Found, Result
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
        parts: list[Delivered] = []
        parts.append(await delivery.deliver(to or session(), LANE, sent, letters, parts.append))
        done = Delivered()
        for part in parts:
            assert not done.stored & part.stored, "told twice"
            done.stored |= part.stored
            done.dead += part.dead
            done.conflict |= part.conflict
            done.later |= part.later
        return done

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


def test_a_dead_letter_that_is_refused_is_kept_bare_and_said_once() -> None:
    """However often that is refused too, nobody's log fills up, and the reading is not lost."""
    output = MemoryOutput()
    sent: list[bool] = []
    own = output.dead_letter

    async def refusing(letters: Sequence[DeadLetter]) -> list[Result]:
        sent.extend(each.bare for each in letters)
        return await own(letters) if len(sent) > 4 else [Result("refused", "strict")]

    output.dead_letter = refusing  # type: ignore[method-assign]
    with capture_logs() as logs:
        done = deliver(output, [], letters=[letter(1)])
    assert [False, True, True, True, True] == sent
    assert [(1, b"\xff")] == [(dead.sequence, dead.body) for dead in done.dead]
    (line,) = (line for line in logs if line["event"] == "dead_letter_refused")
    assert ("dead_letter_refused", letter(1).id, "strict", "invalid: no") == (
        line["event"],
        line["id"],
        line["reason"],
        line["letter"],
    )


class NoLetters(MemoryOutput):
    """Keeps readings, and no dead letters until it is mended."""

    def __init__(self, *results: Result) -> None:
        super().__init__()
        self.results, self.tries, self.mended = results, 0, False

    async def dead_letter(self, letters: Sequence[DeadLetter]) -> list[Result]:
        if self.mended:
            return await super().dead_letter(letters)
        self.tries += 1
        return [self.results[min(self.tries, len(self.results)) - 1] for _ in letters]


@pytest.mark.parametrize(
    "results",
    [
        [Result("retry", "index [logs-clima.deadletter] blocked")],
        [Result("refused", "strict"), Result("refused", "index [logs-clima.deadletter] blocked")],
    ],
    ids=["retry", "refused bare"],
)
def test_dead_letters_that_cannot_be_kept_are_said_and_go_back(results: Sequence[Result]) -> None:
    """What is around them is stored, and the store works: it is only they that it does not take."""
    health, output = Health(), NoLetters(*results)
    health.store_opened()
    with capture_logs() as logs:
        done = deliver(output, documents(2, 3), letters=[letter(1)], health=health)
        again = deliver(output, [], letters=[letter(1)], health=health)
    assert (Ranges([(2, 3)]), [], Ranges.of([1])) == (done.stored, done.dead, done.later)
    assert Ranges.of([1]) == again.later
    problem = {"dead letters": "index [logs-clima.deadletter] blocked"}
    assert (True, problem) == (health.store_works, health.problems)
    assert ["dead_letters_not_kept"] == [line["event"] for line in logs]
    assert output.tries < 20

    output.mended = True
    with capture_logs() as logs:
        done = deliver(output, [], letters=[letter(1)], to=session(began=1), health=health)
    assert ([1], Ranges(), {}) == (
        [dead.sequence for dead in done.dead],
        done.later,
        health.problems,
    )
    assert ["dead_letters_kept"] == [line["event"] for line in logs]


def test_dead_letters_that_come_no_more_are_no_problem_any_more() -> None:
    """Their station was put out, or the store takes them now: there is nothing left to keep."""
    moment = 0.0
    health = Health(lambda: moment)
    health.store_opened()
    deliver(NoLetters(Result("retry", "blocked")), [], letters=[letter(1)], health=health)
    moment = LETTERS_S - 1
    deliver(NoLetters(Result("retry", "blocked")), [], letters=[letter(1)], health=health)
    moment = 2 * LETTERS_S - 2
    assert {"dead letters": "blocked"} == health.problems
    moment = 2 * LETTERS_S - 1
    assert {} == health.problems


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


class Accepting(MemoryOutput):
    """Takes everything at once; `on_the_way` says what then becomes of it."""

    def _create(self, document: Document) -> Result:
        self.taken.append(document.sequence)
        return Result("accepted")

    def __init__(self, *on_the_way: Callable[[Ranges], Confirmed]) -> None:
        super().__init__()
        self.taken: list[int] = []
        self.on_the_way = list(on_the_way)


def gives_up(_: Ranges) -> Confirmed:
    return Confirmed()


def test_what_was_accepted_counts_when_the_store_has_it() -> None:
    """What came is told at once, though the rest of its batch is still on the way."""
    told: list[Delivered] = []
    output = Accepting(
        lambda waited: Confirmed(stored=waited - Ranges([(2, 2)])),
        lambda waited: Confirmed(dead=waited),
    )

    async def run() -> Delivered:
        delivery = Delivery(output, Health(), at_once)
        return await delivery.deliver(session(), LANE, documents(1, 3), [], told.append)

    done = asyncio.run(run())
    assert [Ranges([(1, 1), (3, 3)])] == [part.stored for part in told]
    assert [2] == [letter.sequence for letter in done.dead]
    assert ([1, 2, 3], []) == (output.taken, output.finds)


def test_what_did_not_arrive_is_looked_for_and_sent_again() -> None:
    """Only what is missing: the others have arrived, though nobody had seen them yet."""
    output = Accepting(gives_up, lambda waited: Confirmed(stored=waited))
    output.indices[0][*KEY, 1] = documents(1, 1)[0].body
    assert Ranges([(1, 3)]) == deliver(output, documents(1, 3)).stored
    assert ([1, 2, 3, 2, 3], 1) == (output.taken, len(output.finds))


def test_what_is_lost_on_the_way_or_in_doubt_shows_until_something_arrives() -> None:
    """Nobody would know otherwise that a queue takes everything and hands on nothing."""

    class Doubtful(Accepting):
        def _create(self, document: Document) -> Result:
            super()._create(document)
            return Result("accepted", "broke off" if len(self.taken) == 1 else "")

    health = Health()
    health.store_opened()
    troubles: list[dict[str, str]] = []
    said: list[str] = []
    health.on_change(lambda: troubles.append(dict(health.problems)))

    def lost(_: Ranges) -> Confirmed:
        said.append(health.problems.get("store", ""))
        return Confirmed()

    output = Doubtful(lost, lost, lambda waited: Confirmed(stored=waited))
    assert Ranges([(1, 1)]) == deliver(output, documents(1, 1), health=health).stored
    assert ["broke off", NOT_CONFIRMED] == said
    assert [{"store": "broke off"}, {}] == troubles


def test_waiting_for_what_is_stuck_sends_nothing_again() -> None:
    """It is still on the way: the store's trouble is told, and nothing else happens."""

    def stuck(_: Ranges) -> Confirmed:
        raise UnavailableError("it does not get on")

    health = Health()
    health.store_opened()
    troubles: list[dict[str, str]] = []
    health.on_change(lambda: troubles.append(dict(health.problems)))
    output = Accepting(stuck, stuck, lambda waited: Confirmed(stored=waited))
    assert Ranges([(1, 1)]) == deliver(output, documents(1, 1), health=health).stored
    assert ([1], [{"store": "it does not get on"}, {}]) == (output.taken, troubles)


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
