"""A copy of the SQLite store that is consistent although the forwarder goes on writing."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from clima_core.errors import ConfigurationError, UnavailableError
from clima_core.files import hand_over, make_directory, sync_directory

FILE = "readings.sqlite"
TABLES = ("records", "deadletters")


def save(source: Path, target: Path) -> dict[str, int]:
    """Copy the store by SQLite's own backup, look the copy over, and count what is in it."""
    if not source.exists():
        raise ConfigurationError(f"{source}: no such file; nothing was stored there yet")
    target.unlink(missing_ok=True)
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        with (
            closing(sqlite3.connect(source, timeout=30)) as store,
            closing(sqlite3.connect(target)) as copy,
        ):
            # All at once: in steps it begins anew whenever the forwarder writes between two. Nobody
            # waits for it, as a reader of a write-ahead log keeps no writer out.
            store.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")  # one file, without a -wal beside it
    except sqlite3.Error as error:
        raise UnavailableError(f"{source}: cannot be copied: {error}") from error
    return counted(target)


def counted(path: Path) -> dict[str, int]:
    """How many rows each table has; ConfigurationError when the file is damaged or none of ours."""
    try:
        with closing(sqlite3.connect(path)) as store:
            (said,) = store.execute("PRAGMA quick_check(1)").fetchone()
            if said != "ok":
                raise ConfigurationError(f"{path}: is damaged: {said}")
            return {
                table: store.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608
                for table in TABLES
            }
    except sqlite3.Error as error:
        raise ConfigurationError(f"{path}: is not a store of Clima: {error}") from error


def holds(path: Path) -> int:
    """How much a store that may not be there holds."""
    return sum(counted(path).values()) if path.exists() and path.stat().st_size else 0


def restore(source: Path, target: Path) -> Path | None:
    """Put the copy in the store's place; returns where an earlier one was put."""
    make_directory(target.parent)
    fresh = target.with_name(f".{target.name}.{os.getpid()}")
    with fresh.open("wb") as out, source.open("rb") as file:
        while block := file.read(1 << 20):
            out.write(block)
        out.flush()
        hand_over(fresh, target.parent)
        os.fsync(out.fileno())
    kept = None
    if target.exists():
        kept = target.with_name(f"{target.name}.replaced-{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
        for suffix in ("-wal", "-shm", ""):  # a log of the old file must not meet the new one
            old = target.with_name(target.name + suffix)
            if old.exists():
                old.replace(kept.with_name(kept.name + suffix))
    fresh.replace(target)
    sync_directory(target.parent)
    return kept
