"""A forwarder that does what the test tells it: a ROUTER with CURVE, and nothing behind it."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import zmq
from zmq.auth.thread import ThreadAuthenticator

from clima_agent.connection import Forwarder
from clima_agent.sender import Sender
from clima_core import keys, wire

PATIENCE_S = 20.0
NOW = datetime(2026, 1, 1, tzinfo=UTC)
_M = TypeVar("_M", bound=wire.FromAgent)


class Clock:
    """A time that passes when the test says so."""

    def __init__(self) -> None:
        self.monotonic_s = 1000.0

    def monotonic(self) -> float:
        return self.monotonic_s

    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.monotonic_s - 1000.0)


class Peer:
    """Bound to a port of its own; whose key is in `admitted` is let in."""

    def __init__(self, *admitted: str, pair: keys.KeyPair | None = None, port: int = 0) -> None:
        self.keys = pair or keys.generate()
        self.admitted = set(admitted)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._authenticator = ThreadAuthenticator(self._context)
        self._authenticator.start()
        self._authenticator.configure_curve_callback(wire.ZAP_DOMAIN, credentials_provider=self)
        self.socket = self._context.socket(zmq.ROUTER)
        self.socket.linger = 0
        self.socket.curve_server = True
        self.socket.curve_secretkey = self.keys.secret.reveal().encode()
        self.socket.setsockopt_string(zmq.ZAP_DOMAIN, wire.ZAP_DOMAIN)
        self.socket.bind(f"tcp://127.0.0.1:{port or '*'}")
        self.forwarder = Forwarder(self.socket.get_string(zmq.LAST_ENDPOINT), self.keys.public)
        self.routing_id = b""  # of whom we heard last
        self.payload = b""  # of what we heard last

    @property
    def port(self) -> int:
        return int(self.forwarder.address.rsplit(":", 1)[1])

    def callback(self, domain: str, key: bytes) -> bool:
        return domain == wire.ZAP_DOMAIN and key.decode() in self.admitted

    def close(self) -> None:
        self.socket.close()
        self._authenticator.stop()
        self._context.term()

    def heard(self) -> wire.FromAgent | None:
        """The next message, if one has come."""
        if not self.socket.poll(0):
            return None
        self.routing_id, *frames = self.socket.recv_multipart()
        message, self.payload = wire.decode_from_agent(frames)
        return message

    def say(self, message: wire.FromForwarder) -> None:
        self.socket.send_multipart([self.routing_id, *wire.encode(message)])

    def welcome(
        self, *seen: wire.Seen, credit: int = 4, heartbeat_s: float = 10.0, max_records: int = 10
    ) -> None:
        self.say(
            wire.Welcome(
                version=1,
                time=NOW,
                credit=credit,
                heartbeat_s=heartbeat_s,
                max_records=max_records,
                max_bytes=wire.MAX_BATCH_BYTES,
                seen=list(seen),
            )
        )

    def ack(self, batch: wire.Batch, credit: int = 4) -> None:
        self.say(wire.Ack(batch.journal, batch.stream, [(batch.first, batch.last)], credit))

    def records(self, batch: wire.Batch) -> list[bytes]:
        return wire.Unpacker().unpack(batch, self.payload)


class Stage:
    """A sender and its peers, stepped in turn until something holds; never by the clock."""

    def __init__(self, sender: Sender, *peers: Peer) -> None:
        self.sender = sender
        self.peers = peers

    def until(self, holds: Callable[[], object], what: str = "") -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not holds():
            assert time.monotonic() < deadline, f"in vain waited for {what or holds}"
            self.sender.step()
            if holds():
                return
            poller = zmq.Poller()
            for socket in [*self.sender.sockets, *(peer.socket for peer in self.peers)]:
                poller.register(socket, zmq.POLLIN)
            poller.poll(20)

    def hears(self, kind: type[_M], peer: Peer | None = None) -> _M:
        """The next message that a peer gets, which must be of that kind."""
        found: list[wire.FromAgent] = []

        def heard() -> bool:
            if message := (peer or self.peers[0]).heard():
                found.append(message)
            return bool(found)

        self.until(heard, kind.__name__)
        assert isinstance(found[0], kind), found[0]
        return found[0]

    def quiet(self, peer: Peer | None = None) -> bool:
        """Whether the peer has got nothing more, as far as a round trip can tell."""
        self.sender.step()
        (peer or self.peers[0]).socket.poll(300)
        return (peer or self.peers[0]).heard() is None
