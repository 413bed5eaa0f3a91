"""A disk that loses power: what a trace of system calls may have left on it.

A file's writes are on the disk when the file was synced, a directory's entries when the directory
was. Of what came after, any part may be there, in whole sectors and in no order; entries come and
go in the order in which they were made, as every journalling file system keeps it.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

SECTOR = 512
CALLS = "openat,pwrite64,write,fsync,fdatasync,ftruncate,link,unlink,rename"
_CALL = re.compile(r"(?:\d+ +)?(\w+)\((.*)\) += (\d+)")
_HEX = re.compile(r'[<"]((?:\\x[0-9a-f]{2})*)[>"]')
Write = tuple[int, bytes | None]  # at an offset; None cuts the file off there


@dataclass(frozen=True)
class Call:
    """One system call that worked: its name, the file, what was written where."""

    name: str
    path: str
    data: bytes = b""
    offset: int = 0
    creates: bool = False


def calls(trace: Iterable[str]) -> Iterator[Call]:
    """The calls in the output of `strace -xx -y`."""
    for line in trace:
        if not (found := _CALL.match(line)):
            continue
        name, arguments, result = found.groups()
        texts = [bytes.fromhex(text.replace("\\x", "")) for text in _HEX.findall(arguments)]
        if name == "openat":
            yield Call(name, texts[1].decode(), creates="O_CREAT" in arguments)
        elif name in {"pwrite64", "write"}:
            offset = int(arguments.rsplit(", ", 1)[1]) if name == "pwrite64" else -1
            yield Call(name, texts[0].decode(), texts[1][: int(result)], offset)
        elif name in {"link", "rename"}:
            yield Call(name, texts[0].decode(), texts[1])
        elif name == "ftruncate":
            yield Call(name, texts[0].decode(), offset=int(arguments.rsplit(", ", 1)[1]))
        else:
            yield Call(name, texts[0].decode())


@dataclass
class _File:
    """What is on the disk for certain, and what came since."""

    durable: bytearray = field(default_factory=bytearray)
    pending: list[Write] = field(default_factory=list)


class Disk:
    """The files of one folder."""

    def __init__(self, folder: Path, found: Mapping[str, bytes] | None = None) -> None:
        """With the files that are `found` there, by their whole names."""
        self._folder = str(folder)
        # As the process sees them, and as they are for certain.
        self._entries = {name: _File(bytearray(data)) for name, data in (found or {}).items()}
        self._durable = self._entries
        self._pending: list[dict[str, _File]] = []  # all entries after each change of one

    def apply(self, call: Call) -> None:
        """Let a call have happened."""
        file = self._entries.get(call.path)
        match call.name:
            case "openat" if call.creates and file is None:
                self._change(self._entries | {call.path: _File()})
            case "pwrite64" if file:
                file.pending.append((call.offset, call.data))
            case "ftruncate" if file:
                file.pending.append((call.offset, None))
            case "fsync" | "fdatasync" if file:
                _write(file.durable, file.pending)
                file.pending = []
            case "fsync" | "fdatasync" if call.path == self._folder:
                self._durable, self._pending = self._entries, []
            case "link" if file:
                self._change(self._entries | {call.data.decode(): file})
            case "unlink" if file:
                self._change(self._without(call.path))
            case "rename" if file:
                self._change(self._without(call.path) | {call.data.decode(): file})

    def after_power_cut(self, chance: random.Random | None) -> dict[str, bytes]:
        """The files as they may be found: without anything unsynced, or with some of it."""
        if chance is None:
            return {name: bytes(file.durable) for name, file in self._durable.items()}
        entries = chance.choice([self._durable, *self._pending])
        share = chance.random()
        return {
            name: _written(file.durable, _some(file.pending, share, chance))
            for name, file in entries.items()
        }

    def _without(self, path: str) -> dict[str, _File]:
        return {name: file for name, file in self._entries.items() if name != path}

    def _change(self, entries: dict[str, _File]) -> None:
        self._entries = entries
        self._pending.append(entries)


def _some(writes: list[Write], share: float, chance: random.Random) -> Iterator[Write]:
    """Some of the writes, and of each some of its sectors."""
    for offset, data in writes:
        if data is None:
            if chance.random() < share:
                yield offset, None
            continue
        start = 0
        while start < len(data):
            end = min(len(data), start + SECTOR - (offset + start) % SECTOR)
            if chance.random() < share:
                yield offset + start, data[start:end]
            start = end


def _written(content: bytes | bytearray, writes: Iterable[Write]) -> bytes:
    image = bytearray(content)
    _write(image, writes)
    return bytes(image)


def _write(image: bytearray, writes: Iterable[Write]) -> None:
    for offset, data in writes:
        if data is None:
            del image[offset:]
            continue
        if len(image) < offset:
            image.extend(bytes(offset - len(image)))
        image[offset : offset + len(data)] = data
