"""Room on the card: what leaves the spool when, and how to get out of a full disk.

Acknowledged records are kept for repair while they are young and there is room; then they go,
oldest first. Records that wait go only when the spool's own limit or the disk is reached and no
acknowledged ones are left: the oldest first, and each is kept account of.

A record and the account of it change in one transaction, so that no crash leaves one without the
other. Deleting needs a little room itself (the write-ahead log grows before the file has free
pages), so a ballast file lies beside the spool and is thrown overboard when the disk is full.

Others fill the disk, too, and may have its last byte when the spool is opened next. So what that
needs is always there: the ballast, or a log that has blocks of its own and holds nothing for which
the file would have to grow.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from clima_agent.spool import undated
from clima_agent.spool.books import Books
from clima_agent.spool.file import PAGE_BYTES, SpoolFile, SpoolFullError
from clima_agent.spool.ledger import Ledger
from clima_core.ranges import Ranges

BALLAST_BYTES = 2 * 1024 * 1024
LOG_BYTES = BALLAST_BYTES // 2  # what the log may need before it goes into the file
DAY_S = 86400
SLICE = 200  # records deleted in one transaction: bounds the log that it needs


@dataclass(frozen=True)
class Limits:
    """How much the spool may keep: in all, and of what is acknowledged already."""

    total_bytes: int = 1024**3
    acknowledged_bytes: int = 256 * 1024**2
    acknowledged_days: float = 7.0


def keep_within_limits(books: Books, limits: Limits) -> None:
    """Let acknowledged records go that are old or in the way, then waiting ones if need be."""
    _let_old_go(books, books.now().timestamp() - limits.acknowledged_days * DAY_S)
    while books.file.used_bytes > limits.acknowledged_bytes and _let_acknowledged_go(books):
        pass
    while books.file.used_bytes > limits.total_bytes and _give_up_waiting(books, "spool_full"):
        pass
    lay_ballast(books.file)
    limit_growth(books.file)


def limit_growth(file: SpoolFile) -> None:
    """Keep the file out of the last of the disk, as much as there is of it now.

    Where there is no ballast it grows in `steps` alone, which see to it that the log is moved.
    """
    if file.path != ":memory:":
        file.limit_growth(_room_to_grow(file) if _ballast(file.path).exists() else 0)


def loaded(file: SpoolFile, load: Callable[[], None]) -> None:
    """Load a spool; on a full disk with the ballast's room, and the log's own once it is empty."""
    try:
        load()
    except SpoolFullError:
        throw_ballast(file.path)
        file.begin_log_anew()
        load()


def steps(books: Books) -> Iterator[None]:
    """The disk is full: after each step there may be room. It ends when nothing is left to free.

    First what costs nothing: the log's own room, then the disk's, then the ballast's, but for what
    deletions need. Then slice after slice, of acknowledged records first.
    """
    file = books.file
    if _emptied_log(file):
        yield
    while True:
        if _may_grow(file):
            yield
        if not throw_ballast(file.path):
            break
    with suppress(SpoolFullError):
        while _let_acknowledged_go(books) or _give_up_waiting(books, "disk_full"):
            _emptied_log(file)
            yield


def settle(file: SpoolFile) -> None:
    """After the `steps`, and when a spool is opened: the next start has what it needs."""
    if file.path != ":memory:" and not _ballast(file.path).exists():
        _emptied_log(file)
        _reserve(_log(file.path), LOG_BYTES)
    limit_growth(file)


def lay_ballast(file: SpoolFile) -> None:
    """Have the ballast there, with real blocks behind it, where the disk has much room for it."""
    ballast = _ballast(file.path)
    if file.path == ":memory:" or ballast.exists():
        return
    if _free_bytes(file.path) < 4 * BALLAST_BYTES:
        return  # the spool itself has more use for it now
    try:
        ballast.write_bytes(os.urandom(BALLAST_BYTES))
    except OSError:
        with suppress(OSError):
            ballast.unlink()


def throw_ballast(path: Path | str) -> bool:
    """Give the ballast's room to the spool; whether there was one."""
    try:
        _ballast(path).unlink()
    except OSError:
        return False
    return True


def _emptied_log(file: SpoolFile) -> bool:
    """Whether what is in the log is in the file now, so that it begins anew in its own room."""
    try:
        return file.begin_log_anew()
    except SpoolFullError:
        return False


def _may_grow(file: SpoolFile) -> bool:
    """Let the file grow as far as the disk allows; whether that is any more."""
    if file.path == ":memory:" or (more := _room_to_grow(file)) < PAGE_BYTES:
        return False
    file.limit_growth(more)
    return True


def _room_to_grow(file: SpoolFile) -> int:
    """All the room there is, but for the log's."""
    log = _log(file.path)
    return _free_bytes(file.path) + (log.stat().st_size if log.exists() else 0) - LOG_BYTES


def _reserve(log: Path, size: int) -> None:
    """Give the log blocks for so many bytes, if the disk has them. They hold no frames yet."""
    if hasattr(os, "posix_fallocate"):  # on Windows and macOS, where no station is, there is none
        with suppress(OSError), log.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, size)


def _let_old_go(books: Books, cutoff: float) -> None:
    for ledger in books.ledgers.values():
        while oldest := _slice(books, ledger, ledger.acknowledged):
            if (books.file.recorded(ledger.number, oldest[1]) or 0) >= cutoff:
                break
            _delete(books, ledger, oldest)


def _let_acknowledged_go(books: Books) -> bool:
    for ledger in books.ledgers.values():
        if oldest := _slice(books, ledger, ledger.acknowledged):
            _delete(books, ledger, oldest)
            return True
    return False


def _give_up_waiting(books: Books, reason: str) -> bool:
    """Drop the oldest slice of the lane with the most waiting."""
    for ledger in sorted(books.ledgers.values(), key=lambda each: len(each.waiting), reverse=True):
        if oldest := _slice(books, ledger, ledger.waiting):
            _delete(books, ledger, oldest, reason)
            books.drop(ledger, Ranges([oldest]), reason)
            return True
    return undated.drop_oldest(books, reason)


def _slice(books: Books, ledger: Ledger, ranges: Ranges) -> tuple[int, int] | None:
    """The lowest of `ranges` that the file still holds, at most a slice; both ends are there."""
    for first, last in (ranges & books.file.held(ledger.number)).pairs:
        if there := books.file.held(ledger.number, first, last):
            lowest = there.pairs[0][0]
            return books.file.held(ledger.number, lowest, min(last, lowest + SLICE - 1)).pairs[0]
    return None


def _delete(
    books: Books, ledger: Ledger, oldest: tuple[int, int], given_up: str | None = None
) -> None:
    with books.file.transaction():
        # Whoever finds an acknowledged record again finds the store has it, too.
        books.file.delete(ledger.number, *oldest, erase=given_up is not None)
        books.save_account([(ledger.number, given_up, *oldest)] if given_up else [])


def _ballast(path: Path | str) -> Path:
    return Path(f"{path}.ballast")


def _log(path: Path | str) -> Path:
    return Path(f"{path}-wal")


def _free_bytes(path: Path | str) -> int:
    return shutil.disk_usage(Path(path).parent).free
