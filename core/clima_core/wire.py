"""The messages between agent and forwarder, as docs/protocol.md specifies them.

A message is two or three frames: the protocol's name, a JSON header with a `type`, and for
`batch` and `live` a payload. Nothing here does I/O or keeps state. What comes from a peer is
not trusted: every bound is checked before anything of that size is allocated, and whatever
does not fit raises `ProtocolError`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal, TypeVar

import msgspec
import zstandard

from clima_core.errors import ProtocolError
from clima_core.identity import MAX_SEQUENCE, Lane, Stream
from clima_core.ranges import Pair, Ranges

PROTOCOL = b"CLIMA1"
VERSION = 1
ZAP_DOMAIN = "clima"

MAX_FRAMES = 3
MAX_HEADER_BYTES = 64 * 1024
MAX_FRAME_BYTES = 1024 * 1024
MAX_BATCH_BYTES = 1024 * 1024  # uncompressed
MAX_BATCH_RECORDS = 1000
MAX_RECORD_BYTES = 64 * 1024  # so that a batch can always hold at least one
MAX_PAIRS = 500  # ranges in one list; a longer list is cut, which never claims too much
MAX_LANES = 60
MAX_REPORTS_BYTES = MAX_HEADER_BYTES - 4096  # the rest of HELLO, at its longest
MAX_WINDOW_BYTES = 8 * 1024 * 1024
COMPRESSION_LEVEL = 1  # of readings, which differ in a few digits, 2 to 5 make more bytes

SequenceNumber = Annotated[int, msgspec.Meta(ge=1, le=MAX_SEQUENCE)]
Highest = Annotated[int, msgspec.Meta(ge=0, le=MAX_SEQUENCE)]
JournalName = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{12}\Z")]  # `$` lets a newline by
Pairs = Annotated[list[tuple[SequenceNumber, SequenceNumber]], msgspec.Meta(max_length=MAX_PAIRS)]
Text = Annotated[str, msgspec.Meta(max_length=500)]
Moment = Annotated[datetime, msgspec.Meta(tz=True)]
Credit = Annotated[int, msgspec.Meta(ge=0, le=1000)]
Heartbeat = Annotated[float, msgspec.Meta(ge=0.01, le=3600)]
Pause = Annotated[float, msgspec.Meta(ge=0, le=86400)]
AtLeastOne = Annotated[int, msgspec.Meta(ge=1)]


class Dropped(msgspec.Struct, frozen=True):
    """Sequences that the station itself gave up, and why: `spool_full` or `damaged`."""

    first: SequenceNumber
    last: SequenceNumber
    reason: Text


class LaneReport(msgspec.Struct, frozen=True):
    """What a station says of one lane: all of `first..last` was assigned and is committed.

    `waiting` is what it still holds unacknowledged, `dropped` what it gave up; both may be cut
    at `MAX_PAIRS`, the highest ranges first to go. `since` is when the journal began.
    """

    journal: JournalName
    stream: Stream
    first: SequenceNumber
    last: Highest
    since: Moment
    waiting: Pairs = []
    dropped: Annotated[list[Dropped], msgspec.Meta(max_length=MAX_PAIRS)] = []

    def __post_init__(self) -> None:
        if not 1 < self.since.year < 9999:  # at the edges a time zone leads out of the calendar
            raise ValueError(f"since {self.since.year} is no time that a journal began")

    @property
    def lane(self) -> Lane:
        return Lane(self.journal, self.stream)


class StationReport(msgspec.Struct, frozen=True):
    """A station's lanes as it reported them, with the forwarder's time of the report."""

    station: str
    reported: datetime
    lanes: list[LaneReport]


_M = TypeVar("_M")
LaneReports = Annotated[list[LaneReport], msgspec.Meta(max_length=MAX_LANES)]


class Seen(msgspec.Struct, frozen=True):
    """The highest sequence of a lane that the forwarder's store has seen; 0 when none."""

    journal: JournalName
    stream: Stream
    highest: Highest


class Hello(msgspec.Struct, frozen=True, tag="hello"):
    """Agent: opens a session. Every sequence up to a lane's `last` may have been sent before."""

    versions: list[int]
    software: Text
    station: Text
    time: Moment
    lanes: LaneReports


class Welcome(msgspec.Struct, frozen=True, tag="welcome"):
    """Forwarder: the session is open, under these limits."""

    version: int
    time: Moment
    credit: Credit
    heartbeat_s: Heartbeat
    max_records: AtLeastOne
    max_bytes: AtLeastOne
    seen: list[Seen]


class Refusal(msgspec.Struct, frozen=True, tag="refusal"):
    """Forwarder: no session, and why; the agent asks again no sooner than `retry_after_s`."""

    code: Text
    message: Text
    retry_after_s: Pause


class Restart(msgspec.Struct, frozen=True, tag="restart"):
    """Forwarder: it knows no session of this station; the agent says HELLO again."""


class Batch(msgspec.Struct, frozen=True, tag="batch"):
    """Agent: `count` consecutive records from `first`, NDJSON of `size` bytes, zstd."""

    journal: JournalName
    stream: Stream
    first: SequenceNumber
    count: Annotated[int, msgspec.Meta(ge=1, le=MAX_BATCH_RECORDS)]
    size: Annotated[int, msgspec.Meta(ge=2, le=MAX_BATCH_BYTES)]

    def __post_init__(self) -> None:
        if self.last > MAX_SEQUENCE:
            raise ValueError(f"{self.count} records from {self.first} on: past {MAX_SEQUENCE}")

    @property
    def lane(self) -> Lane:
        return Lane(self.journal, self.stream)

    @property
    def last(self) -> int:
        return self.first + self.count - 1


class Ack(msgspec.Struct, frozen=True, tag="ack"):
    """Forwarder: these sequences are stored, or kept whole as dead letters."""

    journal: JournalName
    stream: Stream
    ranges: Pairs
    credit: Credit


class Nack(msgspec.Struct, frozen=True, tag="nack"):
    """Forwarder: these sequences were not stored as they are, why, and what follows.

    `retry`: send them again no sooner than `retry_after_s`. `dead_letter`: kept as dead letters
    (an ACK frees them). `conflict`: another record has this identity; number them anew.
    """

    journal: JournalName
    stream: Stream
    ranges: Pairs
    action: Literal["retry", "dead_letter", "conflict"]
    code: Text
    message: Text
    credit: Credit
    time: Moment
    retry_after_s: Pause = 0.0


class Live(msgspec.Struct, frozen=True, tag="live"):
    """Agent: a fresh reading without identity, for who watches; no promise, no answer."""


class Resend(msgspec.Struct, frozen=True, tag="resend"):
    """Forwarder: the store lacks these; send what the spool still has of them."""

    journal: JournalName
    stream: Stream
    ranges: Pairs


class Ping(msgspec.Struct, frozen=True, tag="ping"):
    """Agent: still here, and how its lanes stand."""

    time: Moment
    lanes: LaneReports = []


class Pong(msgspec.Struct, frozen=True, tag="pong"):
    """Forwarder: still here; its clock, and how many batches may be in flight.

    `asked` is the `time` of the PING that it answers; None when nobody asked.
    """

    time: Moment
    credit: Credit
    asked: Moment | None = None


FromAgent = Hello | Batch | Live | Ping
FromForwarder = Welcome | Refusal | Restart | Ack | Nack | Resend | Pong

_encoder = msgspec.json.Encoder()
_from_agent = msgspec.json.Decoder(FromAgent)
_from_forwarder = msgspec.json.Decoder(FromForwarder)


def encode(message: FromAgent | FromForwarder, payload: bytes | None = None) -> list[bytes]:
    """The frames of a message, without routing id."""
    frames = [PROTOCOL, _encoder.encode(message)]
    return frames if payload is None else [*frames, payload]


def decode_from_agent(frames: Sequence[bytes]) -> tuple[FromAgent, bytes]:
    """Header and payload of a message to the forwarder; `ProtocolError` when it is not one."""
    header, payload = _split(frames)
    message = _decode(_from_agent, header)
    if isinstance(message, Batch | Live) != bool(payload):
        raise ProtocolError("a batch and a live message have a payload, the others have none")
    return message, payload


def decode_from_forwarder(frames: Sequence[bytes]) -> FromForwarder:
    """A message to the agent; `ProtocolError` when it is not one."""
    message: FromForwarder = _decode(_from_forwarder, _split(frames)[0])
    return message


def _split(frames: Sequence[bytes]) -> tuple[bytes, bytes]:
    if not 2 <= len(frames) <= MAX_FRAMES:
        raise ProtocolError(f"{len(frames)} frames; a message has two or three")
    if frames[0] != PROTOCOL:
        raise ProtocolError("the first frame does not name the protocol CLIMA1")
    if len(frames[1]) > MAX_HEADER_BYTES:
        raise ProtocolError(f"a header of {len(frames[1])} bytes; {MAX_HEADER_BYTES} are allowed")
    return frames[1], frames[2] if len(frames) > 2 else b""


def _decode(decoder: msgspec.json.Decoder[_M], header: bytes) -> _M:
    try:
        return decoder.decode(header)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(f"unreadable header: {error}") from error


def pairs(ranges: Ranges) -> list[Pair]:
    """Ranges as they travel: the lowest first, cut at `MAX_PAIRS`."""
    return list(ranges.pairs[:MAX_PAIRS])


def fitted(lanes: Sequence[LaneReport]) -> list[LaneReport]:
    """As many of the lanes, with as much of their lists, as a header can carry."""
    fitting, most = list(lanes[:MAX_LANES]), MAX_PAIRS
    while len(_encoder.encode(fitting)) > MAX_REPORTS_BYTES:
        most //= 2
        fitting = [
            msgspec.structs.replace(each, waiting=each.waiting[:most], dropped=each.dropped[:most])
            for each in fitting
        ]
    return fitting


class Packer:
    """Packs records into the payload of a batch; keeps its compressor, which is costly to make."""

    def __init__(self, level: int = COMPRESSION_LEVEL) -> None:
        self._compressor = zstandard.ZstdCompressor(level=level, write_content_size=True)

    def pack(self, lane: Lane, first: int, records: Sequence[bytes]) -> list[bytes]:
        """The frames of a BATCH of consecutive records, the first numbered `first`."""
        text = b"\n".join(records)
        header = Batch(lane.journal, lane.stream, first, len(records), len(text))
        return encode(header, self._compressor.compress(text))


class Unpacker:
    """Unpacks the payload of a batch, and believes nothing that the payload says of itself.

    The size in the zstd frame must be the header's, and both within bounds, before a byte is
    decompressed: python-zstandard ignores `max_output_size` where the frame states a size.
    """

    def __init__(self) -> None:
        self._decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES)

    def unpack(self, header: Batch, payload: bytes) -> list[bytes]:
        """The records of a batch, `header.count` of them."""
        try:
            frame = zstandard.get_frame_parameters(payload)
            if frame.content_size != header.size or frame.window_size > MAX_WINDOW_BYTES:
                raise ProtocolError("the zstd frame does not state the size that the header has")
            text = self._decompressor.decompress(payload, allow_extra_data=False)
        except zstandard.ZstdError as error:
            raise ProtocolError(f"unreadable payload: {error}") from error
        records = text.split(b"\n")
        if len(records) != header.count:
            raise ProtocolError(f"{len(records)} records; the header says {header.count}")
        return records
