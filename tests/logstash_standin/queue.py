"""A queue on disk, as Logstash's persisted one."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Iterable
from pathlib import Path

BATCH = 125
LARGE = 64 * 2**20  # a queue's file that is begun anew when it is empty


class Mark:
    """How far a batch reaches in its queue's file, and whether it is dealt with."""

    def __init__(self, end: int) -> None:
        self.end = end
        self.done = False


class Queue:
    """Lines in a file, and beside it how far they have been dealt with."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT)
        self._checkpoint = os.open(path.with_suffix(".checkpoint"), os.O_RDWR | os.O_CREAT)
        self._lines = path.open("rb")
        size, done = os.fstat(self._file).st_size, int(os.pread(self._checkpoint, 20, 0) or 0)
        self._lines.seek(done if done <= size else 0)
        self.unread = 0
        self._end = start = self._lines.tell()
        for line in self._lines:
            if line.endswith(b"\n"):  # else the process died over it, and nobody was answered
                self.unread += 1
                self._end += len(line)
        os.ftruncate(self._file, self._end)
        self._lines.seek(start)
        self._taken: deque[Mark] = deque()
        self._some = asyncio.Event()
        if self.unread:
            self._some.set()

    @property
    def size(self) -> int:
        return self._end

    @property
    def taken(self) -> int:
        """How many batches were taken and are not dealt with."""
        return len(self._taken)

    def push(self, lines: Iterable[bytes]) -> None:
        text = b"".join(line + b"\n" for line in lines)
        os.pwrite(self._file, text, self._end)
        self._end += len(text)
        self.unread += text.count(b"\n")
        if self.unread:
            self._some.set()

    async def some(self) -> None:
        """Until there is something; by then somebody else may have taken it."""
        await self._some.wait()

    def take(self) -> tuple[list[bytes], Mark]:
        """The next lines, at most a batch, and what to say `done` with."""
        count = min(BATCH, self.unread)
        lines = [self._lines.readline().rstrip(b"\n") for _ in range(count)]
        self.unread -= count
        if not self.unread:
            self._some.clear()
        mark = Mark(self._lines.tell())
        self._taken.append(mark)
        return lines, mark

    def done(self, mark: Mark) -> None:
        """These lines are dealt with."""
        mark.done = True
        while self._taken and self._taken[0].done:
            os.pwrite(self._checkpoint, b"%020d" % self._taken.popleft().end, 0)
        if not self._taken and not self.unread and self._end > LARGE:
            os.ftruncate(self._file, 0)  # before the checkpoint: one past the end counts as 0
            os.pwrite(self._checkpoint, b"%020d" % 0, 0)
            self._lines.seek(0)
            self._end = 0

    def clear(self) -> None:
        """Forget what is queued; what was taken goes its way."""
        self._lines.seek(self._end)
        self.unread = 0
        self._some.clear()
        self._taken.clear()
        os.pwrite(self._checkpoint, b"%020d" % self._end, 0)
