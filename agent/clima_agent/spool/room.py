"""Room on the card: what leaves the spool when, and how to get out of a full disk.

Acknowledged records are kept for repair while they are young and there is room; then they go,
oldest first. Records that wait go only when the spool's own limit or the disk is reached and no
acknowledged ones are left: the oldest first, and each is kept account of.

Deleting needs a little room itself (the write-ahead log grows before the file shrinks), so a
ballast file lies beside the spool and is thrown overboard when the disk is full.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from clima_core.ranges import Ranges

if TYPE_CHECKING:
    from clima_agent.spool.ledger import Ledger
    from clima_agent.spool.spool import Spool

BALLAST_BYTES = 512 * 1024
SLICE = 200  # records deleted in one transaction: bounds the log that it needs


@dataclass(frozen=True)
class Limits:
    """How much the spool may keep: in all, and of what is acknowledged already."""

    total_bytes: int = 1024**3
    acknowledged_bytes: int = 256 * 1024**2
    acknowledged_days: float = 7.0


def keep_within_limits(spool: Spool) -> None:
    """Let acknowledged records go that are old or in the way, then waiting ones if need be."""
    limits = spool.limits
    _let_old_go(spool, (spool.now() - timedelta(days=limits.acknowledged_days)).timestamp())
    while spool.file.used_bytes > limits.acknowledged_bytes and _let_acknowledged_go(spool):
        pass
    while spool.file.used_bytes > limits.total_bytes and _give_up_waiting(spool, "spool_full"):
        pass
    _lay_ballast(spool.file.path)


def make_room(spool: Spool) -> bool:
    """The disk is full: free a slice, of acknowledged records first. False: nothing to free."""
    with suppress(OSError):
        _ballast(spool.file.path).unlink()
    freed = _let_acknowledged_go(spool) or _give_up_waiting(spool, "disk_full")
    spool.file.checkpoint()
    return freed


def _let_old_go(spool: Spool, cutoff: float) -> None:
    for ledger in spool.ledgers.values():
        while oldest := _slice(spool, ledger, ledger.acknowledged):
            if (spool.file.recorded(ledger.number, oldest[1]) or 0) >= cutoff:
                break
            _delete(spool, ledger, oldest)


def _let_acknowledged_go(spool: Spool) -> bool:
    for ledger in spool.ledgers.values():
        if oldest := _slice(spool, ledger, ledger.acknowledged):
            _delete(spool, ledger, oldest)
            return True
    return False


def _give_up_waiting(spool: Spool, reason: str) -> bool:
    """Drop the oldest slice of the lane with the most waiting."""
    ledger = max(spool.ledgers.values(), key=lambda ledger: len(ledger.waiting))
    if not (oldest := _slice(spool, ledger, ledger.waiting)):
        return False
    _delete(spool, ledger, oldest)
    spool.drop(ledger, Ranges([oldest]), reason)
    return True


def _slice(spool: Spool, ledger: Ledger, ranges: Ranges) -> tuple[int, int] | None:
    """The lowest run of `ranges` that the file still holds, at most a slice of it."""
    held = ranges & spool.file.held(ledger.number)
    if not held:
        return None
    first, last = held.pairs[0]
    return first, min(last, first + SLICE - 1)


def _delete(spool: Spool, ledger: Ledger, oldest: tuple[int, int]) -> None:
    with spool.file.transaction():
        spool.file.delete(ledger.number, *oldest)


def _ballast(path: Path | str) -> Path:
    return Path(f"{path}.ballast")


def _lay_ballast(path: Path | str) -> None:
    """Have the ballast there, with real blocks behind it, where the disk has room for it."""
    ballast = _ballast(path)
    if str(path) == ":memory:" or ballast.exists():
        return
    try:
        ballast.write_bytes(os.urandom(BALLAST_BYTES))
    except OSError:
        with suppress(OSError):
            ballast.unlink()
