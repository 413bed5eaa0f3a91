"""The file: its tables, and the one thread that touches it, so that the event loop never waits.

    lanes          station, journal and stream under a number
    records        one row per record, whole, found by lane and sequence, or by lane and time
    deadletters    records that were refused, whole, with the reason
    reports        what a station last said of a lane, as JSON

What always holds: every write is a transaction with `synchronous=FULL`, so what is said to be
stored has been synced; and it is in the file that others find under that name. One that was deleted
or replaced can be written to for as long as it is open, and is gone then.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from clima_core.errors import ConfigurationError, UnavailableError

T = TypeVar("T")

VERSION = 1
SCHEMA = f"""
CREATE TABLE lanes (
    id INTEGER PRIMARY KEY,
    station TEXT NOT NULL, journal TEXT NOT NULL, stream TEXT NOT NULL,
    UNIQUE (station, journal, stream)
);
CREATE TABLE records (
    lane INTEGER NOT NULL REFERENCES lanes (id),
    sequence INTEGER NOT NULL,
    time INTEGER NOT NULL,  -- milliseconds since 1970, UTC
    body BLOB NOT NULL,
    PRIMARY KEY (lane, sequence)
);
CREATE INDEX records_by_time ON records (lane, time);
CREATE TABLE deadletters (
    lane INTEGER NOT NULL REFERENCES lanes (id),
    sequence INTEGER NOT NULL,
    received TEXT NOT NULL, reason TEXT NOT NULL, message TEXT NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (lane, sequence)
);
CREATE TABLE reports (
    lane INTEGER PRIMARY KEY REFERENCES lanes (id),
    reported INTEGER NOT NULL,  -- milliseconds since 1970, UTC
    report BLOB NOT NULL
);
PRAGMA user_version = {VERSION};
"""


class Database:
    """One file, used from one thread of its own."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sqlite")
        self._connection: sqlite3.Connection | None = None
        self._place: tuple[int, int] | None = None

    async def open(self, *, create: bool) -> None:
        """Open the file, and make it first if `create`; else a missing one is an error."""
        await self._run(self._open, create)

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` in a transaction of its own: all of it is stored, or none."""
        return await self._run(self._transaction, work)

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work`, which changes nothing."""
        return await self._run(self._reading, work)

    async def close(self) -> None:
        """Close the file; safe to call twice."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await asyncio.get_running_loop().run_in_executor(self._thread, connection.close)
        self._thread.shutdown()

    async def _run(self, work: Callable[..., T], *arguments: object) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)
        except sqlite3.Error as error:
            raise UnavailableError(f"{self._path}: {error}") from error

    def _open(self, create: bool) -> None:
        if create:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        elif not self._path.exists():
            raise ConfigurationError(f"{self._path}: no such file; nothing was stored there yet")
        connection = sqlite3.connect(self._path, isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA busy_timeout = 5000")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version == 0 and create:
            connection.executescript(f"BEGIN IMMEDIATE; {SCHEMA} COMMIT;")
        elif version != VERSION:
            connection.close()
            raise ConfigurationError(f"{self._path}: not a store of this version of Clima")
        self._connection, self._place = connection, _place(self._path)

    def _reading(self, work: Callable[[sqlite3.Connection], T]) -> T:
        result = work(self._connected())
        self._check_place()
        return result

    def _transaction(self, work: Callable[[sqlite3.Connection], T]) -> T:
        connection = self._connected()
        connection.execute("BEGIN IMMEDIATE")
        try:
            result = work(connection)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        self._check_place()
        return result

    def _check_place(self) -> None:
        """Look whether the file is where it was: afterwards, as what was done counts only then."""
        if _place(self._path) != self._place:
            raise UnavailableError(
                f"{self._path}: was deleted or replaced while in use: put it back, or restart"
            )

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            raise UnavailableError(f"{self._path} is not open")
        return self._connection


def _place(path: Path) -> tuple[int, int] | None:
    """Which file has this name; None: none has."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
