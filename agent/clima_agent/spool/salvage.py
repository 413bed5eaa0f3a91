"""Reading records out of a spool file that SQLite calls malformed.

A damaged tree hides whole records behind one bad page, so the tree is not followed: every page
of the file and of its write-ahead log is looked at by itself, and each leaf cell that looks
like a record is believed only if the record's own checksum says so. The layout of pages, cells
and the log is SQLite's published file format (https://sqlite.org/fileformat2.html, 1.6, 2.1,
4.1); nothing is ever written to the damaged file.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec

from clima_agent.spool.file import (
    PAGE_BYTES,
    SHIFT,
    SpoolFile,
    checksum,
    credible,
    only_log_is_left,
)
from clima_core.errors import ClimaError
from clima_core.identity import STREAMS, Lane
from clima_core.keys import sync_directory
from clima_core.ranges import Ranges
from clima_core.wire import MAX_RECORD_BYTES

_LEAF = 0x0D
_LONGEST_PAYLOAD = MAX_RECORD_BYTES + 100  # a body, and the columns before it
_LOG_HEADER, _FRAME_HEADER = 32, 24
_MOST_LOCAL = PAGE_BYTES - 35
_LEAST_LOCAL = (PAGE_BYTES - 12) * 32 // 255 - 23


class Salvaged(NamedTuple):
    """A record that is whole."""

    lane: Lane
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


Accounts = list[Account]
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
    if only_log_is_left(damaged):
        return []
    try:
        with closing(SpoolFile(damaged, read_only=True)) as file:
            file.forgive_truncation()
            return [
                Account(row.lane, row.since, list(file.settled(row.number))) for row in file.lanes()
            ]
    except (ClimaError, ValueError, TypeError):
        return []  # then everything salvaged waits, and the forwarder knows what it has


def records(damaged: Path, station: str) -> Iterator[Salvaged]:
    """Every whole record of `station` in the file or its log, in no order, some repeatedly."""
    with ExitStack() as stack:
        pages = _Pages(*(_opened(Path(f"{damaged}{suffix}"), stack) for suffix in ("", "-wal")))
        for page in pages:
            for record_id, recorded, body in _cells(page, pages):
                if record := _identified(record_id, recorded, body, station):
                    yield record


def _opened(path: Path, stack: ExitStack) -> BinaryIO | None:
    """Not buffered: what cannot be read must not take its neighbours with it."""
    return stack.enter_context(path.open("rb", buffering=0)) if path.exists() else None


def _identified(record_id: int, recorded: int, body: bytes, station: str) -> Salvaged | None:
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
    """The newest image of each page by number, and every image there is by iteration.

    One page is in memory at a time: a spool may be as large as a Pi's memory.
    """

    def __init__(self, file: BinaryIO | None, log: BinaryIO | None) -> None:
        self._file, self._log = file, log
        self._in_log: dict[int, int] = {}
        salts = _read(log, 16, 8)
        for offset in self._frames():
            header = _read(log, offset, 16)
            if len(header) == 16 and header[8:] == salts:
                self._in_log[int.from_bytes(header[:4], "big")] = offset + _FRAME_HEADER

    def __iter__(self) -> Iterator[bytes]:
        for offset in range(0, _size(self._file), PAGE_BYTES):
            yield _read(self._file, offset, PAGE_BYTES)
        for offset in self._frames():
            yield _read(self._log, offset + _FRAME_HEADER, PAGE_BYTES)

    def page(self, number: int) -> bytes:
        """The newest image of a page, numbered from 1; empty where there is none."""
        if number in self._in_log:
            return _read(self._log, self._in_log[number], PAGE_BYTES)
        return _read(self._file, (number - 1) * PAGE_BYTES, PAGE_BYTES) if number else b""

    def _frames(self) -> range:
        return range(_LOG_HEADER, _size(self._log), _FRAME_HEADER + PAGE_BYTES)


def _size(file: BinaryIO | None) -> int:
    return file.seek(0, 2) if file else 0


def _read(file: BinaryIO | None, offset: int, size: int) -> bytes:
    """What can be read there; nothing where the card gives an error."""
    if file is None:
        return b""
    try:
        file.seek(offset)
        return file.read(size)
    except OSError:
        return b""


def _cells(page: bytes, pages: _Pages) -> Iterator[tuple[int, int, bytes]]:
    """Id, time and body of each cell of a leaf page whose checksum holds."""
    if len(page) < 8 or page[0] != _LEAF:
        return
    count = struct.unpack_from(">H", page, 3)[0]
    for index in range(min(count, (len(page) - 8) // 2)):
        try:
            offset = struct.unpack_from(">H", page, 8 + 2 * index)[0]
            record_id, payload = _payload(page, offset, pages)
            recorded, stored, body = _columns(payload)
        except (struct.error, IndexError, ValueError):
            continue
        if checksum(record_id, body) == stored:
            yield record_id, recorded, body


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


def _columns(payload: bytes) -> tuple[int, int, bytes]:
    """`recorded`, `checksum` and `body` of a record; `id` is stored as the row id."""
    header_size, offset = _varint(payload, 0)
    types = []
    while offset < header_size:
        kind, offset = _varint(payload, offset)
        types.append(kind)
    if len(types) != 4 or types[0] != 0 or types[3] < 12 or types[3] % 2:
        raise ValueError("not a row of the record table")
    recorded, offset = _integer(payload, offset, types[1])
    stored, offset = _integer(payload, offset, types[2])
    return recorded, stored, payload[offset : offset + (types[3] - 12) // 2]


def _integer(payload: bytes, offset: int, kind: int) -> tuple[int, int]:
    if kind in (8, 9):
        return kind - 8, offset
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
