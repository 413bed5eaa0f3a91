"""Who may do what: by real owners and modes, as another user where a test needs one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from clima_agent import permissions
from clima_agent.commands import check as commands
from clima_core import keys

NOBODY = 65534
pytestmark = pytest.mark.skipif(
    os.name != "posix" or os.geteuid() != 0, reason="only root can be somebody else"
)


@pytest.fixture
def station(public_path: Path) -> Path:
    """A station whose files are nobody's, in a folder that everybody may look into."""
    state = public_path / "state"
    (state / "spool").mkdir(parents=True)
    keys.load_or_create(state / "agent.key")
    for each in (state, state / "spool", state / "agent.key"):
        os.chown(each, NOBODY, NOBODY)
    (public_path / "agent.toml").write_text(
        '[station]\nid = "roof"\n[[sensors]]\ndriver = "simulated"\n'
        '[spool]\ndirectory = "state/spool"\n[identity]\nkey_file = "state/agent.key"\n'
    )
    return public_path


@contextmanager
def nobody() -> Iterator[None]:
    """This process is somebody else for a while, who may not even import anything."""
    groups = os.getgroups()
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, 0)
    os.setresuid(NOBODY, NOBODY, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)
        os.setresgid(0, 0, 0)
        os.setgroups(groups)


def check(station: Path) -> dict[str, list[str]]:
    """What it finds, by level."""
    found: dict[str, list[str]] = {"ok": [], "warning": [], "problem": []}
    for each in commands.check(station / "agent.toml", environment=True):
        found[each.level].append(each.message)
    return found


def check_as_nobody(station: Path) -> dict[str, list[str]]:
    check(station)  # imports what it needs
    with nobody():
        return check(station)


def test_as_the_agents_user_all_is_well(station: Path) -> None:
    """Nothing to mend."""
    assert [] == check_as_nobody(station)["problem"]


def test_as_another_user_it_says_whose_eyes_count(station: Path) -> None:
    """Root may do everything, and so sees nothing wrong."""
    found = check(station)
    assert any("sudo -u nobody clima-agent check" in text for text in found["warning"])
    assert [] == found["problem"]


@pytest.mark.parametrize("name", ["agent.key", "spool/spool.db", "spool/spool.lock"])
def test_a_file_that_root_made_is_given_back(station: Path, name: str) -> None:
    """The agent could not use it."""
    path = station / "state" / name
    path.touch(0o600)
    os.chown(path, 0, 0)

    problems = check_as_nobody(station)["problem"]

    assert any(f"`sudo chown nobody: {path}`" in text for text in problems)


def test_a_spool_that_cannot_be_written(station: Path) -> None:
    """The folder is there, and is somebody else's."""
    os.chown(station / "state/spool", 0, 0)
    spool = station / "state/spool"
    problems = check_as_nobody(station)["problem"]
    assert [f"spool.directory: {spool}: this user, nobody, may not write to {spool}"] == problems


def test_a_key_that_is_roots_alone(station: Path) -> None:
    """As one that systemd hands over: no problem, if it is meant."""
    os.chown(station / "state", 0, 0)
    os.chown(station / "state/agent.key", 0, 0)
    found = check_as_nobody(station)
    assert any("nobody may not read it; right if systemd" in text for text in found["warning"])


def test_a_key_that_others_can_read(station: Path) -> None:
    """With the line that mends it."""
    path = station / "state/agent.key"
    path.chmod(0o644)
    (problem,) = check_as_nobody(station)["problem"]
    assert f"others can read this secret key; `chmod 600 {path}` mends that" in problem


def test_a_state_that_cannot_even_be_seen(station: Path) -> None:
    """It is said, as everything, and does not end in a traceback."""
    (station / "state").chmod(0o700)
    os.chown(station / "state", 0, 0)
    found = check_as_nobody(station)
    assert any("may not look into" in text for text in found["warning"])
    assert any("may not write to" in text for text in found["problem"])


def test_the_group_is_the_devices_own(tmp_path: Path) -> None:
    """Whatever its name; where that cannot be known, the usual one."""
    device = tmp_path / "i2c-1"
    device.touch()
    os.chown(device, 0, 8)  # mail, on every Debian
    assert permissions.mend(device, "i2c").startswith("`sudo usermod -aG mail root`")
    assert permissions.mend(tmp_path / "gone", "gpio").startswith("`sudo usermod -aG gpio root`")
    os.chown(device, 0, 0)
    assert "root's alone" in permissions.mend(device, "i2c")
