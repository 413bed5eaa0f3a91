"""The spool's SQLite file: format, transactions and damage; no policy.

`record.id` is `lane << 48 | sequence`, so each lane grows at its own end of the tree and a batch
is one range scan. `record.checksum` is the CRC-32 of the body, begun with that of the id, so that
neither a rotten body nor one under a wrong number passes; the rows of the account have checksums
too, because a rotten one would say that records are stored which nobody was sent. Pages of 1 kB
hold one record: at a reading per 10 s they cost the card two thirds of what 4 kB pages do
(docs/benchmarks.md).

The version of the format is in `user_version`: the major in its lowest byte, the minor in the next.
A minor may add tables, indices, words for how a sequence was settled, fields of undated records;
nothing else. Who does not know them leaves them alone, so an agent that is put back by a version
finds its spool. A newer major is refused: nothing is guessed, nothing written. Where an upper byte
is not zero, that is no version but damage.

WAL mode. A plain transaction is written to the log and survives the death of the process; a
durable one is flushed too, and its flush covers every transaction before it.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from clima_agent.spool import wal
from clima_core.errors import ClimaError, UnavailableError
from clima_core.identity import Lane
from clima_core.ranges import Pair, Ranges

MAJOR, MINOR = 1, 0
FORMAT = MINOR << 8 | MAJOR
PAGE_BYTES = wal.PAGE_BYTES
SHIFT = 48
_SCHEMA = f"""
BEGIN;
CREATE TABLE lane (number INTEGER PRIMARY KEY, journal TEXT NOT NULL, stream TEXT NOT NULL,
                   since TEXT NOT NULL, adopted INTEGER NOT NULL, never_sent_from INTEGER,
                   checksum INTEGER NOT NULL, UNIQUE (journal, stream));
CREATE TABLE record (id INTEGER PRIMARY KEY, recorded INTEGER NOT NULL,
                     checksum INTEGER NOT NULL, body BLOB NOT NULL);
CREATE TABLE settled (lane INTEGER, how TEXT, first INTEGER, last INTEGER NOT NULL,
                      checksum INTEGER NOT NULL, PRIMARY KEY (lane, how, first)) WITHOUT ROWID;
PRAGMA user_version = {FORMAT};
COMMIT;
"""
_MOST_PAGES = 2**32 - 2  # SQLite's own limit
_MOST_FORMAT = 0xFFFF
_LATEST = 2**34  # seconds since 1970 that a record may claim: the year 2514
# A constraint that does not hold means that the account and the records disagree.
_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CONSTRAINT}
_DAMAGED_READS = {
    sqlite3.SQLITE_IOERR_READ,
    sqlite3.SQLITE_IOERR_SHORT_READ,
    sqlite3.SQLITE_IOERR_CORRUPTFS,
}
_FULL = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE}


class SpoolDamagedError(ClimaError):
    """The spool's file is damaged: `recover` puts it aside and saves what can be read."""


class SpoolFullError(UnavailableError):
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
    return zlib.crc32(body, zlib.crc32(record_id.to_bytes(8, "big")))


def row_checksum(*values: object) -> int:
    """The CRC-32 that is stored with a row of the account."""
    return zlib.crc32(repr(values).encode())


class SpoolFile:
    """An open spool file, used by one thread; every method may raise `SpoolDamagedError`."""

    def __init__(self, path: Path | str, *, read_only: bool = False) -> None:
        """Open or make the file. `UnavailableError` when that cannot be, with the reason.

        Read-only it may be looked at while its owner is at work.
        """
        self.path = path
        self._damaged = False  # it has shown itself to be
        self._identity: tuple[int, int] | None = None  # of what was opened to be written
        if read_only:
            self._connection = self._reader()
        elif path != ":memory:" and wal.only_log_is_left(Path(path)):
            raise SpoolDamagedError(f"{path}: is gone, and its write-ahead log is not")
        elif path != ":memory:" and wal.is_rotten(Path(f"{path}-wal")):
            SpoolFile(path, read_only=True).close()  # refuses a newer one, and leaves the log alone
            raise SpoolDamagedError(f"{path}: its write-ahead log is damaged")
        else:
            self._connection = self._connect(path)
        try:
            self._refuse_newer()
            if not read_only:
                self._all(f"PRAGMA page_size = {PAGE_BYTES}")
                self._all("PRAGMA journal_mode = WAL")
                self._check()
                self._identity = self._lies_there()
        except BaseException:
            self.close()  # or it would be closed later, and remove the log of its successor
            raise

    def close(self) -> None:
        """Close it. A damaged one is left as it is, log and all, for `salvage.py`.

        Whoever closes it last would empty the log into it, or what SQLite can read of that; unless
        that is somebody who may only read. Where it lies no more, SQLite must not find its log.
        """
        with ExitStack() as stack:
            if self._taken_away():
                log, hidden = Path(f"{self.path}-wal"), Path(f"{self.path}-wal.left")
                with suppress(OSError):
                    log.rename(hidden)
                    stack.callback(hidden.rename, log)
            elif self._damaged:
                with suppress(ClimaError, sqlite3.Error):
                    reader = stack.enter_context(closing(self._reader()))
                    reader.execute("PRAGMA user_version")
            self._connection.close()

    # -- transactions ----------------------------------------------------------------------

    @contextmanager
    def transaction(self, *, durable: bool = False) -> Iterator[None]:
        """All or nothing. Raises `SpoolFullError` when the disk is, with nothing changed.

        A durable one in a file that was taken away would be for nobody: it counts as damaged.
        """
        if durable and self._taken_away():
            raise self._damage("was taken away or replaced while it was in use")
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
        """Move the write-ahead log into the file and empty it."""
        self._all("PRAGMA wal_checkpoint(TRUNCATE)")

    def begin_log_anew(self) -> bool:
        """Move the log into the file, so that it begins at its head; whether that was done.

        It keeps its blocks: on a full disk they may be all the room that there is.
        """
        ((busy, frames, moved),) = self._all("PRAGMA wal_checkpoint(RESTART)")
        return bool(moved > 0 and moved == frames and not busy)

    @property
    def used_bytes(self) -> int:
        """Bytes of the file that hold something."""
        return (self._pragma("page_count") - self._pragma("freelist_count")) * PAGE_BYTES

    def forgive_truncation(self) -> None:
        """Read on in a file that is shorter than its header says, which SQLite refuses else.

        The account lies near the beginning, and knows of the records that are gone.
        """
        self._all("PRAGMA writable_schema = ON")

    def limit_growth(self, more_bytes: int) -> None:
        """From now on the file may grow by so much; beyond that it counts as full."""
        pages = self._pragma("page_count") + max(0, more_bytes) // PAGE_BYTES
        self._all(f"PRAGMA max_page_count = {min(pages, _MOST_PAGES)}")

    # -- lanes -----------------------------------------------------------------------------

    def lanes(self) -> list[LaneRow]:
        """Every lane, in the order of their making."""
        return [
            LaneRow(number, Lane(journal, stream), datetime.fromisoformat(since), bool(adopted), n)
            for number, journal, stream, since, adopted, n in self._checked(
                "SELECT number, journal, stream, since, adopted, never_sent_from, checksum "
                "FROM lane ORDER BY number"
            )
        ]

    def put_lane(self, row: LaneRow) -> None:
        """Add a lane, or change one."""
        number, lane, since, adopted, never_sent_from = row
        values = (number, *lane, since.isoformat(), int(adopted), never_sent_from)
        self._all(
            "INSERT OR REPLACE INTO lane VALUES (?, ?, ?, ?, ?, ?, ?)",
            (*values, row_checksum(*values)),
        )

    def settled(self, number: int) -> Iterator[tuple[str, Ranges]]:
        """What was written down of a lane: how, and which sequences."""
        for _, how, first, last in self._checked(
            "SELECT lane, how, first, last, checksum FROM settled WHERE lane = ?", (number,)
        ):
            yield how, Ranges([(first, last)])

    def save_settled(self, rows: Iterable[tuple[int, str, int, int]]) -> None:
        """Replace what is written down by rows of lane, how, first, last."""
        self._all("DELETE FROM settled")
        self._connection.executemany(
            "INSERT INTO settled VALUES (?, ?, ?, ?, ?)",
            ((*row, row_checksum(*row)) for row in rows),
        )

    # -- records ---------------------------------------------------------------------------

    def insert(
        self, number: int, first: int, recorded: int, bodies: Iterable[bytes | None]
    ) -> None:
        """Put records into a lane, numbered from `first`; none of them may be there.

        None for a body leaves its number out. In the caller's transaction.
        """
        ids = enumerate(bodies, number << SHIFT | first)
        rows = ((id_, recorded, checksum(id_, body), body) for id_, body in ids if body is not None)
        self._connection.executemany("INSERT INTO record VALUES (?, ?, ?, ?)", rows)

    def insert_if_missing(self, number: int, sequence: int, recorded: int, body: bytes) -> bool:
        """Put one record into a lane; False when there is one of that number."""
        id_ = number << SHIFT | sequence
        rows = self._all(
            "INSERT OR IGNORE INTO record VALUES (?, ?, ?, ?) RETURNING id",
            (id_, recorded, checksum(id_, body), body),
        )
        return bool(rows)

    def bodies(self, number: int, first: int, last: int) -> Iterator[bytes]:
        """The bodies from `first` on, up to the first that is missing or fails its checksum."""
        expected = first
        for sequence, body in self.readable(number, first, last):
            if sequence != expected:
                return
            yield body
            expected += 1

    def readable(self, number: int, first: int, last: int) -> Iterator[tuple[int, bytes]]:
        """Sequences and bodies of all records whose checksum holds, in order."""
        with self._translated():
            for id_, stored, body in self._connection.execute(
                "SELECT id, checksum, body FROM record WHERE id BETWEEN ? AND ? ORDER BY id",
                _span(number, first, last),
            ):
                if checksum(id_, body) == stored:
                    yield id_ - (number << SHIFT), body

    def runs(self, number: int, first: int = 0, last: int = 2**SHIFT - 1) -> Iterator[Pair]:
        """The sequences of a lane that are there, as runs without a hole."""
        begun = previous = None
        with self._translated():
            for (id_,) in self._connection.execute(
                "SELECT id FROM record WHERE id BETWEEN ? AND ? ORDER BY id",
                _span(number, first, last),
            ):
                sequence = id_ - (number << SHIFT)
                if begun is None or previous is None:
                    begun = sequence
                elif sequence != previous + 1:
                    yield begun, previous
                    begun = sequence
                previous = sequence
        if begun is not None and previous is not None:
            yield begun, previous

    def held(self, number: int, first: int = 0, last: int = 2**SHIFT - 1) -> Ranges:
        """From the lowest to the highest of a lane's sequences `first..last` that is there."""
        span = _span(number, first, last)
        lowest, highest = self._all(
            "SELECT (SELECT min(id) FROM record WHERE id BETWEEN ? AND ?),"
            "       (SELECT max(id) FROM record WHERE id BETWEEN ? AND ?)",
            (*span, *span),
        )[0]
        base = number << SHIFT
        return Ranges() if lowest is None else Ranges([(lowest - base, highest - base)])

    def recorded(self, number: int, sequence: int) -> int | None:
        """When a record was appended, in seconds since 1970; None where that cannot be known."""
        rows = self._all("SELECT recorded FROM record WHERE id = ?", (number << SHIFT | sequence,))
        return credible(rows[0][0]) if rows else None

    def delete(self, number: int, first: int, last: int, *, erase: bool = True) -> None:
        """Let records go. Where they need not be erased their pages are freed as they are.

        That halves what a deletion writes; salvage may find such records again.
        """
        self._all(f"PRAGMA secure_delete = {'ON' if erase else 'FAST'}")
        self._all("DELETE FROM record WHERE id BETWEEN ? AND ?", _span(number, first, last))

    # -- inside ----------------------------------------------------------------------------

    def _check(self) -> None:
        version = self._pragma("user_version")
        if version == 0 and not self._all("SELECT name FROM sqlite_schema"):
            with self._translated():
                self._connection.executescript(_SCHEMA)
            return
        known = version & 0xFF == MAJOR and version <= _MOST_FORMAT
        if not known or self._all("PRAGMA quick_check(1)") != [("ok",)]:
            raise self._damage("SQLite's quick_check found damage")

    def _lies_there(self) -> tuple[int, int] | None:
        """Which file has the path now; none, or what was opened where that cannot be told."""
        try:
            found = Path(self.path).stat()
        except OSError as error:
            return None if isinstance(error, FileNotFoundError) else self._identity
        return found.st_dev, found.st_ino

    def _taken_away(self) -> bool:
        """Whether it lies no longer where it was opened."""
        return self._identity is not None and self._identity != self._lies_there()

    def _refuse_newer(self) -> None:
        try:
            version = self._pragma("user_version")
        except SpoolDamagedError:  # not even that can be read: who opens it to write finds out
            return
        if version <= _MOST_FORMAT and version & 0xFF > MAJOR:
            raise UnavailableError(
                f"{self.path}: made by a newer clima-agent (format {version & 0xFF}.{version >> 8},"
                f" this one knows {MAJOR}.{MINOR}): go on with that one, or give this one another"
                " spool.directory"
            )

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn SQLite's words for damage, for a full disk and for the rest into ours."""
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0)
            # without a code it is Python that could not read a text: it is not UTF-8 any more
            no_text = code == 0 and isinstance(error, sqlite3.OperationalError)
            if no_text or code & 0xFF in _DAMAGE or code in _DAMAGED_READS:
                raise self._damage(error) from error
            if code in _FULL:
                raise SpoolFullError(f"{self.path}: the disk is full: {error}") from error
            if isinstance(error, sqlite3.ProgrammingError):
                raise  # ours, not the disk's
            raise UnavailableError(
                f"{self.path}: {error}; does the disk work, and may clima-agent write there?"
            ) from error

    def _damage(self, what: object) -> SpoolDamagedError:
        self._damaged = True
        return SpoolDamagedError(f"{self.path}: {what}")

    def _reader(self) -> sqlite3.Connection:
        return self._connect(f"{Path(self.path).absolute().as_uri()}?mode=ro", uri=True)

    def _connect(self, name: Path | str, *, uri: bool = False) -> sqlite3.Connection:
        with self._translated():
            return sqlite3.connect(name, uri=uri, isolation_level=None)

    def _checked(self, query: str, values: tuple[object, ...] = ()) -> Iterator[tuple[Any, ...]]:
        """Rows of the account, whose last column is their checksum."""
        for *row, stored in self._all(query, values):
            if row_checksum(*row) != stored:
                raise self._damage("a row of its account is damaged")
            yield tuple(row)

    def _all(self, statement: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        with self._translated():
            return self._connection.execute(statement, values).fetchall()

    def _pragma(self, name: str) -> int:
        return int(self._all(f"PRAGMA {name}")[0][0])


def credible(recorded: object) -> int | None:
    """A record's time if it can be one: no checksum guards it."""
    return recorded if isinstance(recorded, int) and 0 <= recorded < _LATEST else None


def _span(number: int, first: int, last: int) -> tuple[int, int]:
    return number << SHIFT | first, number << SHIFT | last
