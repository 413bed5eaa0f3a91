"""A forwarder's pairing port that says what a test has it say."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from clima_agent.pairing.client import Peer
from clima_core import pairing

Answer = Callable[[pairing.FromStation], bytes]


class Impostor:
    """What it was told, connection by connection."""

    def __init__(self, answer: Answer) -> None:
        self.heard: list[list[pairing.FromStation]] = []
        self._answer = answer
        self.socket = socket.create_server(("127.0.0.1", 0))

    @property
    def peer(self) -> Peer:
        return Peer("127.0.0.1", self.socket.getsockname()[1])

    def serve(self) -> None:
        """Until the socket is closed. An empty answer closes the connection."""
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            messages: list[pairing.FromStation] = []
            self.heard.append(messages)
            with connection, suppress(OSError), connection.makefile("rb") as lines:
                for line in lines:
                    messages.append(pairing.decode_from_station(line))
                    answer = self._answer(messages[-1])
                    if not answer:
                        break
                    connection.sendall(answer)


@contextmanager
def impostor(answer: Answer) -> Iterator[Impostor]:
    """One that runs in a thread of its own."""
    made = Impostor(answer)
    thread = threading.Thread(target=made.serve)
    thread.start()
    try:
        yield made
    finally:
        made.socket.shutdown(socket.SHUT_RDWR)
        made.socket.close()
        thread.join(15)


class Honest:
    """Answers as the protocol says; a test changes what it likes."""

    def __init__(
        self,
        change: Callable[[pairing.FromForwarder], bytes] = pairing.encode,
        port: int = 5570,
    ) -> None:
        self._change = change
        self._port = port
        self._side: pairing.ForwarderSide | None = None

    def __call__(self, message: pairing.FromStation) -> bytes:
        """The answer, changed."""
        match message:
            case pairing.Request():
                self._side = pairing.ForwarderSide(message, b"b" * 32, self._port)
                return self._change(self._side.offer)
            case pairing.Nonce():
                assert self._side
                return self._change(self._side.heard(message)[0])
            case _:
                return self._change(pairing.State("waiting"))
