"""A root file system that is read only, in a mount namespace of the test's own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest

from clima_agent.spool.file import SpoolFile
from clima_agent.spool.ledger import ledgers_in
from clima_core.errors import UnavailableError
from tests.conftest import missing

PATIENCE_S = 60.0
WRITABLE = 'mount --bind "$1" "$1"'
READ_ONLY = "mount -o remount,ro,bind /"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A station whose state has a file system of its own."""
    probe = ["unshare", "--mount", "sh", "-c", f"{WRITABLE} && {READ_ONLY}", "sh", str(tmp_path)]
    if (
        sys.platform != "linux"
        or subprocess.run(probe, capture_output=True, check=False).returncode
    ):
        missing("namespaces", "no mount namespace may be made here")
    (tmp_path / "state").mkdir()
    path = tmp_path / "agent.toml"
    path.write_text(
        '[station]\nid = "roof"\n[sampling]\ninterval_s = 0.2\n[clock]\ntrust = "system"\n'
        '[spool]\ndirectory = "state/spool"\ncommit_window_s = 0.2\n'
        '[identity]\nkey_file = "state/agent.key"\n[[sensors]]\ndriver = "simulated"\n'
    )
    return path


def command(file: Path, *words: str, state: bool = True) -> list[str]:
    """A `clima-agent` to which everything is read only, but for its state."""
    mounts = [WRITABLE, READ_ONLY] if state else [READ_ONLY]
    script = " && ".join([*mounts, 'shift && exec "$@"'])
    agent = [sys.executable, "-m", "clima_agent", *words, "-c", str(file)]
    return ["unshare", "--mount", "sh", "-c", script, "sh", str(file.parent / "state"), *agent]


def readings(file: Path) -> int:
    """How many are kept; none while the spool is being made."""
    path = file.parent / "state/spool/spool.db"
    with suppress(UnavailableError), closing(SpoolFile(path, read_only=True)) as spool:
        lanes = ledgers_in(spool).items()
        return sum(ledger.last for lane, ledger in lanes if lane.stream == "w")
    return 0


def test_it_needs_nothing_but_its_state(file: Path) -> None:
    """It makes key and spool there, samples, and ends as it should; `check` finds nothing wrong."""
    with subprocess.Popen(command(file, "run"), stderr=subprocess.PIPE) as agent:
        deadline = time.monotonic() + PATIENCE_S
        while readings(file) < 5 and agent.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        agent.terminate()
        assert agent.stderr is not None
        said = [json.loads(line) for line in agent.stderr.read().splitlines()]
    checked = subprocess.run(command(file, "check"), capture_output=True, text=True, check=False)

    assert 0 == agent.returncode
    assert [] == [line for line in said if line["level"] == "error"]
    assert 0 == checked.returncode, checked.stdout


def test_a_state_that_is_read_only_is_said(file: Path) -> None:
    """As after an `fsck` that found damage: the card is mounted read only; 69, with the reason."""
    run = subprocess.run(
        command(file, "run", state=False), capture_output=True, text=True, check=False
    )
    checked = subprocess.run(
        command(file, "check", state=False), capture_output=True, text=True, check=False
    )

    assert 69 == run.returncode
    assert "Read-only file system" in run.stderr.splitlines()[-1]
    assert "Traceback" not in run.stderr
    assert 1 == checked.returncode
    assert "is on a file system that is read only (agent/README.md" in checked.stdout
