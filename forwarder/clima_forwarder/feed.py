"""The live feed: every fresh reading to whoever watches, with no promise.

A PUB socket; the topic is `weather.<station>`, so a subscriber can choose. A slow one loses
messages, and nothing else ever waits for it.
"""

from __future__ import annotations

from datetime import datetime

import msgspec
import zmq

from clima_core.errors import UnavailableError
from clima_core.reading import Flags, Values, Weather
from clima_core.wire import MAX_RECORD_BYTES

TOPIC = b"weather."
HIGH_WATER_MARK = 1000  # messages kept per subscriber


class _Who(msgspec.Struct):
    id: str


class _Live(msgspec.Struct):
    """As much of a live reading as whoever watches may rely on."""

    timestamp: datetime = msgspec.field(name="@timestamp")
    station: _Who
    weather: Weather = msgspec.field(default_factory=Weather)  # type: ignore[valid-type]
    sensor: dict[str, Values] = {}
    quality: Flags = {}


_decoder = msgspec.json.Decoder(_Live)


class Feed:
    """Publishes live readings at an address of this machine or of the inner network."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], address: str) -> None:
        self._socket = context.socket(zmq.PUB)
        self._socket.linger = 0
        self._socket.sndhwm = HIGH_WATER_MARK
        try:
            self._socket.bind(address)
        except zmq.ZMQError as error:
            self._socket.close()
            raise UnavailableError(f"feed.address {address}: {error.strerror}") from error

    @property
    def address(self) -> str:
        """Where it is bound, with the port that the system chose for port 0."""
        return str(self._socket.getsockopt_string(zmq.LAST_ENDPOINT))

    def publish(self, station: str, reading: bytes) -> bool:
        """Pass on a station's reading, unless it is not one of this station."""
        try:
            reading.decode()  # the decoder below skips fields that it does not know
            live = _decoder.decode(reading)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return False
        if live.station.id != station or len(reading) > MAX_RECORD_BYTES:
            return False
        self._socket.send_multipart([TOPIC + station.encode(), reading], zmq.DONTWAIT)
        return True

    def close(self) -> None:
        self._socket.close()
