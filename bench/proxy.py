"""A TCP proxy that counts what passes: the bytes of the wire, ZeroMQ's framing and CURVE included.

It lets connections through only once it is opened, so that a benchmark can start a station
first and take its account when it is ready to send.
"""

from __future__ import annotations

import selectors
import socket
import threading
from contextlib import suppress

CHUNK = 256 * 1024


class Proxy:
    """Relays from a port of its own on loopback to `target`, in a thread of this process."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=0)
        self.port: int = self._listener.getsockname()[1]
        self._listener.close()  # refused until opened
        self.upward = 0  # bytes from the agent
        self.downward = 0

    def open(self) -> None:
        """Let connections through from here on, and begin to count."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no further connection."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                agent, _ = self._listener.accept()
                threading.Thread(target=self._relay, args=(agent,), daemon=True).start()

    def _relay(self, agent: socket.socket) -> None:
        with (
            suppress(OSError),
            agent,
            socket.create_connection(("127.0.0.1", self._target)) as forwarder,
            selectors.DefaultSelector() as selector,
        ):
            selector.register(agent, selectors.EVENT_READ, forwarder)
            selector.register(forwarder, selectors.EVENT_READ, agent)
            while True:
                for key, _ in selector.select():
                    source = agent if key.fileobj is agent else forwarder
                    if not (chunk := source.recv(CHUNK)):
                        return
                    key.data.sendall(chunk)
                    self.upward += len(chunk) if source is agent else 0
                    self.downward += len(chunk) if source is forwarder else 0
