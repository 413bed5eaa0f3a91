"""A real pairing endpoint on a free port, and peers that say what they are told to."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from clima_core import keys, pairing
from clima_core.keys import KeyPair
from clima_core.pairing import FromForwarder, FromStation, StationSide
from clima_forwarder.pairing.consent import Consent
from clima_forwarder.pairing.endpoint import Endpoint
from clima_forwarder.pairing.requests import Requests
from clima_forwarder.stations import Stations

STATIONS_PORT = 5570
PATIENCE_S = 15.0


@dataclass
class Desk:
    """An endpoint that answers in a thread of its own, and the operator's view of its files."""

    pair: KeyPair
    port: int
    requests: Requests
    stations: Stations

    def peer(self) -> Peer:
        """A connection."""
        return Peer(self.port)

    def asks(self, station: str = "roof", key: bytes | None = None) -> tuple[str, str]:
        """Have a station ask; its attempt and its digits."""
        side = StationSide(key or public(), station, "a board")
        with self.peer() as peer:
            offer = peer.say(side.request)
            assert isinstance(offer, pairing.Offer), offer
            reveal = peer.say(side.offered(offer))
            assert isinstance(reveal, pairing.Reveal), reveal
        return reveal.attempt, side.revealed(reveal)

    def tell(self, message: FromStation) -> str:
        """The state that a message on a connection of its own is answered with."""
        with self.peer() as peer:
            answer = peer.say(message)
        assert isinstance(answer, pairing.State), answer
        return answer.state

    def consent(self, said: list[str] | None = None, *, replace: bool = False) -> Consent:
        """The operator's command; what it says is put into the list."""
        told = [] if said is None else said
        return Consent(self.requests, self.stations, say=told.append, replace=replace)


class Peer:
    """A TCP connection to the endpoint; use it in `with`."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)

    def __enter__(self) -> Peer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.socket.close()

    def say(self, message: FromStation) -> FromForwarder:
        """The answer to a message."""
        self.send(pairing.encode(message))
        return pairing.decode_from_forwarder(self.line())

    def send(self, data: bytes) -> None:
        """Any bytes whatsoever; that the other side has closed meanwhile is no matter."""
        try:
            self.socket.sendall(data)
        except ConnectionError:
            return

    def line(self) -> bytes:
        """The next line; empty where the connection is closed."""
        line = b""
        try:
            while not line.endswith(b"\n") and (more := self.socket.recv(1)):
                line += more
        except ConnectionError:
            return b""
        return line


def public() -> bytes:
    """A new public key."""
    return bytes.fromhex(keys.hexadecimal(keys.generate().public))


@contextmanager
def desk(
    directory: Path, *, pair: KeyPair | None = None, now: Callable[[], float] = time.time
) -> Iterator[Desk]:
    """Run an endpoint; again on the same directory it is one that was started anew."""
    pair, requests = pair or keys.generate(), Requests(directory, now)
    ready, stop = threading.Event(), asyncio.Event()
    found: dict[str, Endpoint] = {}
    loop = asyncio.SelectorEventLoop()

    async def serve() -> None:
        key = bytes.fromhex(keys.hexadecimal(pair.public))
        endpoint = found["it"] = Endpoint(requests, key, STATIONS_PORT, now=now)
        endpoint.open("tcp://127.0.0.1:0")
        ready.set()
        await stop.wait()
        await endpoint.close()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert ready.wait(PATIENCE_S)
        port = int(found["it"].address.rpartition(":")[2])
        yield Desk(pair, port, Requests(directory, now), Stations(directory))
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(PATIENCE_S)
        loop.close()
