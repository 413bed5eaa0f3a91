"""What leaves the spool when, and how it gets out of a full disk."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from clima_agent.document import dated
from clima_agent.spool import Limits, Spool, SpoolFullError, Start, Undated, room
from clima_core.identity import Lane
from clima_core.ranges import Ranges
from clima_core.reading import rfc3339
from tests.agent.spool.stock import (
    STATION,
    WEATHER,
    Told,
    assert_accounted,
    assert_whole,
    document,
    documents,
    limit_pages,
    number_of,
    waiting,
)
from tests.conftest import missing

START = datetime(2026, 1, 1, tzinfo=UTC)
UNLIMITED = Limits(2**40, 2**40, 10_000.0)


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


def filled(path: Path | str, count: int, limits: Limits = UNLIMITED) -> tuple[Spool, Lane, Told]:
    """A spool with so many records of about a kilobyte, synced."""
    told = Told()
    spool = Spool(path, STATION, limits, report=told, now=lambda: START)
    spool.append("w", documents(count, padding=700))
    spool.sync()
    return spool, Lane(spool.journal, "w"), told


def test_acknowledged_records_go_when_they_are_old() -> None:
    """A slice when the last of it is; those that wait stay, and the numbers go on."""
    clock = Clock()
    spool = Spool(":memory:", STATION, Limits(acknowledged_days=7.0), now=clock)
    lane = Lane(spool.journal, "w")
    for day in range(10):
        clock.now = START + timedelta(days=day)
        spool.append("w", documents(room.SLICE))
        spool.sync()
        spool.acknowledge(lane, Ranges([(1, 8 * room.SLICE)]))
    assert Ranges([(2 * room.SLICE + 1, 10 * room.SLICE)]) == Ranges(spool.file.runs(WEATHER))
    clock.now = START + timedelta(days=1000)
    spool.sync()
    assert Ranges([(8 * room.SLICE + 1, 10 * room.SLICE)]) == spool.ledgers[lane].waiting
    assert spool.ledgers[lane].waiting == Ranges(spool.file.runs(WEATHER))
    spool.close()


@pytest.mark.parametrize("days", [800_000.0, math.inf])
def test_acknowledged_records_may_be_kept_for_ever(days: float) -> None:
    """Whoever has a large disk says so with a large number, or with `inf`."""
    spool = Spool(":memory:", STATION, Limits(acknowledged_days=days), now=Clock())
    lane = Lane(spool.journal, "w")
    spool.append("w", documents(3))
    spool.sync()
    spool.acknowledge(lane, Ranges([(1, 3)]))

    spool.sync()

    assert Ranges([(1, 3)]) == spool.file.held(spool.ledgers[lane].number)


def test_acknowledged_records_go_when_they_are_too_many() -> None:
    """The oldest first, until what is kept is within its limit."""
    spool, lane, told = filled(":memory:", 2000, Limits(2**40, 1_000_000, 10_000.0))
    spool.acknowledge(lane, Ranges([(1, 1500)]))
    spool.sync()
    assert spool.file.used_bytes <= 1_000_000
    assert 2000 == spool.file.held(WEATHER).last
    assert Ranges([(1501, 2000)]) == spool.ledgers[lane].waiting
    assert [] == told.events
    spool.close()


def test_the_oldest_waiting_records_go_at_the_limit_and_are_counted() -> None:
    """Acknowledged ones first; then an error with their numbers, and they stay counted."""
    spool, lane, told = filled(":memory:", 2000, Limits(1_000_000, 500_000, 10_000.0))
    spool.sync()
    assert spool.file.used_bytes <= 1_000_000
    given_up = spool.ledgers[lane].dropped["spool_full"]
    assert ((1, given_up.last),) == given_up.pairs
    assert len(given_up) == sum(fields["count"] for fields in told.fields("records_dropped"))
    assert {"spool_full"} == {fields["reason"] for fields in told.fields("records_dropped")}
    assert list(range((given_up.last or 0) + 1, 2001)) == list(waiting(spool, lane))
    assert_accounted(spool)
    spool.close()


def test_holes_among_the_acknowledged_hold_nothing_up() -> None:
    """What waits below what has gone, and what has moved to another journal, leave holes."""
    spool, lane, _ = filled(":memory:", 300, Limits(2**40, 0, 0.0))
    spool.mark_sending()
    spool.acknowledge(lane, Ranges([(20, 40)]))
    spool.sync()
    spool.number_anew({lane: Ranges([(60, 70)])})
    spool.acknowledge(lane, Ranges([(50, 80)]))
    spool.now = lambda: START + timedelta(days=1)
    spool.sync()
    assert Ranges([(1, 19), (41, 49), (81, 300)]) == Ranges(spool.file.runs(WEATHER))
    spool.close()


def test_a_record_and_its_account_go_together(tmp_path: Path) -> None:
    """Between the deletion and the next sync the process dies: the next life knows all the same."""
    script = f"""
import os, sys
from tests.agent.spool.test_room import filled, room, Ranges, Path
spool, lane, _ = filled(Path(sys.argv[1]), 450)
spool.mark_sending()
spool.acknowledge(lane, Ranges([(1, 250)]))
assert room._let_acknowledged_go(spool) and room._let_acknowledged_go(spool)
assert room._give_up_waiting(spool, "spool_full")
os.kill(os.getpid(), {9})
"""
    path = tmp_path / "spool.db"
    root = Path(__file__).parents[3]
    died = subprocess.run([sys.executable, "-c", script, str(path)], cwd=root, check=False)
    assert -9 == died.returncode
    spool = Spool(path, STATION)
    ledger = spool.ledgers[Lane(spool.journal, "w")]
    assert Ranges([(1, 250)]) == ledger.acknowledged
    assert Ranges([(251, 450)]) == ledger.dropped["spool_full"]
    assert 450 == ledger.last
    spool.close()


def test_on_a_full_disk_acknowledged_records_make_room() -> None:
    """Nothing that waits is given up while there are any."""
    spool, lane, told = filled(":memory:", 500)
    spool.acknowledge(lane, Ranges([(1, 300)]))
    limit_pages(spool, 5)
    for number in range(501, 700):
        spool.append("w", [document(number, padding=700)])
    spool.sync()
    assert list(range(301, 700)) == [number_of(body) for body in waiting(spool, lane).values()]
    assert [] == told.events
    spool.close()


def test_on_a_full_disk_the_oldest_that_wait_make_room() -> None:
    """When none is acknowledged: the newest are worth most, and each loss is said."""
    spool, lane, told = filled(":memory:", 500)
    limit_pages(spool, 5)
    for number in range(501, 600):
        spool.append("w", [document(number, padding=700)])
    spool.sync()
    assert Ranges([(1, 200)]) == spool.ledgers[lane].dropped["disk_full"]
    assert list(range(201, 600)) == [number_of(body) for body in waiting(spool, lane).values()]
    assert [200] == [fields["count"] for fields in told.fields("records_dropped")]
    assert_accounted(spool)
    spool.close()


def test_with_no_room_at_all_what_comes_is_numbered_and_dropped() -> None:
    """The gap is accounted for; and when there is room again, the numbers go on."""
    told = Told()
    spool = Spool(":memory:", STATION, UNLIMITED, report=told)
    ledger = spool.ledgers[lane := Lane(spool.journal, "w")]
    limit_pages(spool, 2)
    spool.append("w", documents(10, padding=700))
    assert Ranges([(1, 10)]) == ledger.dropped["disk_full"]
    limit_pages(spool, 1000)
    spool.append("w", documents(3, first=11))
    spool.sync()
    assert [11, 12, 13] == list(waiting(spool, lane))
    assert_accounted(spool)
    assert ["1-10"] == [fields["sequences"] for fields in told.fields("records_dropped")]
    spool.close()


def test_a_change_that_finds_no_room_changes_nothing() -> None:
    """A new journal is there with its records or not at all, in the file and in memory."""
    spool, lane, _ = filled(":memory:", 30)
    journal, before = spool.journal, waiting(spool, lane)
    spool.append("w", [])
    limit_pages(spool, 0)
    for ledger in spool.ledgers.values():  # nothing synced: nothing that could be given up
        ledger.synced = 0
    with pytest.raises(SpoolFullError):
        spool.begin_journal({lane: Ranges([(1, 30)])})
    assert (journal, 3) == (spool.journal, len(spool.ledgers))
    limit_pages(spool, 1000)
    spool.sync()
    assert before == waiting(spool, lane)
    spool.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few megabytes."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root on Linux")
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "clima-test", str(disk)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode:
        missing("mount", f"no small tmpfs: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def fill_up(disk: Path, leave: int = 0) -> Path:
    """Somebody else's file takes all the room there is, but for `leave` bytes."""
    hog = disk / "hog"
    with hog.open("wb", buffering=0) as file:
        while True:
            free = os.statvfs(disk).f_bavail * 4096 - leave
            try:
                if free <= 0 or not file.write(b"\0" * min(free, 4096)):
                    return hog
            except OSError:
                return hog


@pytest.mark.parametrize("acknowledged", [0, 1000])
def test_a_disk_that_is_really_full(small_disk: Path, acknowledged: int) -> None:
    """Later records are kept, in this life and the next; what had to go is accounted for."""
    spool, lane, told = filled(small_disk / "spool.db", 1500)
    spool.mark_sending()
    spool.acknowledge(lane, Ranges([(1, acknowledged)]))
    spool.sync()
    assert (small_disk / "spool.db.ballast").exists()
    hog = fill_up(small_disk)
    for number in range(1501, 1700):
        spool.append("w", [document(number, padding=700)])
        spool.sync()
        assert_accounted(spool)
    spool.sync()
    ledger = spool.ledgers[lane]
    assert not acknowledged or [] == told.events
    assert len(ledger.settled) <= 1000 if acknowledged else 600
    spool.file.close()  # as a process dies: nothing more is written
    spool = Spool(small_disk / "spool.db", STATION, UNLIMITED, report=told)
    spool.mark_sending()
    assert_accounted(spool)
    found = waiting(spool, lane)
    assert_whole(lane, found)
    assert found.keys() == set(ledger.waiting)
    assert 1699 in found
    hog.unlink()
    spool.append("w", [document(1700)])
    spool.sync()
    assert 1700 in waiting(spool, lane)
    assert (small_disk / "spool.db.ballast").exists()
    spool.close()


def test_the_ballast_makes_room_before_anything_is_given_up(small_disk: Path) -> None:
    """Its two megabytes hold a day of readings, and nothing that waits is worth less than they."""
    spool, lane, told = filled(small_disk / "spool.db", 300)
    spool.file.checkpoint()
    fill_up(small_disk)
    for number in range(301, 401):
        spool.append("w", [document(number, padding=700)])
        spool.sync()
    assert not (small_disk / "spool.db.ballast").exists()
    assert [] == told.events
    assert list(range(1, 401)) == list(waiting(spool, lane))
    spool.close()


def undated_documents(count: int) -> list[Undated]:
    return [Undated("boot", float(n), "w", document(n, padding=700)) for n in range(1, count + 1)]


def date(spool: Spool, padding: int = 0) -> int:
    """It is known now when the boot began, and that makes each record longer."""

    def longer(record: Undated, start: Start) -> Mapping[str, Any]:
        made = dated(record.document, "w", *start.at(record.moment))
        return {**made, "message": made["message"] + "x" * padding}

    return spool.date(Start("boot", START.timestamp(), known_at=0.0), longer)


@pytest.mark.parametrize("ballast", [True, False])
def test_the_time_becomes_known_on_a_full_disk(small_disk: Path, *, ballast: bool) -> None:
    """The ballast is room to date all; without it that is done once there is room, each once."""
    told = Told()
    spool = Spool(small_disk / "spool.db", STATION, UNLIMITED, report=told, now=lambda: START)
    spool.keep_undated(undated_documents(600))
    spool.sync()
    spool.file.checkpoint()
    if not ballast:
        room.throw_ballast(spool.file.path)
    hog = fill_up(small_disk)
    if not ballast:
        with pytest.raises(SpoolFullError):
            date(spool)
        hog.unlink()
    assert 600 == date(spool)
    spool.sync()
    found = [
        msgspec.json.decode(body) for body in waiting(spool, Lane(spool.journal, "w")).values()
    ]
    times = [datetime.fromisoformat(each["@timestamp"]) - START for each in found]
    assert [timedelta(seconds=number) for number in range(1, 601)] == times
    assert [] == told.events
    spool.close()


def test_dating_gives_up_what_is_acknowledged_and_what_is_older() -> None:
    """Before any of what is being dated; and each is numbered once, given up or not."""
    told = Told()
    spool = Spool(":memory:", STATION, UNLIMITED, report=told, now=lambda: START)
    lane = Lane(spool.journal, "w")
    spool.append("w", [{"@timestamp": rfc3339(START), "message": "x" * 700}] * 250)
    spool.sync()
    spool.acknowledge(lane, Ranges([(1, 200)]))
    spool.keep_undated(undated_documents(600))
    spool.sync()
    limit_pages(spool, 0)
    count = date(spool, padding=2000)  # three times as long as they were
    limit_pages(spool, 100)
    spool.sync()
    lost = [each["sequences"] for each in told.fields("records_dropped")]
    assert "201-250" == lost[0]
    given_up = len(spool.ledgers[lane].dropped["disk_full"]) - 50
    assert (850, 600) == (spool.ledgers[lane].last, count + given_up)
    numbers = [number_of(body) for body in waiting(spool, lane).values()]
    assert len(numbers) == len(set(numbers)) == count
    assert_accounted(spool)
    spool.close()


def test_a_spool_that_has_filled_the_disk_itself(small_disk: Path) -> None:
    """It stops short of the end: there is room to give records up, to say so, and to send."""
    fill_up(small_disk, leave=6_000_000)
    spool, lane, told = filled(small_disk / "spool.db", 1000)
    for first in range(1001, 8001, 200):
        spool.append("w", documents(200, first=first, padding=700))
        spool.sync()
        assert_accounted(spool)
    assert {"disk_full"} == {fields["reason"] for fields in told.fields("records_dropped")}
    spool.mark_sending()
    found = waiting(spool, lane)
    assert 1000 < len(found)
    assert 8000 in found
    spool.close()


def test_a_spool_opens_on_a_full_disk(small_disk: Path) -> None:
    """After a power cut, say: its ballast goes, and it has room to work."""
    spool, lane, _ = filled(small_disk / "spool.db", 1500)
    spool.close()
    fill_up(small_disk)
    spool = Spool(small_disk / "spool.db", STATION, UNLIMITED)
    spool.append("w", [document(1501)])
    spool.sync()
    assert 1501 in waiting(spool, lane)
    assert Ranges() == spool.ledgers[lane].settled
    spool.close()


@pytest.mark.parametrize("count", [1500, 2300, 3400, 5000])
def test_without_ballast_a_spool_that_was_killed_opens_on_a_full_disk(
    small_disk: Path, count: int
) -> None:
    """Wherever it died: it reads on in the room that it has, and says what it gave up for that."""
    fill_up(small_disk, leave=5_000_000)
    script = """
import os, sys
from tests.agent.spool.test_room import *
spool, lane, told = filled(Path(sys.argv[1]), 0)
for number in range(1, int(sys.argv[2]) + 1):
    spool.append("w", [document(number, padding=700)])
    if number % 7 == 0:
        spool.sync()
os.kill(os.getpid(), 9)
"""
    path = small_disk / "spool.db"
    died = subprocess.run(
        [sys.executable, "-c", script, str(path), str(count)],
        cwd=Path(__file__).parents[3],
        check=False,
    )
    assert -9 == died.returncode
    assert not (small_disk / "spool.db.ballast").exists()
    (small_disk / "hog").rename(small_disk / "pig")
    fill_up(small_disk)  # not a byte is left
    told = Told()
    spool = Spool(path, STATION, UNLIMITED, report=told)
    before = len(spool.ledgers[Lane(spool.journal, "w")].waiting)
    for number in range(count + 1, count + 301):
        spool.append("w", [document(number, padding=700)])
        spool.sync()
    found = waiting(spool, Lane(spool.journal, "w"))
    assert count + 300 == number_of(found[max(found)])
    given_up = sum(fields["count"] for fields in told.fields("records_dropped"))
    assert before + 300 == len(found) + given_up
    assert_accounted(spool)
    spool.close()


def test_without_ballast_and_room_the_reason_is_said(small_disk: Path) -> None:
    """And nothing is broken: with room it opens."""
    spool, lane, _ = filled(small_disk / "spool.db", 1500)
    spool.close()
    (small_disk / "spool.db.ballast").unlink()
    hog = fill_up(small_disk)
    with pytest.raises(SpoolFullError, match="full"):
        Spool(small_disk / "spool.db", STATION, UNLIMITED)
    hog.unlink()
    spool = Spool(small_disk / "spool.db", STATION, UNLIMITED)
    assert 1500 == len(waiting(spool, lane))
    spool.close()


def test_ballast_is_laid_only_where_there_is_much_room(small_disk: Path) -> None:
    """Written again at every sync, it would wear a nearly full card out."""
    fill_up(small_disk, leave=3 * room.BALLAST_BYTES)
    spool, _, _ = filled(small_disk / "spool.db", 10)
    spool.close()
    assert not (small_disk / "spool.db.ballast").exists()
