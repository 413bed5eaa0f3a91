"""Reading records out of a spool file that SQLite calls malformed.

A damaged tree hides whole records behind one bad page, so the tree is not followed: every page
of the file and of its write-ahead log is looked at by itself, and each leaf cell that looks
like a record is believed only if the record's own checksum says so. The layout of pages and cells
is SQLite's published file format (https://sqlite.org/fileformat2.html, 1.6 and 2.1), that of the
log is in `wal.py`; nothing is ever written to the damaged file.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import msgspec

from clima_agent.spool import undated, wal
from clima_agent.spool.file import (
    PAGE_BYTES,
    SHIFT,
    SpoolFile,
    checksum,
    credible,
    row_checksum,
)
from clima_agent.spool.ledger import ASSIGNED, UNDATED
from clima_core.errors import ClimaError
from clima_core.files import sync_directory
from clima_core.identity import STREAMS, Lane
from clima_core.ranges import Ranges
from clima_core.wire import MAX_RECORD_BYTES

_LEAF, _INDEX_LEAF = 0x0D, 0x0A
_LONGEST_PAYLOAD = MAX_RECORD_BYTES + 100  # a body, and the columns before it
_MOST_LOCAL = PAGE_BYTES - 35
_LEAST_LOCAL = (PAGE_BYTES - 12) * 32 // 255 - 23


class Salvaged(NamedTuple):
    """A record that is whole; without a lane it has no date yet."""

    lane: Lane | None
    sequence: int
    recorded: int
    body: bytes


class _Identity(msgspec.Struct):
    id: str


class _Identified(msgspec.Struct):
    event: _Identity


class Account(NamedTuple):
    """What was written down of a lane: when it began, and what became of which sequences."""

    lane: Lane
    since: datetime
    settled: list[tuple[str, Ranges]]


class Accounts(NamedTuple):
    """What was written down of all lanes, and the last undated record that was numbered."""

    lanes: list[Account]
    dated: int


_COMPANIONS = ("-wal", "-shm", "")  # the file last: while it is there, nothing is done yet


def begin(path: Path) -> Path:
    """Where to build the successor of a damaged file; what an earlier attempt left there goes."""
    building = Path(f"{path}.building")
    for suffix in (*_COMPANIONS, ".ballast"):
        Path(f"{building}{suffix}").unlink(missing_ok=True)
    return building


def commit(building: Path) -> None:
    """From here on the new spool counts, and no longer the damaged file."""
    building.rename(building.with_suffix(".rebuilt"))
    sync_directory(building.parent)


def finish(path: Path) -> Path | None:
    """Put the new spool of a committed recovery in place of the damaged file, which goes aside.

    Returns where the damaged file lies now; None when there was nothing to finish.
    """
    rebuilt = Path(f"{path}.rebuilt")
    if not rebuilt.exists():
        return None
    aside = path.with_name(f"{path.stem}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%S%f}{path.suffix}")
    for suffix in _COMPANIONS:
        companion = Path(f"{path}{suffix}")
        if companion.exists():
            companion.rename(f"{aside}{suffix}")
    rebuilt.rename(path)
    sync_directory(path.parent)
    return aside


def accounts(damaged: Path) -> Accounts:
    """What the damaged file says became of its records, if all of that can be read."""
    dated = _dated(damaged)
    if wal.only_log_is_left(damaged):
        return Accounts([], dated)
    try:
        with closing(SpoolFile(damaged, read_only=True)) as file:
            file.forgive_truncation()
            lanes = [
                Account(row.lane, row.since, list(file.settled(row.number))) for row in file.lanes()
            ]
            return Accounts(lanes, max(dated, undated.dated(file)))
    except (ClimaError, ValueError, TypeError):
        # then everything salvaged waits, and the forwarder knows what it has
        return Accounts([], dated)


def _dated(damaged: Path) -> int:
    """The last undated record that was numbered, by any image of the account: that only grows.

    SQLite may not read that any more, and the pages with those records may be older than it.
    """
    with ExitStack() as stack:
        file, log = _file_and_log(damaged, stack)
        pages = (wal.read(file, at, PAGE_BYTES) for at in range(0, wal.size(file), PAGE_BYTES))
        images = chain(pages, (frame.image for frame in wal.frames(log)))
        return max((last for image in images for last in _said(image)), default=0)


def records(damaged: Path, station: str) -> Iterator[Salvaged]:
    """Every whole record of `station` in the file or its log, in no order, some repeatedly.

    Of those without a date, only what the newest image of a page holds: they are erased when they
    are dated, and an older image in the file or the log does not know that yet.
    """
    with ExitStack() as stack:
        pages = _Pages(*_file_and_log(damaged, stack))
        for page, newest in pages:
            for record_id, recorded, body in _cells(page, pages):
                record = _identified(record_id, recorded, body, station)
                if record and (newest or record.lane):
                    yield record


def _file_and_log(damaged: Path, stack: ExitStack) -> tuple[BinaryIO | None, BinaryIO | None]:
    return _opened(damaged, stack), _opened(Path(f"{damaged}-wal"), stack)


def _opened(path: Path, stack: ExitStack) -> BinaryIO | None:
    """Not buffered: what cannot be read must not take its neighbours with it."""
    return stack.enter_context(path.open("rb", buffering=0)) if path.exists() else None


def _identified(record_id: int, recorded: int, body: bytes, station: str) -> Salvaged | None:
    if record_id >> SHIFT == UNDATED:
        return Salvaged(None, record_id, credible(recorded) or 0, body)
    try:
        name, journal, stream, sequence = msgspec.json.decode(
            body, type=_Identified
        ).event.id.split(":")
    except (ValueError, msgspec.MsgspecError):
        return None
    if name != station or stream not in STREAMS or int(sequence) != record_id & (1 << SHIFT) - 1:
        return None
    return Salvaged(Lane(journal, stream), int(sequence), credible(recorded) or 0, body)


class _Pages:
    """The newest image of each page by number; by iteration all, each with whether it is that.

    One page is in memory at a time: a spool may be as large as a Pi's memory.
    """

    def __init__(self, file: BinaryIO | None, log: BinaryIO | None) -> None:
        self._file, self._log = file, log
        self._in_log = {frame.page: frame.at for frame in wal.frames(log)}

    def __iter__(self) -> Iterator[tuple[bytes, bool]]:
        for number, place in enumerate(range(0, wal.size(self._file), PAGE_BYTES), 1):
            yield wal.read(self._file, place, PAGE_BYTES), number not in self._in_log
        newest = set(self._in_log.values())
        for place in wal.places(self._log):
            yield wal.read(self._log, place, PAGE_BYTES), place in newest

    def page(self, number: int) -> bytes:
        """The newest image of a page, numbered from 1; empty where there is none."""
        if number in self._in_log:
            return wal.read(self._log, self._in_log[number], PAGE_BYTES)
        return wal.read(self._file, (number - 1) * PAGE_BYTES, PAGE_BYTES) if number else b""


def _cells(page: bytes, pages: _Pages) -> Iterator[tuple[int, int, bytes]]:
    """Id, time and body of each cell of a leaf page whose checksum holds."""
    for offset in _places(page, _LEAF):
        try:
            record_id, payload = _payload(page, offset, pages)
            kind, recorded, stored, body = _columns(payload)
        except (struct.error, IndexError, ValueError):
            continue
        if kind is None and isinstance(body, bytes) and checksum(record_id, body) == stored:
            yield record_id, recorded, body


def _said(page: bytes) -> Iterator[int]:
    """The last undated record that was numbered, as rows of the account say whose checksum holds.

    They are short enough to lie on the page with all they say.
    """
    for offset in _places(page, _INDEX_LEAF):
        try:
            size, start = _varint(page, offset)
            lane, how, first, last, stored = _columns(page[start : start + size])
        except (struct.error, IndexError, ValueError):
            continue
        row = (lane, how, first, last)
        if row[:3] == (UNDATED, ASSIGNED, 1) and row_checksum(*row) == stored:
            yield last


def _places(page: bytes, kind: int) -> Iterator[int]:
    """Where the cells of a page are, if it is of a kind."""
    if len(page) < 8 or page[0] != kind:
        return
    count = min(struct.unpack_from(">H", page, 3)[0], (len(page) - 8) // 2)
    yield from struct.unpack_from(f">{count}H", page, 8)


def _payload(page: bytes, offset: int, pages: _Pages) -> tuple[int, bytes]:
    """Row id and whole payload of the cell at `offset`, overflow pages included."""
    size, offset = _varint(page, offset)
    record_id, offset = _varint(page, offset)
    if size > _LONGEST_PAYLOAD:
        raise ValueError("longer than a record can be")
    if size <= _MOST_LOCAL:
        return record_id, page[offset : offset + size]
    local = _LEAST_LOCAL + (size - _LEAST_LOCAL) % (PAGE_BYTES - 4)
    local = local if local <= _MOST_LOCAL else _LEAST_LOCAL
    payload = page[offset : offset + local]
    following = struct.unpack_from(">I", page, offset + local)[0]
    while len(payload) < size:
        overflow = pages.page(following)
        following = struct.unpack_from(">I", overflow)[0]
        payload += overflow[4:]
    return record_id, payload[:size]


def _columns(payload: bytes) -> list[Any]:
    """The values of a row; the number that is its id is stored with the cell, and None here."""
    header_size, offset = _varint(payload, 0)
    kinds = []
    while offset < header_size:
        kind, offset = _varint(payload, offset)
        kinds.append(kind)
    values: list[Any] = []
    for kind in kinds:
        value, offset = _value(payload, offset, kind)
        values.append(value)
    return values


def _value(payload: bytes, offset: int, kind: int) -> tuple[Any, int]:
    """A value of one of SQLite's serial types, but for floating point; and what follows it."""
    if kind == 0:
        return None, offset
    if kind in (8, 9):
        return kind - 8, offset
    if kind >= 12:
        end = offset + (kind - 12) // 2
        return payload[offset:end].decode() if kind % 2 else payload[offset:end], end
    size = (0, 1, 2, 3, 4, 6, 8)[kind]
    return int.from_bytes(payload[offset : offset + size], "big", signed=True), offset + size


def _varint(data: bytes, offset: int) -> tuple[int, int]:
    value = 0
    for index in range(8):
        byte = data[offset + index]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, offset + index + 1
    return value << 8 | data[offset + 8], offset + 9
