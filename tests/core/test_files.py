"""Files that are written whole."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from clima_core import files
from clima_core.errors import UnavailableError


def test_a_file_is_written_with_its_folder_and_nothing_beside_it(tmp_path: Path) -> None:
    """Also in place of another one."""
    path = tmp_path / "new" / "file"
    files.write(path, b"one")
    files.write(path, b"two")

    assert b"two" == path.read_bytes()
    assert ["file"] == [each.name for each in path.parent.iterdir()]


def test_a_file_that_is_there_stays_if_it_is_not_to_be_replaced(tmp_path: Path) -> None:
    """Also where it is a link to nowhere; and nothing is left beside it."""
    path, link = tmp_path / "file", tmp_path / "link"
    link.symlink_to("nowhere")
    files.write(path, b"one", replace=False)
    for each in (path, link):
        with pytest.raises(FileExistsError):
            files.write(each, b"two", replace=False)

    assert b"one" == path.read_bytes()
    assert {path, link} == set(tmp_path.iterdir())


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
def test_its_mode_holds_from_the_beginning(tmp_path: Path) -> None:
    """A secret is nobody else's, whatever was there before."""
    path = tmp_path / "file"
    files.write(path, b"public")
    files.write(path, b"secret", 0o600)

    assert 0o600 == path.stat().st_mode & 0o777


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
def test_what_cannot_be_written_leaves_what_was_there(tmp_path: Path) -> None:
    """Here its folder is none."""
    (tmp_path / "file").write_text("a file")
    with pytest.raises((NotADirectoryError, FileExistsError)):
        files.write(tmp_path / "file" / "inside", b"text")

    assert "a file" == (tmp_path / "file").read_text()


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root gives files away")
def test_what_root_makes_belongs_to_whom_the_folder_belongs(tmp_path: Path) -> None:
    """The folders as well."""
    os.chown(tmp_path, 4321, 4322)
    path = tmp_path / "new" / "folder" / "file"
    files.write(path, b"text", 0o600)

    owners = {(each.stat().st_uid, each.stat().st_gid) for each in (path, *list(path.parents)[:2])}
    assert {(4321, 4322)} == owners


HOLDER = """
import sys, pathlib
from clima_core import files
with files.alone(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.skipif(os.name != "posix", reason="Windows cannot lock a folder")
def test_a_folder_is_held_by_one_until_it_ends(tmp_path: Path) -> None:
    """Killed, it holds it no more; and nothing is left in the folder."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert b"held\n" == holder.stdout.readline()
        with pytest.raises(UnavailableError, match="another command"), files.alone(tmp_path):
            pass
        holder.kill()
        with files.alone(tmp_path, 60.0):
            assert [] == list(tmp_path.iterdir())
