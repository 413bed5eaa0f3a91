"""What is kept of an attempt between the digits and the answer."""

from __future__ import annotations

import os
import stat
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from clima_agent.pairing import attempt as attempts
from clima_agent.pairing.attempt import Attempt
from clima_agent.pairing.client import Agreed, Peer
from clima_core.pairing import LIFE_S

AGREED = Agreed("b" * 64, 5570, "0" * 32, "482913")


@dataclass
class Machine:
    """Clocks to be set."""

    boot: str = "boot"
    now: float = 100.0

    def moment(self) -> float:
        return self.now

    def wall(self) -> float:
        return 0.0

    def disciplined(self) -> bool:
        return True


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Beside the key."""
    return attempts.path_for(tmp_path / "agent.key")


def made(machine: Machine) -> Attempt:
    return attempts.made("roof", "KEY", Peer("10.0.0.1", 5573), AGREED, machine)


def test_it_is_there_for_the_next_command(path: Path) -> None:
    """As it was, until it is forgotten."""
    machine = Machine()
    attempts.save(path, made(machine))
    assert made(machine) == attempts.load(path, "roof", "KEY", machine)
    attempts.forget(path)
    assert attempts.load(path, "roof", "KEY", machine) is None
    attempts.forget(path)


@pytest.mark.parametrize(
    ("station", "key", "machine"),
    [
        ("roof", "KEY", Machine(now=100 + LIFE_S)),
        ("roof", "KEY", Machine(boot="another")),
        ("barn", "KEY", Machine()),
        ("roof", "ANOTHER", Machine()),
    ],
)
def test_it_is_of_no_use_later_or_elsewhere(
    path: Path, station: str, key: str, machine: Machine
) -> None:
    """Too late, after a boot, or as another station."""
    attempts.save(path, made(Machine()))
    assert attempts.load(path, station, key, machine) is None


def test_a_damaged_one_is_none(path: Path) -> None:
    """One begins anew."""
    path.write_bytes(b'{"station":')
    assert attempts.load(path, "roof", "KEY", Machine()) is None


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="only root gives away")
def test_what_root_makes_is_the_agents(path: Path) -> None:
    """The folder's owner is who the agent runs as."""
    os.chown(path.parent, 12345, 12346)
    attempts.save(path, made(Machine()))
    found = path.stat()
    assert (12345, 12346, 0o600) == (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode))
