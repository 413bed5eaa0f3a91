"""How a station and a forwarder that do not know each other's key come to: messages and proof.

The key exchange goes over a plain connection, so somebody in between could give each side a key of
his own. What finds him out are six digits that both sides show and a person compares: *numeric
comparison* as in Bluetooth's Secure Simple Pairing (Bluetooth Core Specification, Vol 2 Part H,
7.2.1 and 7.7; Vol 3 Part H, 2.3.5.6.2), with the station as initiator:

    station    REQUEST  station, board, PKa           ->
               <-  OFFER  PKb, port, commitment = H("commitment", PKb, PKa, Nb, …)     forwarder
    station    NONCE  Na                              ->
               <-  REVEAL  Nb, attempt                                                 forwarder
    both show  H("digits", PKa, PKb, Na, Nb, …) mod 10^6

Digits of the bare keys would not do: who sits in between tries keys until the two numbers are the
same, a million tries, less than a second. Here he has nothing left to try. What always holds:

- The forwarder sends Nb only after it has Na, and has told a hash of Nb before. So whoever plays
  forwarder towards the station fixes his Nb before he can know the digits, and the station
  refuses another; whoever plays station towards the forwarder fixes his Na before.
- One commitment, one Na, one Nb: each object here goes through its steps once, in order, and
  whoever fails begins a new attempt with new nonces.
- The digits cover everything that either side shows or uses: both keys, name, board, port.
  Each field has its length before it, and each hash says what it is for.

So keys that somebody put in between are found out, but for one chance in a million at each attempt;
how many attempts he gets is bounded by both sides (docs/pairing.md).

A message is one line of JSON. Nothing here does I/O. What does not fit raises `ProtocolError`.
"""

from __future__ import annotations

import hmac
import re
import secrets
from hashlib import sha256
from typing import Annotated, Literal, NamedTuple, TypeVar

import msgspec

from clima_core.errors import ConfigurationError, ProtocolError
from clima_core.identity import STATION_ID

VERSION = 1
PORT = 5573
SERVICE = "_clima._tcp.local."  # by which mDNS knows it
MAX_LINE_BYTES = 1024
LIFE_S = 600.0  # of an attempt, until both people have said yes
NONCE_BYTES = 32
DIGITS = 6

Octets = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]  # 32 of them
AttemptId = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}\Z")]
StationId = Annotated[str, msgspec.Meta(pattern=STATION_ID.pattern)]
Printable = Annotated[str, msgspec.Meta(pattern=r"^[ -~]{0,64}\Z")]  # it goes to a terminal
Code = Annotated[str, msgspec.Meta(pattern=r"^[a-z_]{1,40}\Z")]
Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]


class Request(msgspec.Struct, frozen=True, tag="request"):
    """Station: asks to be let in under this name, with this key."""

    version: int
    station: StationId
    board: Printable
    public_key: Octets


class Offer(msgspec.Struct, frozen=True, tag="offer"):
    """Forwarder: its key, the port that stations send to, and the commitment to its nonce."""

    public_key: Octets
    port: Port
    commitment: Octets


class Nonce(msgspec.Struct, frozen=True, tag="nonce"):
    """Station: its nonce; sent only once it has the commitment."""

    nonce: Octets


class Reveal(msgspec.Struct, frozen=True, tag="reveal"):
    """Forwarder: the nonce that it had committed to, and what to call this attempt from now on."""

    nonce: Octets
    attempt: AttemptId


class Confirm(msgspec.Struct, frozen=True, tag="confirm"):
    """Station: the person there says that the digits agree. Said again to hear what came of it."""

    attempt: AttemptId


class Withdraw(msgspec.Struct, frozen=True, tag="withdraw"):
    """Station: the person there says that they do not."""

    attempt: AttemptId


class State(msgspec.Struct, frozen=True, tag="state"):
    """Forwarder: what has become of the attempt. A hint: it is not proven who says it."""

    state: Literal["waiting", "accepted", "refused", "gone"]


class Refusal(msgspec.Struct, frozen=True, tag="refusal"):
    """Forwarder: it does not go on, and why (docs/protocol.md has the codes)."""

    code: Code


FromStation = Request | Nonce | Confirm | Withdraw
FromForwarder = Offer | Reveal | State | Refusal

_encoder = msgspec.json.Encoder()
_from_station = msgspec.json.Decoder(FromStation)
_from_forwarder = msgspec.json.Decoder(FromForwarder)
_M = TypeVar("_M")


def encode(message: FromStation | FromForwarder) -> bytes:
    """The line, with its end."""
    return _encoder.encode(message) + b"\n"


def decode_from_station(line: bytes) -> FromStation:
    """A message to the forwarder; `ProtocolError` when it is not one."""
    message: FromStation = _decode(_from_station, line)
    return message


def decode_from_forwarder(line: bytes) -> FromForwarder:
    """A message to the station; `ProtocolError` when it is not one."""
    message: FromForwarder = _decode(_from_forwarder, line)
    return message


def _decode(decoder: msgspec.json.Decoder[_M], line: bytes) -> _M:
    if len(line) > MAX_LINE_BYTES:
        raise ProtocolError(f"a line of more than {MAX_LINE_BYTES} bytes")
    try:
        return decoder.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(f"unreadable line: {error}") from error


class Terms(NamedTuple):
    """What the two agree on, as one side sees it; the digits agree only where all of it does."""

    station_key: bytes
    forwarder_key: bytes
    station: str
    board: str
    port: int

    @property
    def _named(self) -> tuple[bytes, ...]:
        return self.station.encode(), self.board.encode(), self.port.to_bytes(2, "big")

    def commitment(self, forwarder_nonce: bytes) -> bytes:
        """What the forwarder says of its nonce before it has the station's; f1 of Bluetooth."""
        return _hash(
            "commitment", self.forwarder_key, self.station_key, forwarder_nonce, *self._named
        )

    def digits(self, station_nonce: bytes, forwarder_nonce: bytes) -> str:
        """What people compare; g of Bluetooth."""
        both = (self.station_key, self.forwarder_key, station_nonce, forwarder_nonce)
        number = int.from_bytes(_hash("digits", *both, *self._named)[:8], "big")
        return f"{number % 10**DIGITS:0{DIGITS}}"


def _hash(purpose: str, *fields: bytes) -> bytes:
    """SHA-256 of the fields, each after its length: no two lists of fields read the same."""
    named = (f"CLIMA pairing {VERSION} {purpose}".encode(), *fields)
    return sha256(b"".join(len(each).to_bytes(2, "big") + each for each in named)).digest()


def shown(digits: str) -> str:
    """As people read them: `482 913`."""
    return f"{digits[:3]} {digits[3:]}"


def typed(digits: str) -> str:
    """As a person typed what the other side shows; `ConfigurationError` when they are not six."""
    found = re.sub(r"[\s-]", "", digits)
    if not re.fullmatch(rf"[0-9]{{{DIGITS}}}", found):
        raise ConfigurationError(
            f'--digits: "{digits}"; expected the {DIGITS} digits that the other side shows, such'
            " as 482913"
        )
    return found


class StationSide:
    """One attempt of a station: `request`, `offered`, `revealed`, each once and in this order."""

    def __init__(
        self, public_key: bytes, station: str, board: str, nonce: bytes | None = None
    ) -> None:
        """`nonce`: a test's; 32 random bytes otherwise."""
        self.request = Request(VERSION, station, board, public_key.hex())
        self._key = public_key
        self._nonce = nonce or secrets.token_bytes(NONCE_BYTES)
        self._offer: Offer | None = None
        self._done = False

    def offered(self, offer: Offer) -> Nonce:
        """Keep what the forwarder has committed to; only then is our nonce given away."""
        if self._offer is not None:
            raise ProtocolError("a second offer for one request")
        if offer.public_key == self.request.public_key:
            raise ProtocolError("the offer has this station's own key")
        self._offer = offer
        return Nonce(self._nonce.hex())

    def revealed(self, reveal: Reveal) -> str:
        """The digits; `ProtocolError` when the nonce is not the one that was committed to."""
        if self._offer is None or self._done:
            raise ProtocolError("a nonce that nobody has asked for")
        self._done = True
        terms, theirs = self.terms(self._offer), bytes.fromhex(reveal.nonce)
        committed = bytes.fromhex(self._offer.commitment)
        if not hmac.compare_digest(committed, terms.commitment(theirs)):
            raise ProtocolError("the nonce is not the one that was committed to")
        return terms.digits(self._nonce, theirs)

    def terms(self, offer: Offer) -> Terms:
        """What is agreed on."""
        theirs = bytes.fromhex(offer.public_key)
        return Terms(self._key, theirs, self.request.station, self.request.board, offer.port)


class ForwarderSide:
    """One attempt as the forwarder sees it: `offer`, then `heard`, once."""

    def __init__(
        self, request: Request, public_key: bytes, port: int, nonce: bytes | None = None
    ) -> None:
        """`nonce`: a test's; 32 random bytes otherwise."""
        if request.public_key == public_key.hex():
            raise ProtocolError("the request has this forwarder's own key")
        theirs = bytes.fromhex(request.public_key)
        self._terms = Terms(theirs, public_key, request.station, request.board, port)
        self._nonce = nonce or secrets.token_bytes(NONCE_BYTES)
        self._done = False
        self.offer = Offer(public_key.hex(), port, self._terms.commitment(self._nonce).hex())

    def heard(self, nonce: Nonce) -> tuple[Reveal, str]:
        """Our nonce, in answer to the first one heard, and the digits."""
        if self._done:
            raise ProtocolError("a second nonce for one commitment")
        self._done = True
        reveal = Reveal(self._nonce.hex(), secrets.token_hex(16))
        return reveal, self._terms.digits(bytes.fromhex(nonce.nonce), self._nonce)
