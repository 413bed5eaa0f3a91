"""A running agent is told of its new configuration; one that does not listen is spared."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from clima_agent import running

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="locks are listed in /proc")

HOLDER = """
import signal, sys
from pathlib import Path
from clima_agent.lock import exclusive
if sys.argv[2] == "listens":
    signal.signal(signal.SIGHUP, lambda *_: print("told", flush=True))
with exclusive(Path(sys.argv[1])):
    print("holds", flush=True)
    sys.stdin.readline()
"""


@contextmanager
def holder(lock: Path, how: str) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock."""
    command = [sys.executable, "-c", HOLDER, str(lock), how]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert "holds\n" == process.stdout.readline()
        yield process
        process.kill()


def test_who_holds_the_lock_is_told(tmp_path: Path) -> None:
    """By SIGHUP."""
    with holder(tmp_path / "spool.lock", "listens") as process:
        assert running.reload(tmp_path / "spool.lock")
        assert process.stdout
        assert "told\n" == process.stdout.readline()


def test_one_that_does_not_listen_is_not_ended_by_it(tmp_path: Path) -> None:
    """As an agent on a terminal."""
    with holder(tmp_path / "spool.lock", "deaf") as process:
        assert not running.reload(tmp_path / "spool.lock")
        assert process.poll() is None


def test_nobody_runs(tmp_path: Path) -> None:
    """With a lock that nobody holds, or none at all."""
    assert not running.reload(tmp_path / "spool.lock")
    (tmp_path / "spool.lock").touch()
    assert not running.reload(tmp_path / "spool.lock")
