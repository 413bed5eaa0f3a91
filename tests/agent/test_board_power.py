"""The power goes while a card comes to know its board: at no step is a reading or the name lost.

As in spool/test_power_cut.py: three lives run under `strace`, on the first board, on another one,
and there again after it was said that the station has moved. At each sync the disk is built as a
power cut may leave it, and the station boots from that.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from clima_agent import board
from clima_core import keys
from tests.agent.spool.disk import CALLS, Call, Disk, calls
from tests.agent.test_board import A, B, Card
from tests.conftest import missing

ROOT = Path(__file__).parents[2]
STATES_PER_CUT = 3
SERIALS = (A, B, B)
LIFE = """
from tests.agent.test_board_power import *
live(Card(Path(sys.argv[1]), SERIALS[{life}]), {life})
"""


def live(card: Card, life: int) -> None:
    """Two readings; the last life begins with the move."""
    if life == 2:
        board.moved(card.place)
    spool, _ = card.boot()
    for number in (10 * life + 1, 10 * life + 2):
        spool.append("w", [reading(number)])
        spool.sync()
        (card.folder / "synced").write_text(str(number))
    spool.close()


def reading(number: int) -> dict[str, object]:
    return {"@timestamp": "2026-01-01T00:00:00.000Z", "weather": {"air_temperature": number / 10}}


class Tree(Disk):
    """With folders in it: an ordered journal that has one folder's entries has all of before.

    A file that is written in order is written at once.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._root = folder

    def apply(self, call: Call) -> None:
        path = Path(call.path)
        if "sync" in call.name and self._root in (path, *path.parents) and path.is_dir():
            call = Call(call.name, str(self._root))
        if call.name == "write":
            call = Call("pwrite64", call.path, call.data, offset=0)
        super().apply(call)


@pytest.fixture(scope="module")
def lives(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[list[Call]]]:
    """Where the station lived, and what it asked of the system in each life."""
    if shutil.which("strace") is None:
        missing("strace", "a power cut is replayed from a trace, and there is no strace")
    folder = tmp_path_factory.mktemp("board") / "card"
    traced = []
    for life in range(len(SERIALS)):
        log = folder.with_name(f"trace-{life}")
        command = ["strace", "-xx", "-y", "-s", "200000", "-e", f"trace={CALLS}", "-o", str(log)]
        command += [sys.executable, "-c", LIFE.format(life=life), str(folder)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if "PTRACE" in done.stderr or not log.exists():
            missing("strace", f"strace may not trace here: {done.stderr.strip()}")
        assert 0 == done.returncode, done.stderr
        with log.open() as lines:
            traced.append([call for call in calls(lines) if is_kept(call.path, folder)])
    return folder, traced


def is_kept(path: str, folder: Path) -> bool:
    """The ballast is large, and there for nothing but its room."""
    return path.startswith(str(folder)) and not path.endswith(".ballast")


def cuts(folder: Path, traced: list[list[Call]]) -> Iterator[tuple[Tree, int, int]]:
    """The disk before every sync and at the end of every life; the life; what was synced last."""
    disk, synced = Tree(folder), 0
    for life, made in enumerate(traced):
        for call in made:
            if "sync" in call.name:
                yield disk, life, synced
            if call.path.endswith("/synced"):
                synced = int(call.data or synced)
            else:
                disk.apply(call)
        yield disk, life, synced


def check(card: Card, life: int, synced: int, key: str) -> None:
    """It boots as who it is, with all that was synced, once."""
    first = [number for number in (1, 2) if number <= synced]
    later = [number for number in (11, 12, 21, 22) if number <= synced]
    card.put_into(SERIALS[life])
    if life == 1:
        assert card.place.other is not None
        ((station, numbers),) = card.held().items() or [("", [])]
        assert station.startswith("roof-") or not later
        assert later == numbers[: len(later)]
        card.put_into(A)
        assert {"roof": first} == card.held()
        return
    if life == 2 and card.place.other is not None:
        board.moved(card.place)  # the command had not ended: it is given again
    numbers = card.held().get("roof", [])
    assert len(set(numbers)) == len(numbers)
    assert {*first, *later} <= set(numbers)
    assert not life or key == keys.load(card.folder / "agent.key").public


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="strace is Linux's")
def test_a_power_cut_at_any_step_costs_neither_name_nor_readings(
    lives: tuple[Path, list[list[Call]]], tmp_path: Path
) -> None:
    """At every sync, with the unsynced writes dropped, and with some of them on the disk."""
    folder, traced = lives
    key = keys.load(folder / "agent.key").public
    chance = random.Random(20260102)
    seen: set[int] = set()
    checked = [0, 0, 0]
    for disk, life, synced in cuts(folder, traced):
        for state in range(STATES_PER_CUT):
            found = disk.after_power_cut(chance if state else None)
            if (fingerprint := hash((life, synced, frozenset(found.items())))) in seen:
                continue
            seen.add(fingerprint)
            checked[life] += 1
            card = Card(tmp_path / "card", SERIALS[life])
            for name, content in found.items():
                path = card.folder / Path(name).relative_to(folder)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
                path.chmod(0o600)
            check(card, life, synced, key)
            shutil.rmtree(card.folder)
    assert min(checked) > 20, checked
