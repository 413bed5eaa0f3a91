"""Speaks with a forwarder's pairing endpoint, which may be anybody: no byte of it is trusted.

What always holds: once our nonce is told, whatever goes wrong ends the attempt, and only a person
begins another. If we tried again by ourselves, somebody in between could break off each attempt
whose digits he does not like, until they suit him.
"""

from __future__ import annotations

import socket
import time
from types import TracebackType
from typing import NamedTuple, TypeVar
from urllib.parse import urlsplit

from clima_core import pairing
from clima_core.errors import (
    EXIT_FINDING,
    ClimaError,
    ConfigurationError,
    ProtocolError,
    UnavailableError,
)
from clima_core.pairing import MAX_LINE_BYTES, FromForwarder, FromStation, Offer, Reveal, State

TIMEOUT_S = 10.0

REFUSALS = {
    "busy": "too many stations ask there at once: try again in ten minutes, or have somebody there"
    " answer those that ask (`clima stations add`)",
    "busy_name": "this name was asked for too often: try again in ten minutes, or have somebody"
    " there answer (`clima stations add`)",
    "version": "it pairs in another way: bring both to the same version",
    "protocol": "it did not understand this station: bring both to the same version",
}

_M = TypeVar("_M", Offer, Reveal, State)


class PairingError(ClimaError):
    """The pairing came to nothing, and nothing is trusted; the message says why."""

    exit_code = EXIT_FINDING


class Peer(NamedTuple):
    """Where a forwarder pairs."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{_bracketed(self.host)}:{self.port}"

    def stations(self, port: int) -> str:
        """The address that stations send to, at the same host."""
        return f"tcp://{_bracketed(self.host)}:{port}"


def parsed(address: str, port: int) -> Peer:
    """`weather.local`, `192.168.1.10:5573`, `tcp://[fe80::1]:5573`; `port` where none is named."""
    try:
        url = urlsplit(address if "://" in address else f"tcp://{address}")
        if url.scheme == "tcp" and url.hostname and not url.path and not url.username:
            return Peer(url.hostname, url.port or port)
    except ValueError:
        pass
    raise ConfigurationError(
        f'ADDRESS: "{address}"; expected the forwarder\'s host, such as "weather.local",'
        f' "192.168.1.10" or "192.168.1.10:{port}"'
    )


class Agreed(NamedTuple):
    """What both sides have said; only the digits tell whether it was to each other."""

    forwarder_key: str  # hexadecimal
    port: int
    attempt: str
    digits: str


def begin(peer: Peer, public_key: bytes, station: str, board: str) -> Agreed:
    """Exchange keys and nonces.

    `UnavailableError` where nobody answers, `PairingError` where it comes to nothing.
    """
    side = pairing.StationSide(public_key, station, board)
    with _Connection(peer) as connection:
        offer = connection.asked(side.request, Offer)
        try:
            reveal = connection.asked(side.offered(offer), Reveal)
            digits = side.revealed(reveal)
        except (ClimaError, OSError) as error:
            raise PairingError(
                f"{peer}: broken off in the middle: {error}. Nothing was trusted. Begin anew; if it"
                " comes again, somebody may sit between this station and the forwarder"
            ) from error
    return Agreed(offer.public_key, offer.port, reveal.attempt, digits)


def tell(peer: Peer, message: pairing.Confirm | pairing.Withdraw) -> State:
    """What the forwarder says has become of the attempt: a hint, and no proof."""
    with _Connection(peer) as connection:
        return connection.asked(message, State)


class _Connection:
    """A question, an answer, line by line; no more than a line is read, and not for ever."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._deadline = time.monotonic() + TIMEOUT_S

    def __enter__(self) -> _Connection:
        try:
            self._socket = socket.create_connection(self._peer, timeout=TIMEOUT_S)
        except OSError as error:
            raise UnavailableError(
                f"{self._peer}: {error.strerror or error}; is the address right, does the forwarder"
                f" run, and does its firewall let port {self._peer.port} through? Without pairing:"
                " clima-agent enroll ADDRESS --key KEY"
            ) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._socket.close()

    def asked(self, message: FromStation, kind: type[_M]) -> _M:
        """The answer to a message, which is of this kind."""
        try:
            self._socket.sendall(pairing.encode(message))
            answer = self._read()
        except OSError as error:
            raise UnavailableError(
                f"{self._peer}: {error.strerror or error}; is that the port that forwarders pair at"
                f" ({pairing.PORT})?"
            ) from error
        except ProtocolError as error:
            raise PairingError(f"{self._peer}: is no forwarder to pair with: {error}") from error
        if isinstance(answer, pairing.Refusal):
            why = REFUSALS.get(answer.code, f'it says "{answer.code}"')
            raise PairingError(f"{self._peer}: {why}")
        if not isinstance(answer, kind):
            raise PairingError(f"{self._peer}: does not pair as docs/protocol.md says")
        return answer

    def _read(self) -> FromForwarder:
        line = b""
        while not line.endswith(b"\n"):
            left_s = self._deadline - time.monotonic()
            if left_s <= 0:
                raise TimeoutError("it does not answer")
            self._socket.settimeout(left_s)
            more = self._socket.recv(MAX_LINE_BYTES + 1 - len(line))
            line += more
            if not more:
                raise ConnectionError("it has closed the connection")
            if len(line) > MAX_LINE_BYTES:
                raise ProtocolError("a line without end")
        return pairing.decode_from_forwarder(line)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
