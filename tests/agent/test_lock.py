"""One agent per spool."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from clima_agent.lock import exclusive
from clima_core.errors import UnavailableError

HOLD = """
import sys
from pathlib import Path
from clima_agent.lock import exclusive
with exclusive(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_agent_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    """Killed counts as gone; it is said what to do."""
    path = tmp_path / "spool.lock"
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert b"held" == holder.stdout.readline().strip()
        with (
            pytest.raises(UnavailableError, match="another clima-agent") as refused,
            exclusive(path),
        ):
            pass
        assert str(tmp_path) in str(refused.value)
        holder.kill()
    with exclusive(path):
        pass


def test_it_is_let_go_whatever_happens(tmp_path: Path) -> None:
    """An error inside does not hold it."""
    path = tmp_path / "spool.lock"
    with pytest.raises(LookupError), exclusive(path):
        raise LookupError
    with exclusive(path):
        assert path.exists()


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
def test_a_child_does_not_inherit_it(tmp_path: Path) -> None:
    """Or a helper left behind would keep the next agent out."""
    path = tmp_path / "spool.lock"
    with exclusive(path), subprocess.Popen([sys.executable, "-c", "input()"], stdin=-1) as child:
        pass_on = child
        assert pass_on.poll() is None
        child.kill()
    with exclusive(path):
        pass


def test_where_there_can_be_none_is_said(tmp_path: Path) -> None:
    """A file in place of the folder, say."""
    (tmp_path / "spool").write_text("a file")
    with (
        pytest.raises(UnavailableError, match=r"spool\.lock: Not a directory"),
        exclusive(tmp_path / "spool" / "spool.lock"),
    ):
        pass
