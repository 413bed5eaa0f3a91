"""A station on the wire, for tests: a DEALER with CURVE that says just what it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, TypeVar

import msgspec
import zmq
import zmq.asyncio

from clima_core import wire
from clima_core.identity import DATA_SETS, Lane, Stream, event_id
from clima_core.keys import KeyPair
from clima_core.reading import rfc3339

M = TypeVar("M", bound=wire.FromForwarder)

JOURNAL = "0123456789ab"
LANE = Lane(JOURNAL, "w")
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
TIMEOUT_S = 60.0


def record(
    station: str, sequence: int, /, *, lane: Lane = LANE, moment: datetime = NOON, **fields: Any
) -> bytes:
    """A good record; `fields` replace whole fields, and None takes one away."""
    document = {
        "@timestamp": rfc3339(moment),
        "data_stream": DATA_SETS[lane.stream]._asdict(),
        "event": {"id": event_id(station, lane, sequence), "sequence": sequence},
        "station": {"id": station, "journal": lane.journal},
        "weather": {"air_temperature": 21.5},
        **fields,
    }
    return msgspec.json.encode({name: value for name, value in document.items() if value})


def report(lane: Lane, last: int) -> wire.LaneReport:
    """A lane as HELLO reports it."""
    return wire.LaneReport(lane.journal, lane.stream, first=1, last=last, since=NOON)


class Client:
    """One connection of one station; use it in `async with`."""

    def __init__(
        self,
        address: str,
        server_key: str,
        keys: KeyPair,
        station: str,
        *,
        routing_id: bytes | None = None,
    ) -> None:
        self.station = station
        self._context = zmq.asyncio.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.linger = 0
        self._socket.sndhwm = self._socket.rcvhwm = 0
        self._socket.curve_serverkey = server_key.encode()
        self._socket.curve_publickey = keys.public.encode()
        self._socket.curve_secretkey = keys.secret.reveal().encode()
        if routing_id is not None:
            self._socket.routing_id = routing_id
        self._monitor = self._socket.get_monitor_socket()
        self._socket.connect(address)
        self._packer = wire.Packer()

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._socket.disable_monitor()
        self._monitor.close()
        self._socket.close()
        self._context.term()

    # -- out -------------------------------------------------------------------------------

    async def send(self, *frames: bytes) -> None:
        """Any frames whatsoever."""
        await self._socket.send_multipart(frames)

    async def say(self, message: wire.FromAgent, payload: bytes | None = None) -> None:
        await self.send(*wire.encode(message, payload))

    async def hello(self, lasts: Mapping[Lane, int] | None = None, **changes: Any) -> None:
        """HELLO, by default with one lane that nothing was assigned in yet."""
        lanes = [report(lane, last) for lane, last in (lasts or {LANE: 0}).items()]
        hello = wire.Hello([wire.VERSION], "test", self.station, datetime.now(UTC), lanes)
        await self.say(msgspec.structs.replace(hello, **changes))

    async def batch(self, first: int, bodies: Sequence[bytes], lane: Lane = LANE) -> None:
        await self.send(*self._packer.pack(lane, first, bodies))

    async def records(self, first: int, last: int, stream: Stream = "w") -> list[bytes]:
        """Send good records in one batch; returns them."""
        lane = Lane(JOURNAL, stream)
        bodies = [record(self.station, each, lane=lane) for each in range(first, last + 1)]
        await self.batch(first, bodies, lane)
        return bodies

    async def ping(self) -> wire.Pong:
        """The answer to a PING. Answers come in order: whatever came before it was dealt with."""
        ping = wire.Ping(datetime.now(UTC))
        await self.say(ping)
        while (pong := await self.expect(wire.Pong)).asked != ping.time:
            assert pong.asked is None, pong  # nobody asked for it: the credit has changed
        return pong

    # -- in --------------------------------------------------------------------------------

    async def receive(self) -> wire.FromForwarder:
        """The next message, whatever it is."""
        frames = await asyncio.wait_for(self._socket.recv_multipart(), TIMEOUT_S)
        return wire.decode_from_forwarder(frames)

    async def expect(self, kind: type[M]) -> M:
        """The next message, which is of this kind; a PONG that nobody asked for is passed over."""
        while True:
            message = await self.receive()
            if isinstance(message, kind):
                return message
            assert isinstance(message, wire.Pong), message

    async def open(self, lasts: Mapping[Lane, int] | None = None) -> wire.Welcome:
        await self.hello(lasts)
        return await self.expect(wire.Welcome)

    async def event(self, *kinds: zmq.Event) -> zmq.Event:
        """Wait for one of these things to happen to the connection; returns which."""
        while True:
            frames = await asyncio.wait_for(self._monitor.recv_multipart(), TIMEOUT_S)
            happened = zmq.Event(int.from_bytes(frames[0][:2], "little"))
            if happened in kinds:
                return happened
