"""Files that are there whole or not at all, whatever the power does.

What root makes belongs to whom the folder belongs: `sudo clima-agent enroll` would otherwise make a
key that the station's own user cannot read.
"""

from __future__ import annotations

import errno
import os
import secrets
from contextlib import suppress
from pathlib import Path


def write(path: Path, content: bytes, mode: int = 0o644, *, replace: bool = True) -> None:
    """Put the file there in place of any other; it is on disk before this returns.

    Without `replace` it is FileExistsError where there is one, even if it came this very moment.
    Nobody ever sees a part of it, and nobody whom `mode` keeps out has it before that holds.
    """
    make_directory(path.parent)
    # No process id: in two containers that share a folder both are number 1.
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            hand_over(fresh, path.parent)
            os.fsync(file.fileno())
        if replace:
            fresh.replace(path)
        else:
            _link(fresh, path)
    finally:
        with suppress(OSError):
            fresh.unlink()
    sync_directory(path.parent)


def make_directory(directory: Path) -> None:
    """Make it with its parents, to last: what lies in it would go with it."""
    missing = [each for each in (directory, *directory.parents) if not each.exists()]
    directory.mkdir(parents=True, exist_ok=True)
    for each in reversed(missing):
        hand_over(each, each.parent)
        sync_directory(each.parent)


def hand_over(made: Path, folder: Path) -> None:
    """What root has made belongs to whom the folder belongs."""
    if os.name == "posix" and os.geteuid() == 0:
        owner = folder.stat()
        os.chown(made, owner.st_uid, owner.st_gid)


def sync_directory(directory: Path) -> None:
    """Make what was renamed in a directory last, where the system has a way to."""
    if os.name == "posix":
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _link(fresh: Path, path: Path) -> None:
    """Give the file its name as well, unless another one has it."""
    try:
        os.link(fresh, path)
    except OSError:
        if path.exists() or path.is_symlink():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        fresh.replace(path)  # a file system without links, as FAT
