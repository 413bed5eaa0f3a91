"""The disk that loses power in this process, with a spool on it.

A log that was torn is none that has rotted, whatever of it is left: the spool opens each time.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from clima_agent.spool import Spool, wal
from clima_core.errors import ClimaError
from clima_core.identity import Lane
from tests.agent.spool.losing import LosingDisk, reachable
from tests.agent.spool.stock import STATION, assert_accounted, documents

LIVES = 60

pytestmark = pytest.mark.skipif(not reachable(), reason="this Python has an SQLite of its own")


@pytest.mark.parametrize("torn", [False, True])
def test_synced_it_is_there_and_unsynced_it_may_be_gone(tmp_path: Path, *, torn: bool) -> None:
    """In whichever operation the power goes, life after life; and something is always lost."""
    chance = random.Random(20260301)
    appended = synced = lost = torn_before_whole = 0
    found: dict[str, bytes] = {}
    with LosingDisk(chance) as disk:
        for number in range(LIVES):
            folder = tmp_path / str(number)
            folder.mkdir()
            disk.begin(folder, found)
            torn_before_whole += torn_before_a_commit(folder / "spool.db-wal")
            spool = Spool(folder / "spool.db", STATION)
            ledger = spool.ledgers[Lane(spool.journal, "w")]
            assert_accounted(spool)
            assert synced <= ledger.last <= appended
            lost += appended - ledger.last
            appended = synced = ledger.last
            disk.strike(chance.randrange(150), lambda: None, torn=torn)
            with pytest.raises(ClimaError):  # noqa: PT012 - it may come at any of these
                while True:
                    appended += 1
                    spool.append("w", documents(1, appended))
                    if chance.random() < 0.2:
                        spool.sync()
                        synced = ledger.last
            spool.file.close()
            assert disk.left is not None
            found = disk.left
    assert lost > LIVES / 2
    assert torn == (torn_before_whole > 0)


def torn_before_a_commit(path: Path) -> bool:
    """Whether a whole transaction lies behind a broken one: rot, if the power had not gone."""
    if not path.exists():
        return False
    with path.open("rb") as log:
        frames = list(wal.frames(log))
    broken = [number for number, frame in enumerate(frames) if not frame.whole]
    return bool(broken) and any(frame.commits for frame in frames[broken[0] + 1 :])
