"""Files that are there whole or not at all, whatever the power does.

What root makes belongs to whom the folder belongs: `sudo clima-agent enroll` would otherwise make a
key that the station's own user cannot read.
"""

from __future__ import annotations

import errno
import os
import secrets
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from clima_core.errors import UnavailableError

if sys.platform != "win32":
    import fcntl


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


@contextmanager
def alone(folder: Path, patience_s: float = 0.0) -> Iterator[None]:
    """Hold a folder against whoever else asks for it so, in another container too.

    Raises UnavailableError when somebody holds it for longer than that. The system lets go of it
    when the process ends, however it ends. Where folders cannot be locked (Windows, some network
    file systems) everybody is let through.
    """
    if sys.platform == "win32":
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        deadline = time.monotonic() + patience_s
        while _held(descriptor):
            if time.monotonic() >= deadline:
                raise UnavailableError(
                    f"{folder}: another command of Clima's is at work here; when it is done,"
                    " run this again"
                )
            time.sleep(0.05)
        yield
    finally:
        os.close(descriptor)


def _held(descriptor: int) -> bool:
    """Whether somebody else holds it; else it is ours now."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _link(fresh: Path, path: Path) -> None:
    """Give the file its name as well, unless another one has it."""
    try:
        os.link(fresh, path)
    except OSError:
        if path.exists() or path.is_symlink():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        fresh.replace(path)  # a file system without links, as FAT
