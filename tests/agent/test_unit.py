"""The systemd unit: what systemd itself says of it, and that all it names is there."""

from __future__ import annotations

import re
import shutil
import subprocess
from configparser import RawConfigParser
from pathlib import Path

import pytest

from clima_agent import config
from clima_agent.cli import COMMANDS, DEFAULT_CONFIG
from clima_core import errors
from tests.conftest import missing

AGENT = Path(__file__).parents[2] / "agent"
UNIT = AGENT / "systemd/clima-agent.service"
INSTALL = (AGENT / "install.sh").read_text("utf-8")
MOST_EXPOSED = 19  # tenths: under 2.0


def options(path: Path) -> dict[str, list[str]]:
    """All options of a unit, whatever their section, with the values in order."""
    found: dict[str, list[str]] = {}
    for line in path.read_text("utf-8").splitlines():
        if name := re.match(r"(\w+)=(.*)", line):
            found.setdefault(name[1], []).append(name[2])
    return found


@pytest.fixture
def analyze() -> str:
    """systemd's own opinion."""
    found = shutil.which("systemd-analyze")
    if found is None:
        missing("systemd", "needs systemd-analyze, of Debian's package systemd")
    return str(found)


def test_systemd_understands_every_line(analyze: str, tmp_path: Path) -> None:
    """Without a word; the program and its user, which are not on this machine, aside."""
    text = UNIT.read_text("utf-8")
    text = re.sub(r"(?m)^ExecStart=\S+", "ExecStart=/bin/true", text)
    copy = tmp_path / UNIT.name
    copy.write_text(text.replace("User=clima-agent", "User=root"), "utf-8")
    command = [analyze, "verify", "--man=no", str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    about_us = [line for line in done.stderr.splitlines() if UNIT.name in line]
    assert (0, []) == (done.returncode, about_us)


def test_it_is_exposed_to_little(analyze: str) -> None:
    """Under 2.0 by `systemd-analyze security`, with I2C, 1-Wire and GPIO in use."""
    command = [analyze, "security", "--offline=true", f"--threshold={MOST_EXPOSED}", "--no-pager"]
    done = subprocess.run([*command, str(UNIT)], capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stdout


def test_it_may_ask_for_the_clock_and_not_set_it() -> None:
    """The last filter allows adjtimex, and no capability to change anything by it."""
    unit = options(UNIT)
    assert "adjtimex clock_adjtime" == unit["SystemCallFilter"][-1]
    assert [""] == unit["CapabilityBoundingSet"]
    assert "ProtectClock" not in unit


def test_it_names_what_the_package_has() -> None:
    """Command, configuration, state, exit code, user: each is the program's own."""
    unit = options(UNIT)
    program, command = unit["ExecStart"][0].split()
    assert program.endswith("/bin/clima-agent")
    assert command in COMMANDS
    assert f"CLIMA_AGENT_CONFIG={DEFAULT_CONFIG}" in unit["Environment"][0].split()
    assert Path("/var/lib") / unit["StateDirectory"][0] == config.STATE
    assert str(errors.EXIT_CONFIGURATION) == unit["RestartPreventExitStatus"][0]
    users = (AGENT / "systemd/clima-agent.sysusers").read_text("utf-8")
    assert f"u {unit['User'][0]} " in users


def test_the_installer_puts_everything_where_the_unit_looks_for_it() -> None:
    """The program by its path, and each file that lies beside the unit."""
    program = options(UNIT)["ExecStart"][0].split()[0]
    assert program.removesuffix("/current/bin/clima-agent") in INSTALL
    for path in UNIT.parent.iterdir():
        assert f"systemd/{path.name}" in INSTALL


def test_drop_ins_have_sections() -> None:
    """An option outside of a section is not heard."""
    for path in UNIT.parent.glob("*.conf"):
        parser = RawConfigParser()
        parser.read_string(path.read_text("utf-8"))
        assert ["Service"] == parser.sections()
