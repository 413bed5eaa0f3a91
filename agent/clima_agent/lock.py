"""One agent per spool: a lock that the system lets go of when the process ends, however it ends."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clima_core.errors import UnavailableError

if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _locked(descriptor: int) -> bool:
    try:
        _lock(descriptor)
    except OSError:
        return False
    return True


@contextmanager
def exclusive(path: Path, patience_s: float = 0.0) -> Iterator[None]:
    """Hold the lock; `UnavailableError` when another process does, or where there can be none.

    With patience: `clima-agent status` holds it for a moment, only to see whether it can.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise UnavailableError(f"{path}: {error.strerror}; may clima-agent write here?") from error
    try:
        deadline = time.monotonic() + patience_s
        while not _locked(descriptor):
            if time.monotonic() >= deadline:
                raise UnavailableError(
                    f"{path.parent}: another clima-agent runs on this spool; stop it first, or"
                    " give this one another spool.directory"
                )
            time.sleep(0.05)
        yield
    finally:
        os.close(descriptor)
