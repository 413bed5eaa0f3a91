"""Who may speak: the key directory asked at the handshake, and again with each message.

ZAP does not hear of a revocation after the handshake, so a key that was good then proves nothing
now. Who a message is from is its `User-Id`, which libzmq sets from the handshake; never a routing
id, which a peer can choose.

ZAP (https://rfc.zeromq.org/spec/27/) is answered here, in the one event loop. pyzmq's own
authenticator for asyncio ends for good with the first exception, and with it every handshake.
"""

from __future__ import annotations

import structlog
import zmq
from zmq.utils import z85

from clima_core import wire
from clima_core.keys import KeyPair, fingerprint
from clima_forwarder.readable import Readable
from clima_forwarder.stations import Stations

log = structlog.get_logger("clima_forwarder.admission")

ZAP_ADDRESS, ZAP_VERSION = "inproc://zeromq.zap.01", b"1.0"
MOST_REFUSED_KEYS = 1000  # of which it is remembered that they were logged
HIGH_WATER_MARK = 100  # messages of one peer that libzmq keeps for us, and of ours for it


class Admission:
    """Lets in whom the key directory names; one per ZeroMQ context. Needs a running loop."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], stations: Stations) -> None:
        self._stations = stations
        self._refused: set[str] = set()
        self._socket = context.socket(zmq.ROUTER)
        self._socket.linger = 0
        self._socket.bind(ZAP_ADDRESS)
        self._readable = Readable(self._socket, self._asked)

    def close(self) -> None:
        """Let nobody in any more."""
        self._readable.close()
        self._socket.close()

    def _asked(self, frames: list[zmq.Frame]) -> None:
        """libzmq asks whether a peer that has proven its key may shake hands."""
        *envelope, version, request, domain, _, _, mechanism, key = (each.bytes for each in frames)
        right = (ZAP_VERSION, wire.ZAP_DOMAIN.encode(), b"CURVE")
        public = z85.encode(key).decode()
        if (version, domain, mechanism) == right and self._admits(public):
            answer = [b"200", b"OK", public.encode()]
        else:
            answer = [b"400", b"unknown key", b""]
        self._socket.send_multipart([*envelope, ZAP_VERSION, request, *answer, b""])
        self._readable.poke()

    def _admits(self, public: str) -> bool:
        admitted = self.station_of(public) is not None
        if not admitted:
            self._log_once("key_refused", public)
        return admitted

    def station_of(self, key: str) -> str | None:
        """The station whose key this is, as the key directory is now."""
        return self._stations.station_of(key)

    def speaker(self, key: str) -> str | None:
        """The station that a message with this key is from; None when it is not to be heard."""
        station = self.station_of(key)
        if station is None:
            self._log_once("station_put_out", key)
        else:
            self._refused.discard(key)
        return station

    def _log_once(self, event: str, key: str) -> None:
        """Say it once for each key; who comes with ever new ones is not remembered for ever."""
        if key not in self._refused:
            if len(self._refused) >= MOST_REFUSED_KEYS:
                self._refused.clear()
            self._refused.add(key)
            log.warning(event, public_key=key, fingerprint=fingerprint(key))


def bound_socket(
    context: zmq.Context[zmq.Socket[bytes]], address: str, keys: KeyPair
) -> zmq.Socket[bytes]:
    """A ROUTER socket that only those get through to who prove a key that is let in."""
    socket = context.socket(zmq.ROUTER)
    socket.linger = 0
    socket.ipv6 = address.startswith(("tcp://*", "tcp://["))
    socket.maxmsgsize = wire.MAX_FRAME_BYTES
    socket.rcvhwm = socket.sndhwm = HIGH_WATER_MARK
    socket.router_mandatory = 1  # or answers that nobody gets would be dropped in silence
    socket.tcp_keepalive = 1  # the system's default finds a dead peer after two hours
    socket.tcp_keepalive_idle, socket.tcp_keepalive_intvl, socket.tcp_keepalive_cnt = 60, 20, 3
    socket.zap_domain = wire.ZAP_DOMAIN.encode()
    socket.curve_server = True
    socket.curve_secretkey = keys.secret.reveal().encode()
    try:
        socket.bind(address)
    except zmq.ZMQError:
        socket.close()
        raise
    return socket
