"""A spool that is older than what it has sent: restored, cloned, or lied to by its card."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from clima_agent.spool import Spool
from clima_core.identity import Lane
from clima_core.ranges import Ranges
from tests.agent.spool.stock import (
    STATION,
    WEATHER,
    assert_accounted,
    assert_whole,
    documents,
    number_of,
    waiting,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool.db"


def lived(path: Path, count: int, *, first: int = 1, sent: bool = True) -> Lane:
    """A life in which so many records were made, and sent unless not."""
    spool = Spool(path, STATION)
    lane = Lane(spool.journal, "w")
    spool.append("w", documents(count, first=first))
    spool.sync()
    if sent:
        spool.mark_sending()
    spool.close()
    return lane


def test_what_this_life_made_was_never_sent_until_it_is(path: Path) -> None:
    """And what the life before made may have been, whether a connection was seen or not."""
    lane = lived(path, 10)
    spool = Spool(path, STATION)
    assert Ranges() == spool.never_sent()[lane]
    spool.append("w", documents(5, first=11))
    assert Ranges([(11, 15)]) == spool.never_sent()[lane]
    spool.mark_sending()
    assert {} == spool.never_sent()
    spool.close()


def test_lives_without_a_connection_add_up(path: Path) -> None:
    """A station that was offline for weeks has sent none of it."""
    lived(path, 10, sent=False)
    lane = lived(path, 10, first=11, sent=False)
    spool = Spool(path, STATION)
    assert Ranges([(1, 20)]) == spool.never_sent()[lane]
    spool.close()


def test_nobody_has_seen_more_than_was_sent(path: Path) -> None:
    """The everyday: no sign of a rollback, however little or much of it was stored."""
    lane = lived(path, 10)
    spool = Spool(path, STATION)
    spool.append("w", documents(5, first=11))
    assert [False, False, False] == [
        spool.ledgers[lane].was_rolled_back(seen) for seen in (0, 9, 10)
    ]
    spool.mark_sending()
    assert not spool.ledgers[lane].was_rolled_back(15)
    spool.close()


def test_a_restored_copy_is_noticed(path: Path) -> None:
    """Right after it was restored, and after it has grown past what it once had sent."""
    lived(path, 10)
    copy = path.with_name("copy.db")
    shutil.copy(path, copy)
    lane = lived(path, 10, first=11)
    spool = Spool(copy, STATION)
    assert spool.ledgers[lane].was_rolled_back(20)
    spool.append("w", documents(30, first=101))
    spool.sync()
    assert spool.ledgers[lane].was_rolled_back(20)
    spool.close()
    spool = Spool(copy, STATION)
    assert spool.ledgers[lane].was_rolled_back(20)
    spool.close()


def test_a_copy_of_a_live_session_that_went_on_is_noticed(path: Path) -> None:
    """The twin of a cloned card has gone past us while we were connected."""
    lane = lived(path, 10)
    spool = Spool(path, STATION)
    spool.mark_sending()
    assert spool.ledgers[lane].was_rolled_back(11)
    assert not spool.ledgers[lane].was_rolled_back(10)
    spool.close()


def test_what_was_never_sent_gets_new_numbers_in_a_new_journal(path: Path) -> None:
    """In order, whole, and the old journal ends where the other history begins."""
    lane = lived(path, 10)
    spool = Spool(path, STATION)
    spool.append("w", documents(5, first=11))
    spool.append("s", documents(2, first=50))
    spool.sync()
    old, new = spool.journal, spool.begin_journal(spool.never_sent())
    assert new == spool.journal != old
    moved = waiting(spool, Lane(new, "w"))
    assert_whole(Lane(new, "w"), moved)
    assert {1: 11, 2: 12, 3: 13, 4: 14, 5: 15} == {n: number_of(b) for n, b in moved.items()}
    assert [50, 51] == [number_of(body) for body in waiting(spool, Lane(new, "s")).values()]
    assert list(range(1, 11)) == list(waiting(spool, lane))
    assert 10 == spool.ledgers[lane].last
    assert_accounted(spool)
    spool.file.close()  # as a killed process leaves it
    spool = Spool(path, STATION)
    assert new == spool.journal
    assert moved == waiting(spool, Lane(new, "w"))
    assert 10 == spool.ledgers[lane].last
    spool.append("w", documents(1, first=16))
    assert 6 == spool.ledgers[Lane(new, "w")].last
    spool.close()


def test_a_conflict_in_the_middle_moves_alone(path: Path) -> None:
    """The store has that number, with another record: ours goes on under a new one."""
    lane = lived(path, 10)
    spool = Spool(path, STATION)
    spool.mark_sending()
    new = Lane(spool.number_anew({lane: Ranges([(3, 4), (7, 7)])}), "w")
    assert [3, 4, 7] == [number_of(body) for body in waiting(spool, new).values()]
    assert [1, 2, 5, 6, 8, 9, 10] == list(waiting(spool, lane))
    assert Ranges([(3, 4), (7, 7)]) == spool.ledgers[lane].acknowledged
    assert_accounted(spool)
    spool.close()


def test_a_later_conflict_in_an_old_journal_needs_no_third(path: Path) -> None:
    """A clone's backlog conflicts batch by batch: one journal takes it all."""
    lane = lived(path, 10)
    spool = Spool(path, STATION)
    spool.mark_sending()
    first = spool.number_anew({lane: Ranges([(1, 4)])})
    second = spool.number_anew({lane: Ranges([(5, 10)])})
    assert first == second
    found = waiting(spool, Lane(second, "w"))
    assert list(range(1, 11)) == [number_of(body) for body in found.values()]
    assert 6 == len(spool.ledgers)
    spool.close()


def test_what_cannot_be_moved_is_counted_as_dropped(path: Path) -> None:
    """A hole or a rotten record among them takes a number, and its neighbours are not lost."""
    lane = lived(path, 0)
    spool = Spool(path, STATION)
    spool.append("w", documents(10))
    spool.sync()
    spool.drop(spool.ledgers[lane], Ranges([(2, 2)]), "disk_full")
    with spool.file.transaction():
        spool.file.delete(WEATHER, 2, 2)
        spool.file.delete(WEATHER, 5, 5)
        spool.file._all("UPDATE record SET body = x'00' WHERE id = ?", (WEATHER << 48 | 8,))
    new = Lane(spool.begin_journal(spool.never_sent()), "w")
    found = waiting(spool, new)
    assert [1, 3, 4, 6, 7, 9, 10] == [number_of(body) for body in found.values()]
    assert {"disk_full": Ranges([(2, 2)]), "damaged": Ranges([(5, 5), (8, 8)])} == spool.ledgers[
        new
    ].dropped
    assert 0 == spool.ledgers[lane].last
    assert_accounted(spool)
    spool.close()
