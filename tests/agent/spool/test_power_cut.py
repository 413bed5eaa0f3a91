"""A power cut is no `kill -9`: what was not synced may be gone, or there in part.

A workload runs under `strace`; from the trace the disk is built as it may have been at each sync,
and each such disk is given to a spool.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from clima_agent.spool import Limits, Spool
from clima_core.identity import Lane
from clima_core.ranges import Ranges
from tests.agent.spool.disk import CALLS, Call, Disk, calls
from tests.agent.spool.stock import (
    STATION,
    assert_accounted,
    assert_whole,
    documents,
    number_of,
    waiting,
)
from tests.conftest import missing

ROOT = Path(__file__).parents[3]
STATES_PER_CUT = 4
LIMITS = Limits(2**40, 250_000, 7.0)


class Marks:
    """What the workload knows at each moment, for the trace to hold in its place."""

    def __init__(self, folder: Path) -> None:
        self._file = os.open(folder / "marks", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def __call__(self, **what: object) -> None:
        os.write(self._file, json.dumps(what).encode())


def work(folder: Path, life: int) -> None:
    """One life of a station; ends without warning."""
    mark = Marks(folder)
    chance = random.Random(life)
    spool = Spool(folder / "spool.db", STATION, LIMITS)
    number = life * 10_000
    mark(offered=offered(spool))
    for round_ in range(5 if life == 1 else 30):  # one life ends before it is connected
        for _ in range(chance.randint(1, 6)):
            count = chance.randint(1, 8)
            spool.append("w", documents(count, number + 1, padding=chance.randint(0, 1800)))
            number += count
        if round_ == 8:  # what was made until now was never sent, unlike that of an earlier life
            mark(offered=offered(spool))
            spool.mark_sending()
        if round_ == 15 and life == 2:
            spool.begin_journal({})
        if round_ == 20:
            spool.number_anew({lane: x.waiting for lane, x in spool.ledgers.items() if x.waiting})
        spool.sync()
        mark(synced=number)
        mark(offered=offered(spool))
        for lane, ledger in list(spool.ledgers.items()):
            if chance.random() < 0.5 and ledger.waiting:
                first, last = ledger.waiting.pairs[0]
                some = Ranges([(first, chance.randint(first, last))])
                found = waiting(spool, lane)
                mark(acknowledged=[number_of(found[sequence]) for sequence in some])
                spool.acknowledge(lane, some)
    spool.append("w", documents(3, number + 1))
    os.kill(os.getpid(), 9)


def offered(spool: Spool) -> list[tuple[str, int, int]]:
    """Journal, sequence and number of all that might be sent now."""
    return [
        (lane.journal, sequence, number_of(body))
        for lane in spool.ledgers
        for sequence, body in waiting(spool, lane).items()
    ]


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Call]]:
    """Where the workload ran, and what it asked of the system in three lives."""
    if shutil.which("strace") is None:
        missing("strace", "a power cut is replayed from a trace, and there is no strace")
    folder = tmp_path_factory.mktemp("power")
    script = "from tests.agent.spool.test_power_cut import *; work(Path(sys.argv[1]), {})"
    traced: list[Call] = []
    for life in range(3):
        log = folder / f"trace-{life}"
        names = ["spool.db", "spool.db-wal", "spool.db-journal", "marks"]
        paths = [f"-P{folder / name}" for name in names] + [f"-P{folder}"]
        command = ["strace", "-xx", "-y", "-s", "200000", "-e", f"trace={CALLS}", *paths]
        program = [sys.executable, "-c", script.format(life), str(folder)]
        done = subprocess.run(
            [*command, "-o", str(log), *program],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        if "PTRACE" in done.stderr or not log.exists():
            missing("strace", f"strace may not trace here: {done.stderr.strip()}")
        assert -9 == done.returncode, done.stderr
        with log.open() as lines:
            traced += calls(lines)
    return folder, traced


class Known:
    """What must hold at a cut, by the marks that came before it."""

    def __init__(self) -> None:
        self.synced: set[int] = set()
        self.offered: dict[tuple[str, int], int] = {}
        self.acknowledged: set[int] = set()

    def learn(self, mark: dict[str, object]) -> None:
        match mark:
            case {"acknowledged": list(numbers)}:
                self.acknowledged |= set(numbers)
            case {"offered": list(found)}:
                for journal, sequence, number in found:
                    assert number == self.offered.setdefault((journal, sequence), number)
        if isinstance(number := mark.get("synced"), int):
            self.synced |= set(range(number // 10_000 * 10_000 + 1, number + 1))

    @property
    def must_be_there(self) -> set[int]:
        return (self.synced | set(self.offered.values())) - self.acknowledged


def cuts(folder: Path, trace: list[Call]) -> Iterator[tuple[Disk, Known]]:
    """The disk before and after every sync, and what was known then."""
    disk, known = Disk(folder), Known()
    for call in trace:
        syncs = call.name in {"fsync", "fdatasync"}
        if syncs:
            yield disk, known
        if call.path.endswith("/marks"):
            if call.name == "write":
                known.learn(json.loads(call.data))
        else:
            disk.apply(call)
        if syncs:
            yield disk, known


def check(path: Path, known: Known) -> None:
    """A spool after a power cut holds what it promised."""
    spool = Spool(path, STATION, LIMITS)
    try:
        assert_accounted(spool)
        numbers: list[int] = []
        for lane, ledger in spool.ledgers.items():
            found = waiting(spool, lane)
            assert_whole(lane, found)
            numbers += map(number_of, found.values())
            assert not any(ledger.dropped.values()), ledger.dropped
            for sequence, body in found.items():
                assert number_of(body) == known.offered.get(
                    (lane.journal, sequence), number_of(body)
                )
        assert len(numbers) == len(set(numbers))
        assert known.must_be_there <= set(numbers)
        last_offered = max((n for j, n in known.offered if j == spool.journal), default=0)
        assert last_offered <= spool.ledgers[Lane(spool.journal, "w")].last
    finally:
        spool.file.close()


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="strace is Linux's")
def test_a_power_cut_costs_what_was_not_synced_and_nothing_else(
    trace: tuple[Path, list[Call]], tmp_path: Path
) -> None:
    """At every sync, with the unsynced writes dropped, and with some of them on the disk."""
    folder, traced = trace
    chance = random.Random(20260101)
    seen: set[int] = set()
    checked = 0
    for disk, known in cuts(folder, traced):
        for state in range(STATES_PER_CUT):
            files = disk.after_power_cut(chance if state else None)
            if (fingerprint := hash(frozenset(files.items()))) in seen:
                continue
            seen.add(fingerprint)
            checked += 1
            place = tmp_path / str(checked)
            place.mkdir()
            for name, content in files.items():
                (place / Path(name).name).write_bytes(content)
            check(place / "spool.db", known)
            shutil.rmtree(place)
    assert any(call.path.endswith("db") and call.name == "pwrite64" for call in traced)
    assert checked > 200
