"""The spool's SQLite file: format, transactions and damage; no policy.

`record.id` is `lane << 48 | sequence`, so each lane grows at its own end of the tree and a batch
is one range scan. `record.checksum` is the CRC-32 of the body, begun with the low half of the
id, so that neither a rotten body nor one under a wrong number passes. Pages of 1 kB hold one
record: at a reading per 10 s they cost the card about half the bytes that 4 kB pages do.

WAL mode. A plain transaction is written to the log and survives the death of the process; a
durable one is flushed too, and its flush covers every transaction before it.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from clima_core.errors import ClimaError, UnavailableError
from clima_core.identity import Lane
from clima_core.ranges import Ranges

FORMAT = 1
PAGE_BYTES = 1024
SHIFT = 48
_SCHEMA = f"""
BEGIN;
CREATE TABLE lane (number INTEGER PRIMARY KEY, journal TEXT NOT NULL, stream TEXT NOT NULL,
                   since TEXT NOT NULL, adopted INTEGER NOT NULL, never_sent_from INTEGER,
                   UNIQUE (journal, stream));
CREATE TABLE record (id INTEGER PRIMARY KEY, recorded INTEGER NOT NULL,
                     checksum INTEGER NOT NULL, body BLOB NOT NULL);
CREATE TABLE settled (lane INTEGER, how TEXT, first INTEGER, last INTEGER NOT NULL,
                      PRIMARY KEY (lane, how, first)) WITHOUT ROWID;
PRAGMA user_version = {FORMAT};
COMMIT;
"""
_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_DAMAGED_READS = {
    sqlite3.SQLITE_IOERR_READ,
    sqlite3.SQLITE_IOERR_SHORT_READ,
    sqlite3.SQLITE_IOERR_CORRUPTFS,
}


class SpoolDamagedError(ClimaError):
    """The spool's file is damaged: `recover` puts it aside and saves what can be read."""


class SpoolFullError(ClimaError):
    """The file system has no room for what was to be written; nothing of it was."""


class LaneRow(NamedTuple):
    """A lane as the file has it; see `Ledger` for the meaning."""

    number: int
    lane: Lane
    since: datetime
    adopted: bool
    never_sent_from: int | None


def checksum(record_id: int, body: bytes) -> int:
    """The CRC-32 that is stored with a record."""
    return zlib.crc32(body, record_id & 0xFFFFFFFF)


class SpoolFile:
    """An open spool file, used by one thread; every method may raise `SpoolDamagedError`."""

    def __init__(self, path: Path | str, *, read_only: bool = False) -> None:
        """Open or make the file. `UnavailableError` when that cannot be, with the reason.

        Read-only it may be looked at while its owner is at work.
        """
        self.path = path
        try:
            with self._translated():
                if read_only:
                    uri = f"{Path(path).absolute().as_uri()}?mode=ro"
                    self._connection = sqlite3.connect(uri, uri=True, isolation_level=None)
                    return
                self._connection = sqlite3.connect(path, isolation_level=None)
                self._connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
                self._connection.execute("PRAGMA journal_mode = WAL")
                self._connection.execute("PRAGMA synchronous = NORMAL")
                self._check()
        except sqlite3.Error as error:
            raise UnavailableError(f"{path}: {error}; is the folder writable?") from error

    def close(self) -> None:
        self._connection.close()

    # -- transactions ----------------------------------------------------------------------

    @contextmanager
    def transaction(self, *, durable: bool = False) -> Iterator[None]:
        """All or nothing. Raises `SpoolFullError` when the disk is, with nothing changed."""
        with self._translated():
            self._connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def checkpoint(self) -> None:
        """Move the write-ahead log into the file, as far as the disk has room."""
        with self._translated():
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    @property
    def used_bytes(self) -> int:
        """Bytes of the file that hold something."""
        return (self._pragma("page_count") - self._pragma("freelist_count")) * PAGE_BYTES

    # -- lanes -----------------------------------------------------------------------------

    def lanes(self) -> list[LaneRow]:
        """Every lane, in the order of their making."""
        rows = self._all(
            "SELECT number, journal, stream, since, adopted, never_sent_from "
            "FROM lane ORDER BY number"
        )
        return [
            LaneRow(number, Lane(journal, stream), datetime.fromisoformat(since), bool(adopted), n)
            for number, journal, stream, since, adopted, n in rows
        ]

    def add_lane(self, row: LaneRow) -> None:
        self._all(
            "INSERT INTO lane VALUES (?, ?, ?, ?, ?, ?)",
            (row.number, *row.lane, row.since.isoformat(), row.adopted, row.never_sent_from),
        )

    def set_never_sent_from(self, number: int, sequence: int | None) -> None:
        self._all("UPDATE lane SET never_sent_from = ? WHERE number = ?", (sequence, number))

    def settled(self, number: int) -> Iterator[tuple[str, Ranges]]:
        """What was written down as settled: how, and which sequences."""
        for how, first, last in self._all(
            "SELECT how, first, last FROM settled WHERE lane = ?", (number,)
        ):
            yield how, Ranges([(first, last)])

    def save_settled(self, rows: Iterable[tuple[int, str, int, int]]) -> None:
        """Replace what is written down as settled by rows of lane, how, first, last."""
        self._all("DELETE FROM settled")
        self._connection.executemany("INSERT INTO settled VALUES (?, ?, ?, ?)", rows)

    # -- records ---------------------------------------------------------------------------

    def insert(self, number: int, first: int, recorded: int, bodies: Iterable[bytes]) -> None:
        """Put records into a lane, numbered from `first`."""
        ids = enumerate(bodies, number << SHIFT | first)
        self._connection.executemany(
            "INSERT OR IGNORE INTO record VALUES (?, ?, ?, ?)",
            ((id_, recorded, checksum(id_, body), body) for id_, body in ids),
        )

    def bodies(self, number: int, first: int, last: int) -> Iterator[bytes]:
        """The bodies from `first` on, up to the first that is missing or fails its checksum."""
        expected = number << SHIFT | first
        with self._translated():
            for id_, stored, body in self._connection.execute(
                "SELECT id, checksum, body FROM record WHERE id BETWEEN ? AND ? ORDER BY id",
                _span(number, first, last),
            ):
                if id_ != expected or checksum(id_, body) != stored:
                    return
                yield body
                expected += 1

    def sequences(self, number: int, first: int, last: int) -> Iterator[int]:
        """The sequences of a lane that are there."""
        with self._translated():
            for (id_,) in self._connection.execute(
                "SELECT id FROM record WHERE id BETWEEN ? AND ? ORDER BY id",
                _span(number, first, last),
            ):
                yield id_ - (number << SHIFT)

    def held(self, number: int) -> Ranges:
        """From the lowest to the highest sequence that is there."""
        span = _span(number, 0, 2**SHIFT - 1)
        first, last = self._all(
            "SELECT (SELECT min(id) FROM record WHERE id BETWEEN ? AND ?),"
            "       (SELECT max(id) FROM record WHERE id BETWEEN ? AND ?)",
            (*span, *span),
        )[0]
        base = number << SHIFT
        return Ranges() if first is None else Ranges([(first - base, last - base)])

    def recorded(self, number: int, sequence: int) -> int | None:
        """When a record was appended, in seconds since 1970."""
        rows = self._all("SELECT recorded FROM record WHERE id = ?", (number << SHIFT | sequence,))
        return rows[0][0] if rows else None

    def delete(self, number: int, first: int, last: int) -> None:
        self._all("DELETE FROM record WHERE id BETWEEN ? AND ?", _span(number, first, last))

    # -- inside ----------------------------------------------------------------------------

    def _check(self) -> None:
        version = self._pragma("user_version")
        if version > FORMAT:
            raise UnavailableError(
                f"{self.path}: made by a newer clima-agent (format {version}); upgrade clima"
            )
        if version == 0:
            self._connection.executescript(_SCHEMA)
        elif self._all("PRAGMA quick_check(1)") != [("ok",)]:
            raise SpoolDamagedError(f"{self.path}: SQLite's quick_check found damage")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn SQLite's words for damage and for a full disk into ours."""
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0)
            if code & 0xFF in _DAMAGE or code in _DAMAGED_READS:
                raise SpoolDamagedError(f"{self.path}: {error}") from error
            if code & 0xFF == sqlite3.SQLITE_FULL:
                raise SpoolFullError(f"{self.path}: {error}") from error
            raise

    def _all(self, statement: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        with self._translated():
            return self._connection.execute(statement, values).fetchall()

    def _pragma(self, name: str) -> int:
        return int(self._all(f"PRAGMA {name}")[0][0])


def _span(number: int, first: int, last: int) -> tuple[int, int]:
    return number << SHIFT | first, number << SHIFT | last
