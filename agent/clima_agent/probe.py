"""Asks a forwarder whether it would let this station in, without sending it anything."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import NamedTuple

import zmq
from zmq.utils.monitor import recv_monitor_message

from clima_agent.connection import GREETING_S, Forwarder, connection
from clima_core import __version__, wire
from clima_core.keys import KeyPair

ANOTHER = "it has another key than the public_key given for it, or is no forwarder"


class Proof(NamedTuple):
    """What a forwarder has answered: `welcome`, or in a few words why not.

    `admitted`: it has proven its key, and lets in this station with its.
    """

    text: str
    admitted: bool = False


def ask(forwarder: Forwarder, keys: KeyPair, station: str, timeout_s: float = GREETING_S) -> str:
    """`welcome`, or in a few words why not."""
    return prove(forwarder, keys, station, timeout_s).text


def prove(
    forwarder: Forwarder, keys: KeyPair, station: str, timeout_s: float = GREETING_S
) -> Proof:
    """Have it prove by a handshake and an answer that it is the one, and lets this station in."""
    socket, monitor = connection(zmq.Context.instance(), forwarder, keys)
    try:
        hello = wire.Hello(
            versions=[wire.VERSION],
            software=f"clima-agent {__version__}",
            station=station,
            time=datetime.now(UTC),
            lanes=[],
        )
        socket.send_multipart(wire.encode(hello))
        return _answer(socket, monitor, time.monotonic() + timeout_s)
    finally:
        socket.disable_monitor()
        monitor.close()
        socket.close()


def _answer(socket: zmq.Socket[bytes], monitor: zmq.Socket[bytes], deadline: float) -> Proof:
    poller = zmq.Poller()
    poller.register(socket, zmq.POLLIN)
    poller.register(monitor, zmq.POLLIN)
    while (left_s := deadline - time.monotonic()) > 0:
        ready = dict(poller.poll(int(left_s * 1000) + 1))
        if monitor in ready:
            match recv_monitor_message(monitor)["event"]:
                case zmq.EVENT_HANDSHAKE_FAILED_AUTH:
                    return Proof("it does not know this station's key yet")
                case zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL:
                    return Proof(ANOTHER)
        if socket in ready:
            message = wire.decode_from_forwarder(socket.recv_multipart())
            if isinstance(message, wire.Refusal):
                return Proof(message.message, admitted=message.code != "wrong_station")
            return Proof("welcome", admitted=True)
    return Proof("no answer; is the address right, and does it run?")
