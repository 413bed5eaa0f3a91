"""A connection to a forwarder: CURVE both ways, and a monitor that tells how handshakes go."""

from __future__ import annotations

from typing import NamedTuple

import zmq

from clima_core import wire
from clima_core.keys import KeyPair

GREETING_S = 10.0  # to connect, shake hands and be welcomed

_EVENTS = (
    zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL  # closed by the other side: it could not read us
    | zmq.EVENT_DISCONNECTED
)


class Forwarder(NamedTuple):
    """Where a forwarder listens, and the public key (Z85) that proves it is the right one."""

    address: str
    public_key: str


def connection(
    context: zmq.Context[zmq.Socket[bytes]], forwarder: Forwarder, keys: KeyPair
) -> tuple[zmq.Socket[bytes], zmq.Socket[bytes]]:
    """A socket that connects to a forwarder, and the one that tells how its handshakes go."""
    socket = context.socket(zmq.DEALER)
    socket.linger = 0
    socket.ipv6 = True  # names may have both kinds of address
    socket.maxmsgsize = wire.MAX_FRAME_BYTES
    socket.tcp_keepalive = 1
    socket.curve_serverkey = forwarder.public_key.encode()
    socket.curve_publickey = keys.public.encode()
    socket.curve_secretkey = keys.secret.reveal().encode()
    monitor = socket.get_monitor_socket(_EVENTS)
    socket.connect(forwarder.address)
    return socket, monitor
