"""The messages of the wire: what goes in comes out, and nothing else gets through."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
import zstandard
from hypothesis import example, given
from hypothesis import strategies as st

from clima_core import wire
from clima_core.errors import ProtocolError
from clima_core.identity import MAX_SEQUENCE, Lane
from clima_core.ranges import Ranges

NOW = datetime(2026, 1, 1, tzinfo=UTC)
JOURNAL = "0123456789ab"
LANE = Lane(JOURNAL, "w")
REPORT = wire.LaneReport(
    JOURNAL, "w", 1, 9, NOW, [(3, 4), (8, 8)], [wire.Dropped(1, 2, "disk_full")]
)
FROM_AGENT: list[tuple[wire.FromAgent, bytes]] = [
    (wire.Hello([1], "clima-agent 1", "roof", NOW, [REPORT]), b""),
    (wire.Batch(JOURNAL, "s", 5, 2, 100), b"payload"),
    (wire.Live(), b"{}"),
    (wire.Ping(NOW, [REPORT]), b""),
    (wire.Ping(NOW), b""),
]
FROM_FORWARDER: list[wire.FromForwarder] = [
    wire.Welcome(1, NOW, 4, 10.0, 1000, 2**20, [wire.Seen(JOURNAL, "l", 0)]),
    wire.Refusal("version", "another", 60.0),
    wire.Restart(),
    wire.Ack(JOURNAL, "w", [(1, 5), (7, 7)], 0),
    wire.Nack(JOURNAL, "w", [(1, 1)], "retry", "clock_ahead", "ahead", 3, NOW, 30.0),
    wire.Nack(JOURNAL, "w", [(1, 1)], "conflict", "conflict", "taken", 3, NOW),
    wire.Resend(JOURNAL, "w", [(1, MAX_SEQUENCE)]),
    wire.Pong(NOW, 4),
    wire.Pong(NOW, 4, NOW + timedelta(microseconds=1)),
]


def header(message: wire.FromAgent | wire.FromForwarder, /, **changed: object) -> list[bytes]:
    """Its frames, with something else in the header."""
    fields: dict[str, Any] = msgspec.json.decode(wire.encode(message)[1])
    kept = {name: value for name, value in (fields | changed).items() if value is not ...}
    return [wire.PROTOCOL, msgspec.json.encode(kept)]


@pytest.mark.parametrize(("message", "payload"), FROM_AGENT)
def test_what_an_agent_says_is_understood(message: wire.FromAgent, payload: bytes) -> None:
    """Header and payload, as they were."""
    frames = wire.encode(message, payload or None)
    assert (message, payload) == wire.decode_from_agent(frames)


@pytest.mark.parametrize("message", FROM_FORWARDER)
def test_what_a_forwarder_says_is_understood(message: wire.FromForwarder) -> None:
    """As it was."""
    assert message == wire.decode_from_forwarder(wire.encode(message))


def test_neither_says_what_is_the_others_to_say() -> None:
    """A batch for an agent is no message, nor is an ACK for a forwarder."""
    for message, payload in FROM_AGENT:
        with pytest.raises(ProtocolError):
            wire.decode_from_forwarder(wire.encode(message, payload or None))
    for answer in FROM_FORWARDER:
        with pytest.raises(ProtocolError):
            wire.decode_from_agent(wire.encode(answer))


@pytest.mark.parametrize(
    "frames",
    [
        [],
        [wire.PROTOCOL],
        [wire.PROTOCOL, b"{}"],
        [b"CLIMA2", b'{"type":"live"}', b"{}"],
        [wire.PROTOCOL, b'{"type":"live"}', b"{}", b""],
        [wire.PROTOCOL, b'{"type":"live"}'],
        [wire.PROTOCOL, b'{"type":"live"}', b""],
        [wire.PROTOCOL, b'{"type":"ping","time":"2026-01-01T00:00:00Z"}', b"{}"],
        [wire.PROTOCOL, b'{"type":"ping","time":"\xff"}'],
        [wire.PROTOCOL, b'{"type":' * 20_000],
        [wire.PROTOCOL, b"[" * 60_000],
        [wire.PROTOCOL, b'{"type":"live"' + b" " * wire.MAX_HEADER_BYTES + b"}", b"{}"],
    ],
)
def test_frames_that_are_no_message(frames: list[bytes]) -> None:
    """Too few, too many, too long, another protocol, with a payload or without."""
    with pytest.raises(ProtocolError):
        wire.decode_from_agent(frames)


@pytest.mark.parametrize(
    "changed",
    [
        {"journal": JOURNAL.upper()},
        {"journal": JOURNAL[:-1]},
        {"journal": JOURNAL + "\n"},
        {"journal": None},
        {"stream": "x"},
        {"first": 0},
        {"first": -1},
        {"first": MAX_SEQUENCE + 1},
        {"first": MAX_SEQUENCE, "count": 2},
        {"first": 2**70},
        {"first": 1.5},
        {"first": "1"},
        {"count": 0},
        {"count": wire.MAX_BATCH_RECORDS + 1},
        {"size": 1},
        {"size": wire.MAX_BATCH_BYTES + 1},
        {"size": ...},
    ],
)
def test_the_bounds_of_a_batch(changed: dict[str, Any]) -> None:
    """Each is checked before the payload is looked at."""
    batch = wire.Batch(JOURNAL, "w", 1, 1, 2)
    assert (batch, b"x") == wire.decode_from_agent([*header(batch), b"x"])
    with pytest.raises(ProtocolError):
        wire.decode_from_agent([*header(batch, **changed), b"x"])


@pytest.mark.parametrize(
    "changed",
    [
        {"time": "2026-01-01T00:00:00"},
        {"time": "yesterday"},
        {"software": "x" * 501},
        {"station": "x" * 501},
        {"lanes": [msgspec.to_builtins(REPORT)] * (wire.MAX_LANES + 1)},
        {"lanes": [msgspec.to_builtins(REPORT) | {"since": "2026-01-01T00:00:00"}]},
        {"lanes": [msgspec.to_builtins(REPORT) | {"since": "0001-01-01T00:00:00+14:00"}]},
        {"lanes": [msgspec.to_builtins(REPORT) | {"last": MAX_SEQUENCE + 1}]},
        {"lanes": [msgspec.to_builtins(REPORT) | {"waiting": [(1, 1)] * (wire.MAX_PAIRS + 1)}]},
        {"lanes": [msgspec.to_builtins(REPORT) | {"waiting": [(1, 2, 3)]}]},
    ],
)
def test_the_bounds_of_a_greeting(changed: dict[str, Any]) -> None:
    """Times have a zone and a place in the calendar, lists an end."""
    hello, _ = FROM_AGENT[0]
    assert hello == wire.decode_from_agent(header(hello))[0]
    with pytest.raises(ProtocolError):
        wire.decode_from_agent(header(hello, **changed))


@pytest.mark.parametrize(
    ("number", "changed"),
    [
        (0, {"credit": -1}),
        (0, {"heartbeat_s": 0.0}),
        (0, {"heartbeat_s": 1e300}),
        (0, {"max_records": 0}),
        (0, {"max_bytes": 0}),
        (0, {"time": "2026-01-01T00:00:00"}),
        (1, {"retry_after_s": -1.0}),
        (1, {"retry_after_s": 1e300}),
        (3, {"credit": 10**6}),
        (3, {"ranges": [(0, 1)]}),
        (3, {"ranges": [(1, 1)] * (wire.MAX_PAIRS + 1)}),
        (4, {"action": "forget"}),
        (4, {"retry_after_s": 1e300}),
    ],
)
def test_the_bounds_of_an_answer(number: int, changed: dict[str, Any]) -> None:
    """None can make an agent spin, wait for ever, or stand still."""
    assert FROM_FORWARDER[number] == wire.decode_from_forwarder(header(FROM_FORWARDER[number]))
    with pytest.raises(ProtocolError):
        wire.decode_from_forwarder(header(FROM_FORWARDER[number], **changed))


def test_what_a_later_version_adds_is_passed_over() -> None:
    """A field that nobody here knows does no harm."""
    message, _ = FROM_AGENT[0]
    assert message == wire.decode_from_agent(header(message, mood="sunny"))[0]


def test_a_list_of_ranges_is_cut_at_the_end() -> None:
    """The lowest travel first: less is claimed, never more."""
    ranges = Ranges((n, n) for n in range(1, 4000, 2))
    assert list(ranges.pairs[: wire.MAX_PAIRS]) == wire.pairs(ranges)


@given(
    st.lists(
        st.tuples(st.integers(0, 500), st.integers(0, 500), st.integers(1, 2**48 - 2000)),
        max_size=100,
    )
)
@example([(500, 500, 2**48 - 2000)] * 100)
def test_reports_are_cut_until_they_fit(sizes: list[tuple[int, int, int]]) -> None:
    """Each lane is there as long as there is a place, and its lists from their beginning."""
    lanes = [
        wire.LaneReport(
            JOURNAL,
            "w",
            1,
            MAX_SEQUENCE,
            NOW,
            [(first + n, first + n) for n in range(waiting)],
            [wire.Dropped(first + n, first + n, "spool_full") for n in range(dropped)],
        )
        for waiting, dropped, first in sizes
    ]
    fitted = wire.fitted(lanes)
    hello = wire.Hello([1], "x" * 500, "x" * 500, NOW, fitted)
    assert hello == wire.decode_from_agent(wire.encode(hello))[0]
    assert len(lanes[: wire.MAX_LANES]) == len(fitted)
    for whole, cut in zip(lanes, fitted, strict=False):
        assert whole.waiting[: len(cut.waiting)] == cut.waiting
        assert whole.dropped[: len(cut.dropped)] == cut.dropped


# -- batches -----------------------------------------------------------------------------------


def packed(records: list[bytes]) -> tuple[wire.Batch, bytes]:
    frames = wire.Packer().pack(LANE, 7, records)
    message, payload = wire.decode_from_agent(frames)
    assert isinstance(message, wire.Batch)
    return message, payload


@given(st.lists(st.binary(min_size=2).map(lambda b: b.replace(b"\n", b"")), min_size=1))
@example([b"{}"] * 1000)
@example([b"x" * wire.MAX_RECORD_BYTES] * 15)
def test_records_come_out_as_they_went_in(records: list[bytes]) -> None:
    """Byte for byte, in order."""
    if len(b"\n".join(records)) < 2:
        return
    message, payload = packed(records)
    assert (LANE, 7, 6 + len(records)) == (message.lane, message.first, message.last)
    assert records == wire.Unpacker().unpack(message, payload)


def test_a_packer_and_an_unpacker_are_used_again() -> None:
    """After a bad payload too."""
    unpacker, packer = wire.Unpacker(), wire.Packer()
    for text in (b"one", b"two"):
        message, payload = wire.decode_from_agent(packer.pack(LANE, 1, [text]))
        assert isinstance(message, wire.Batch)
        with pytest.raises(ProtocolError):
            unpacker.unpack(message, payload[:-1])
        assert [text] == unpacker.unpack(message, payload)


ZEROS = b"\0" * (64 * 1024 * 1024)


def bomb(*, stated: bool, window_log: int = 20, size: int = len(ZEROS)) -> bytes:
    parameters = zstandard.ZstdCompressionParameters.from_level(
        3, window_log=window_log, write_content_size=stated
    )
    compressor = zstandard.ZstdCompressor(compression_params=parameters)
    if stated:
        return compressor.compress(ZEROS[:size])
    stream = compressor.compressobj()
    return stream.compress(ZEROS[:size]) + stream.flush()


def lying(payload: bytes, size: int) -> bytes:
    """The frame with another size stated in its header (a field of four bytes)."""
    assert payload[4] >> 6 == 2
    place = 5 if payload[4] & 0x20 else 6
    return payload[:place] + size.to_bytes(4, "little") + payload[place + 4 :]


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"x",
        b"x" * 100,
        bomb(stated=True),
        bomb(stated=False),
        bomb(stated=False, size=1000),
        bomb(stated=False, window_log=27),
        lying(bomb(stated=True), 1000),
        zstandard.ZstdCompressor().compress(b"x" * 999),
        zstandard.ZstdCompressor().compress(b"x" * 1001),
        zstandard.ZstdCompressor().compress(b"x" * 1000) + b"more",
        zstandard.ZstdCompressor().compress(b"x" * 1000) * 2,
        zstandard.ZstdCompressor().compress(b"x" * 1000)[:-1],
        b"\x50\x2a\x4d\x18\x04\0\0\0text",  # a skippable frame
    ],
)
def test_a_payload_that_is_not_what_the_header_says(payload: bytes) -> None:
    """Refused before more than the stated size is made of it, however much it would unfold to."""
    message = wire.Batch(JOURNAL, "w", 1, 1, 1000)
    with pytest.raises(ProtocolError):
        wire.Unpacker().unpack(message, payload)


def test_a_window_that_is_too_large_is_refused() -> None:
    """Whatever size is stated: the window is what a decompressor allocates."""
    small = zstandard.ZstdCompressor().compress(b"x" * 1000)
    frame = small[:4] + bytes([0x40, (27 - 10) << 3]) + (1000 - 256).to_bytes(2, "little")
    parameters = zstandard.get_frame_parameters(frame + small[7:])
    assert (1000, 2**27) == (parameters.content_size, parameters.window_size)
    with pytest.raises(ProtocolError):
        wire.Unpacker().unpack(wire.Batch(JOURNAL, "w", 1, 1, 1000), frame + small[7:])


def test_the_number_of_records_must_be_as_stated() -> None:
    """Their sequences hang on it."""
    message, payload = packed([b"one", b"two"])
    for count in (1, 3):
        with pytest.raises(ProtocolError, match="2 records"):
            wire.Unpacker().unpack(msgspec.structs.replace(message, count=count), payload)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**65), 2**65)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
names = sorted({name for message in [*FROM_FORWARDER, *(m for m, _ in FROM_AGENT)]
                for name in msgspec.json.decode(wire.encode(message)[1])})  # fmt: skip
types = [msgspec.json.decode(wire.encode(m)[1])["type"] for m in FROM_FORWARDER] + [
    msgspec.json.decode(wire.encode(m)[1])["type"] for m, _ in FROM_AGENT
]
headers = (
    st.binary()
    | st.dictionaries(st.sampled_from(names), json_values).map(msgspec.json.encode)
    | st.builds(
        lambda kind, fields: msgspec.json.encode({**fields, "type": kind}),
        st.sampled_from(types),
        st.dictionaries(st.sampled_from(names), json_values),
    )
    | st.builds(
        lambda message, name, value: header(message, **{name: value})[1],
        st.sampled_from([*FROM_FORWARDER, *(m for m, _ in FROM_AGENT)]),
        st.sampled_from(names),
        json_values,
    )
)


@given(st.sampled_from([wire.PROTOCOL, b""]), headers, st.lists(st.binary(), max_size=2))
def test_whatever_comes_is_a_message_or_a_protocol_error(
    protocol: bytes, text: bytes, rest: list[bytes]
) -> None:
    """Never another exception: that would end the process of an honest peer."""
    for decode in (wire.decode_from_agent, wire.decode_from_forwarder):
        try:
            decode([protocol, text, *rest])
        except ProtocolError as error:
            assert str(error)  # noqa: PT017 - any message will do


@given(st.binary(max_size=200), st.integers(0, 200), st.integers(2, 2**20), st.integers(1, 1000))
def test_whatever_a_payload_is_it_unfolds_or_is_refused(
    garbage: bytes, at: int, size: int, count: int
) -> None:
    """Garbage alone, and a good payload with garbage in it."""
    message, payload = packed([b"record " + bytes([n]) * n for n in range(60, 80)])
    broken = payload[:at] + garbage + payload[at + len(garbage) :]
    batch = wire.Batch(JOURNAL, "w", 1, count, size)
    for header_, content in ((batch, garbage), (message, broken), (batch, broken)):
        try:
            records = wire.Unpacker().unpack(header_, content)
        except ProtocolError:
            continue
        assert header_.count == len(records)
        assert header_.size == len(b"\n".join(records))
