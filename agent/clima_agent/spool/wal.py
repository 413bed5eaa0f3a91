"""The spool's write-ahead log as it lies on the card, looked at before SQLite has it.

SQLite reads a log up to the first frame whose checksum does not hold, and throws away what follows.
After a power cut that is right: it is the tail that was not synced, torn in any way. A byte that
has rotted looks the same to it, and costs every transaction behind it, without a word.

What tells the two apart is the order of writing. A durable transaction is on the disk before the
next one begins. So if behind a broken frame lie a whole durable transaction and a frame that was
written after it, nothing was torn: it has rotted. A durable transaction is known by its pages.
`Spool.sync` writes the account and nothing else, which is an index to SQLite; every other
transaction writes a page of a table. Rot behind the last sync but one may so be taken for a torn
tail: it costs what a power cut may cost.

The layout is SQLite's published file format (https://sqlite.org/fileformat2.html, 1.6 and 4.1):
a header, then frames, each a header and the image of a page. Each checksum goes on from that of
the frame before. The log begins anew at its head when all of it is in the file; the frames of its
present life are those with the salts of its header.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

PAGE_BYTES = 1024
_HEADER, _FRAME_HEADER = struct.Struct(">8I"), struct.Struct(">6I")
_FRAME_BYTES = _FRAME_HEADER.size + PAGE_BYTES
_BIG_ENDIAN = 0x377F0683  # the magic number of a log whose checksums are of big-endian words
_LITTLE_ENDIAN = 0x377F0682
_TABLE_PAGES = (0x05, 0x0D)  # what the page of a table begins with, but for page 1
Sums = tuple[int, int]


class Frame(NamedTuple):
    """A frame of the log's present life."""

    page: int
    commits: bool
    image: bytes
    at: int  # where in the log the image begins
    whole: bool  # its checksum goes on from that of the one before


def is_rotten(path: Path) -> bool:
    """Whether something is broken in a log that was synced: SQLite would throw that away."""
    try:
        file = path.open("rb", buffering=0)
    except OSError:  # there is none; or SQLite says what is wrong
        return False
    with file as log:
        if _start(log) is None:  # the header is synced before there is any frame
            return next(frames(log), None) is not None
        return _broken_before_a_sync(frames(log))


def only_log_is_left(path: Path) -> bool:
    """SQLite, however it is opened, would throw the log away, and with it the newest records."""
    log = Path(f"{path}-wal")
    size = path.stat().st_size if path.exists() else 0
    return not size and log.exists() and log.stat().st_size > 0


def frames(log: BinaryIO | None) -> Iterator[Frame]:
    """The frames of the log's present life, in order; that of the first if the header is broken.

    Those of whole transactions: one that found no room is taken back, and its frames stay behind.
    """
    header = read(log, 0, _HEADER.size + _FRAME_HEADER.size)
    if log is None or len(header) < _HEADER.size + _FRAME_HEADER.size:
        return
    start = _start(log)
    salts = header[16:24] if start else header[_HEADER.size + 8 : _HEADER.size + 16]
    words = ">" if header[:4] == _BIG_ENDIAN.to_bytes(4, "big") else "<"
    before = start
    uncommitted: list[Frame] = []
    for place in places(log):
        frame = read(log, place - _FRAME_HEADER.size, _FRAME_BYTES)
        if len(frame) < _FRAME_BYTES or frame[8:16] != salts:
            before = None
            continue
        page, commits, _, _, *stored = _FRAME_HEADER.unpack_from(frame)
        image = frame[_FRAME_HEADER.size :]
        sums = _summed(frame[:8] + image, before, words) if before else None
        before = (stored[0], stored[1])
        uncommitted.append(Frame(page, commits > 0, image, place, sums == before))
        if commits:
            yield from uncommitted
            uncommitted.clear()


def places(log: BinaryIO | None) -> range:
    """Where in the log the image of each frame begins, whichever life it is from."""
    return range(_HEADER.size + _FRAME_HEADER.size, size(log), _FRAME_BYTES)


def size(file: BinaryIO | None) -> int:
    """In bytes; none where there is no file."""
    return file.seek(0, 2) if file else 0


def read(file: BinaryIO | None, offset: int, length: int) -> bytes:
    """What can be read there; nothing where the card gives an error."""
    if file is None:
        return b""
    try:
        file.seek(offset)
        return file.read(length)
    except OSError:
        return b""


def _broken_before_a_sync(log: Iterable[Frame]) -> bool:
    broken = synced = False
    account_alone = True  # since the last commit
    for frame in log:
        if synced:
            return True
        broken = broken or not frame.whole
        table = frame.page != 1 and frame.image[0] in _TABLE_PAGES
        account_alone = account_alone and frame.whole and not table
        if frame.commits:
            synced = broken and account_alone
            account_alone = True
    return False


def _start(log: BinaryIO) -> Sums | None:
    """The checksum of the log's header, with which those of its frames begin; None if it fails."""
    header = read(log, 0, _HEADER.size)
    if len(header) < _HEADER.size:
        return None
    magic, *_, first, second = _HEADER.unpack(header)
    words = {_LITTLE_ENDIAN: "<", _BIG_ENDIAN: ">"}.get(magic)
    whole = words is not None and _summed(header[:24], (0, 0), words) == (first, second)
    return (first, second) if whole else None


def _summed(data: bytes, sums: Sums, words: str) -> Sums:
    """SQLite's checksum of `data`, going on from another."""
    first, second = sums
    numbers = struct.unpack(f"{words}{len(data) // 4}I", data)
    for one, other in zip(numbers[::2], numbers[1::2], strict=True):
        first = first + one + second & 0xFFFFFFFF
        second = second + other + first & 0xFFFFFFFF
    return first, second
