"""Reading records out of a spool file that SQLite calls malformed.

A damaged tree hides whole records behind one bad page, so the tree is not followed: every page
of the file and of its write-ahead log is looked at by itself, and each leaf cell that looks
like a record is believed only if the record's own checksum says so. The layout of pages, cells
and the log is SQLite's published file format (https://sqlite.org/fileformat2.html, 1.6, 2.1,
4.1); nothing is ever written to the damaged file.
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import msgspec

from clima_agent.spool.file import PAGE_BYTES, SHIFT, checksum
from clima_core.identity import STREAMS, Lane
from clima_core.ranges import Ranges

_LEAF = 0x0D
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


Settled = Iterator[tuple[Lane, str, Ranges]]


def put_aside(path: Path) -> Path:
    """Rename the damaged file and its log out of the way; where they lie now."""
    aside = path.with_name(f"{path.stem}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%S%f}{path.suffix}")
    path.rename(aside)
    for suffix in ("-wal", "-shm"):
        companion = Path(f"{path}{suffix}")
        if companion.exists():
            companion.rename(f"{aside}{suffix}")
    return aside


def settled(aside: Path) -> Settled:
    """What the damaged file says was acknowledged or dropped, as far as SQLite can read it."""
    try:
        with closing(sqlite3.connect(f"{aside.as_uri()}?immutable=1", uri=True)) as connection:
            for journal, stream, how, first, last in connection.execute(
                "SELECT journal, stream, how, first, last FROM settled JOIN lane ON lane = number"
            ):
                yield Lane(journal, stream), how, Ranges([(first, last)])
    except sqlite3.Error:
        return  # then everything salvaged waits, and the forwarder knows what it has


def records(aside: Path, station: str) -> Iterator[Salvaged]:
    """Every whole record of `station` in the file or its log, once each, in no order."""
    found: set[int] = set()
    pages = _Pages(aside)
    for page in pages:
        for record_id, recorded, body in _cells(page, pages):
            record = _identified(record_id, recorded, body, station)
            if record and record_id not in found:
                found.add(record_id)
                yield record


def _identified(record_id: int, recorded: int, body: bytes, station: str) -> Salvaged | None:
    try:
        name, journal, stream, sequence = msgspec.json.decode(
            body, type=_Identified
        ).event.id.split(":")
    except (ValueError, msgspec.MsgspecError):
        return None
    if name != station or stream not in STREAMS or int(sequence) != record_id & (1 << SHIFT) - 1:
        return None
    return Salvaged(Lane(journal, stream), int(sequence), recorded, body)


class _Pages:
    """The newest image of each page by number, and every image there is by iteration."""

    def __init__(self, aside: Path) -> None:
        self._file = aside.read_bytes()
        log = Path(f"{aside}-wal")
        self._log = log.read_bytes() if log.exists() else b""
        self._in_log: dict[int, int] = {}
        for offset in self._frames():
            number, _, *salts = struct.unpack_from(">4I", self._log, offset)
            if salts == list(struct.unpack_from(">2I", self._log, 16)):
                self._in_log[number] = offset + _FRAME_HEADER

    def __iter__(self) -> Iterator[bytes]:
        for offset in range(0, len(self._file), PAGE_BYTES):
            yield self._file[offset : offset + PAGE_BYTES]
        for offset in self._frames():
            yield self._log[offset + _FRAME_HEADER : offset + _FRAME_HEADER + PAGE_BYTES]

    def page(self, number: int) -> bytes:
        """The newest image of a page, numbered from 1; empty where there is none."""
        if number in self._in_log:
            return self._log[self._in_log[number] :][:PAGE_BYTES]
        return self._file[(number - 1) * PAGE_BYTES : number * PAGE_BYTES] if number else b""

    def _frames(self) -> range:
        return range(_LOG_HEADER, len(self._log), _FRAME_HEADER + PAGE_BYTES)


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
