"""Files with an owner and a mode, there whole or not at all, and touched only when they differ."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import NamedTuple

from clima_core.errors import UnavailableError
from clima_core.files import sync_directory


class Owner(NamedTuple):
    """Whose a file is, by number: the images' users have no names on the host."""

    uid: int
    gid: int


class File(NamedTuple):
    """What is to be at `path`; the content shows in no repr, it may be secret."""

    path: Path
    content: bytes
    owner: Owner
    mode: int = 0o600

    def __repr__(self) -> str:
        return f"File({str(self.path)!r}, {self.owner}, {self.mode:o})"


def put(file: File) -> bool:
    """Have the file be there as it is said; False when it was already.

    Raises UnavailableError where that cannot be.
    """
    try:
        if _content(file.path) != file.content:
            _write(file)
        elif not _settle(file.path, file.owner, file.mode):
            return False
    except OSError as error:
        raise UnavailableError(f"{file.path}: cannot be written: {error.strerror}") from error
    return True


def directory(path: Path, owner: Owner, mode: int = 0o700) -> bool:
    """Have the directory be there with that owner and mode; False when it was already."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        return _settle(path, owner, mode)
    except OSError as error:
        raise UnavailableError(f"{path}: cannot be made: {error.strerror}") from error


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _write(file: File) -> None:
    """Beside its place, complete and with its owner, then renamed into it."""
    fresh = file.path.with_name(f".{file.path.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as out:
        out.write(file.content)
        out.flush()
        os.fsync(out.fileno())
    _settle(fresh, file.owner, file.mode)
    fresh.replace(file.path)
    sync_directory(file.path.parent)


def _settle(path: Path, owner: Owner, mode: int) -> bool:
    """Owner and mode as they should be; whoever is not root can have files of its own alone."""
    found = path.stat()
    changed = False
    if os.name == "posix" and os.geteuid() == 0 and (found.st_uid, found.st_gid) != owner:
        os.chown(path, *owner)
        changed = True
    if os.name == "posix" and (changed or stat.S_IMODE(found.st_mode) != mode):
        path.chmod(mode)
        changed = True
    return changed
