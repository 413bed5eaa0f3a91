"""A TCP link that can be broken: cut, slow, silent, or broken on one side only.

A silent link loses nothing, as TCP would not: what was on its way arrives when it speaks again,
late, and perhaps after the sender has given up.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from contextlib import suppress

RESET = struct.pack("ii", 1, 0)  # SO_LINGER that closes with a RST


class Proxy:
    """Passes on everything between whoever connects to `port` and a target on this machine."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._links: list[tuple[socket.socket, socket.socket]] = []
        self._passing = threading.Event()
        self._passing.set()
        self._refusing = False
        self._delay_s = 0.0
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def delay(self, seconds: float) -> None:
        """From now on each piece takes so much longer, in either direction."""
        self._delay_s = seconds

    def silence(self) -> None:
        """Nothing passes, and nobody is told: connecting works, and then there is no answer."""
        self._passing.clear()

    def cut(self) -> None:
        """Every connection is reset, and new ones too, until `resume`."""
        self._refusing = True
        self._drop(both=True)

    def drop_near(self) -> None:
        """Who connected is told that the connection is gone; the target goes on believing in it."""
        self._drop(both=False)

    def resume(self) -> None:
        """All is well again."""
        self._refusing = False
        self._delay_s = 0.0
        self._passing.set()

    def close(self) -> None:
        """The end."""
        self._refusing = True
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._drop(both=True)
        self._passing.set()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                if self._refusing:
                    raise ConnectionRefusedError
                far = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                _reset(near)
                continue
            self.connections += 1
            self._links.append((near, far))
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                self._passing.wait()
                time.sleep(self._delay_s)
                sink.sendall(data)
            self._passing.wait()
            sink.shutdown(socket.SHUT_WR)
        except ConnectionResetError:  # one end was killed: the other is told
            self._passing.wait()
            _reset(sink)
        except OSError:
            pass

    def _drop(self, *, both: bool) -> None:
        links = list(self._links)
        for near, far in links:
            _reset(near)
            if both:
                _reset(far)
        if both:
            self._links = [link for link in self._links if link not in links]


def _reset(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
