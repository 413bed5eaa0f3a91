"""Tells the agent that runs on a spool that its configuration has changed.

The process is found by the lock that it holds, as the kernel lists it. It is told only where it
listens: on a terminal it does not, and SIGHUP would end it.
"""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

LOCKS = Path("/proc/locks")
_LOCK = re.compile(r"^\d+: FLOCK\s+ADVISORY\s+WRITE (\d+) [0-9a-f]+:[0-9a-f]+:(\d+) ", re.MULTILINE)
_CAUGHT = re.compile(r"^SigCgt:\s*([0-9a-f]+)$", re.MULTILINE)


def reload(lock: Path) -> bool:
    """Whether the agent that holds this lock was told to read its configuration anew."""
    process = _holder(lock)
    if process is None or not _listens(process):
        return False
    try:
        os.kill(process, signal.SIGHUP)
    except OSError:
        return False
    return True


def _holder(lock: Path) -> int | None:
    try:
        inode, listed = lock.stat().st_ino, LOCKS.read_text("ascii")
    except OSError:
        return None
    holders = (int(process) for process, node in _LOCK.findall(listed) if int(node) == inode)
    return next((process for process in holders if process > 0), None)


def _listens(process: int) -> bool:
    try:
        status = Path(f"/proc/{process}/status").read_text("utf-8", "replace")
    except OSError:
        return False
    caught = _CAUGHT.search(status)
    return bool(caught and int(caught[1], 16) >> (signal.SIGHUP - 1) & 1)
