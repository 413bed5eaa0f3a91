"""Sessions, and what counts as fresh in them."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clima_core.identity import Lane
from clima_core.ranges import Ranges
from clima_core.wire import Batch
from clima_forwarder.sessions import (
    MOST_LANES,
    MOST_PAIRS,
    SESSIONS_PER_KEY,
    SETTLE_S,
    Attempts,
    Session,
    Sessions,
)
from tests.forwarder.client import JOURNAL, LANE


def session(
    sessions: Sessions, routing_id: bytes = b"1", *, began: int = 0, opened: float = 0.0
) -> Session:
    """A session of the station `roof` that was just added."""
    attempts = sessions.attempts_of("roof")
    added = Session("key", routing_id, "roof", {LANE: began}, opened, opened, attempts)
    sessions.add(added)
    return added


async def for_ever() -> None:
    """A delivery that does not end."""
    await asyncio.Event().wait()


def test_what_was_assigned_after_hello_is_fresh() -> None:
    """What HELLO reported may have been sent before; it is searched as of the opening."""
    own = session(Sessions(), began=5, opened=42.0)
    assert (Ranges([(4, 5)]), 42.0) == own.suspects(LANE, Ranges([(4, 9)]))
    assert not own.suspects(LANE, Ranges([(6, 9)]))[0]


def test_an_attempt_makes_suspect_in_every_session_of_the_station() -> None:
    """And the search has to see whatever was written up to now."""
    sessions = Sessions()
    one, other = session(sessions, b"1", opened=1.0), session(sessions, b"2", opened=1.0)
    one.attempts.add(LANE, Ranges([(2, 3)]))
    suspects, since = other.suspects(LANE, Ranges([(1, 4)]))
    assert Ranges([(2, 3)]) == suspects
    assert since > 1.0


def test_of_too_many_sessions_of_a_key_the_longest_silent_goes() -> None:
    """Whoever opens ever new ones does not fill the memory."""
    sessions = Sessions()
    for number in range(SESSIONS_PER_KEY + 2):
        session(sessions, bytes([number]), opened=float(number))
    assert SESSIONS_PER_KEY == len(sessions)
    assert sessions.get("key", b"\0") is None
    assert sessions.get("key", bytes([SESSIONS_PER_KEY + 1])) is not None


def test_a_session_belongs_to_a_key_and_a_connection() -> None:
    """With the routing id of another and a key of its own nobody gets in."""
    sessions = Sessions()
    session(sessions, b"1")
    assert sessions.get("another key", b"1") is None
    assert sessions.get("key", b"2") is None


def test_the_session_of_a_station_is_the_one_heard_last() -> None:
    """A repair is asked of the connection that is most likely alive."""
    sessions = Sessions()
    old, new = session(sessions, b"1"), session(sessions, b"2")
    old.heard, new.heard = 1.0, 2.0
    assert new is sessions.of_station("roof")
    assert sessions.of_station("shed") is None


def test_attempts_are_kept_while_a_session_or_a_delivery_lasts() -> None:
    """Then the next HELLO covers them."""

    async def run() -> None:
        sessions = Sessions()
        attempts = session(sessions).attempts
        task = asyncio.create_task(for_ever())
        attempts.under_way[task] = Batch(JOURNAL, "w", 1, 1, 2)
        sessions.expire(1.0)
        assert 0 == len(sessions)
        assert attempts is sessions.attempts_of("roof")
        attempts.under_way.clear()
        sessions.expire(1.0)
        assert attempts is not sessions.attempts_of("roof")
        task.cancel()

    asyncio.run(run())


def test_what_is_heard_is_kept() -> None:
    """Only the silent are forgotten."""
    sessions = Sessions()
    session(sessions, b"1", opened=1.0)
    session(sessions, b"2", opened=3.0)
    sessions.expire(2.0)
    assert [b"2"] == [each.routing_id for each in sessions]


LATER_S = SETTLE_S * 2


@pytest.mark.parametrize(
    ("old_heard_s", "new_heard_s", "alarm"),
    [
        (SETTLE_S / 2, LATER_S, False),
        (LATER_S, 0.0, False),
        (LATER_S, LATER_S, True),
    ],
    ids=["the old one falls silent", "the new one falls silent", "both go on"],
)
def test_two_live_sessions_of_one_key_are_twins(
    old_heard_s: float, new_heard_s: float, alarm: bool
) -> None:
    """Who connects anew has a moment to let the old connection run dry."""
    sessions = Sessions()
    old, new = session(sessions, b"1", opened=1.0), session(sessions, b"2", opened=5.0)
    old.heard, new.heard = new.opened + old_heard_s, new.opened + new_heard_s
    assert [alarm, alarm] == [sessions.has_live_twin(each) for each in (old, new)]


@given(
    st.lists(st.tuples(st.integers(1, 2000), st.integers(0, 3)), max_size=400),
    st.lists(st.integers(1, 2100), max_size=20),
)
def test_attempts_say_too_much_rather_than_too_little(
    added: list[tuple[int, int]], asked: list[int]
) -> None:
    """However odd the sequences, none that was attempted counts as fresh; memory is bounded."""
    attempts = Attempts()
    for first, more in added:
        attempts.add(LANE, Ranges([(first, first + more)]))
    attempted = Ranges((first, first + more) for first, more in added)
    wanted = Ranges.of(asked)
    assert not (wanted & attempted) - attempts.of(LANE, wanted)
    assert len(attempts.of(LANE, Ranges([(1, 3000)])).pairs) <= MOST_PAIRS


def test_ever_new_journals_make_attempts_coarse_not_large() -> None:
    """With too many lanes all is suspect: that costs searches, and no memory."""
    attempts = Attempts()
    for number in range(MOST_LANES + 1):
        attempts.add(Lane(f"{number:012x}", "w"), Ranges([(1, 1)]))
    anything = Ranges([(7, 9)])
    assert anything == attempts.of(LANE, anything)


@pytest.mark.parametrize(
    ("first", "count", "overlaps"), [(1, 4, False), (1, 5, True), (9, 9, True), (10, 1, False)]
)
def test_deliveries_overlap_when_they_share_a_record(
    first: int, count: int, overlaps: bool
) -> None:
    """Under way is 5 to 9."""

    async def run() -> None:
        attempts = Attempts()
        task = asyncio.create_task(for_ever())
        attempts.under_way[task] = Batch(JOURNAL, "w", 5, 5, 2)
        assert ([task] if overlaps else []) == attempts.overlapping(
            Batch(JOURNAL, "w", first, count, 2)
        )
        assert [] == attempts.overlapping(Batch(JOURNAL, "s", first, count, 2))
        task.cancel()

    asyncio.run(run())
