"""Where threads leave records for the one thread that owns the spool and the socket."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

from clima_core.identity import Stream


class Item(NamedTuple):
    """A document without identity, and the stream that it goes to.

    With a `moment` (`clock.py`) its time is a guess, to be worked out when the time is known.
    """

    stream: Stream
    document: Mapping[str, Any]
    moment: float | None = None


class Inbox:
    """A queue that a poller can wait for: `signal` becomes readable when something is put."""

    def __init__(self) -> None:
        self._items: SimpleQueue[Item] = SimpleQueue()
        self.signal, self._bell = socket.socketpair()
        self.signal.setblocking(False)
        self._bell.setblocking(False)

    def __len__(self) -> int:
        return self._items.qsize()

    def put(self, stream: Stream, document: Mapping[str, Any], moment: float | None = None) -> None:
        """Leave a document; never blocks, from any thread."""
        self._items.put(Item(stream, document, moment))
        self.ring()

    def ring(self) -> None:
        """Wake the poller. A full bell has rung already, and a closed one wakes nobody."""
        with suppress(OSError):
            self._bell.send(b"\0")

    def take(self) -> list[Item]:
        """All there is, in the order in which it came."""
        with suppress(BlockingIOError):
            while self.signal.recv(4096):
                pass
        items: list[Item] = []
        with suppress(Empty):
            while True:
                items.append(self._items.get_nowait())
        return items

    def close(self) -> None:
        self.signal.close()
        self._bell.close()
