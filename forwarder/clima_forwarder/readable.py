"""A plain ZeroMQ socket in an asyncio loop, without a future per message.

libzmq signals through a file descriptor, and only when its state *changes*: whoever is woken
has to take all there is, and any send may swallow a signal. So `drain` reads until there is
nothing left, and `poke`, called after sending, has it look once more. For the same reason no
message may end the reading, whatever it does to `receive`: the ones behind it would lie there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog
import zmq

log = structlog.get_logger("clima_forwarder.readable")

BURST = 100  # messages handled before the loop gets a turn


class Readable:
    """Hands each message that arrives at `socket` to `receive`, in the running loop."""

    def __init__(
        self, socket: zmq.Socket[bytes], receive: Callable[[list[zmq.Frame]], None]
    ) -> None:
        self._socket = socket
        self._receive = receive
        self._loop = asyncio.get_running_loop()
        self._scheduled = self._closed = False
        self._descriptor = int(socket.getsockopt(zmq.FD))
        self._loop.add_reader(self._descriptor, self.drain)
        self.poke()

    def poke(self) -> None:
        """Look for messages soon."""
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self.drain)

    def drain(self) -> None:
        """Take what is there, and leave the loop a turn now and then."""
        self._scheduled = False
        for _ in range(BURST):
            if self._closed:
                return
            try:
                frames = self._socket.recv_multipart(zmq.DONTWAIT, copy=False)
            except zmq.Again:
                return
            try:
                self._receive(frames)
            except Exception:  # a fault of ours: said, and the next message is another
                log.exception("message_failed")
        self.poke()

    def close(self) -> None:
        """Stop looking; the socket stays the caller's."""
        self._closed = True
        self._loop.remove_reader(self._descriptor)
