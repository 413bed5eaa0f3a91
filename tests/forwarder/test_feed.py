"""The live feed: fresh readings for whoever watches, and none that are not what they say."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import zmq

from clima_core.errors import UnavailableError
from clima_core.wire import MAX_RECORD_BYTES
from clima_forwarder.feed import TOPIC, Feed
from tests.forwarder.client import TIMEOUT_S, record


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    """Ends once all sockets are closed."""
    with zmq.Context() as context:
        yield context


@pytest.fixture
def feed(context: zmq.Context[zmq.Socket[bytes]]) -> Iterator[Feed]:
    """A feed on a free port."""
    feed = Feed(context, "tcp://127.0.0.1:*")
    yield feed
    feed.close()


def subscribed(
    context: zmq.Context[zmq.Socket[bytes]], feed: Feed, topic: bytes
) -> zmq.Socket[bytes]:
    """A subscriber that certainly hears the feed: it has heard a first reading of `first`."""
    socket = context.socket(zmq.SUB)
    socket.linger = 0
    socket.subscribe(topic)
    socket.subscribe(TOPIC + b"first")
    socket.connect(feed.address)
    while not socket.poll(10):
        assert feed.publish("first", record("first", 1))
    return socket


def heard(socket: zmq.Socket[bytes], topic: bytes) -> bytes:
    """The next reading of a topic."""
    socket.rcvtimeo = int(TIMEOUT_S * 1000)
    while True:
        found, reading = socket.recv_multipart()
        if found == topic:
            return reading


def test_a_subscriber_hears_the_station_it_asked_for(
    context: zmq.Context[zmq.Socket[bytes]], feed: Feed
) -> None:
    """Byte for byte, under `weather.<station>`, and no other station's."""
    with subscribed(context, feed, b"weather.roof") as socket:
        assert feed.publish("shed", record("shed", 1))
        assert feed.publish("roof", record("roof", 2))
        assert record("roof", 2) == heard(socket, b"weather.roof")


@pytest.mark.parametrize(
    "reading",
    [
        record("shed", 1),
        b"",
        b"no reading",
        b'{"station":{"id":"roof"}}',
        b'{"@timestamp":"yesterday","station":{"id":"roof"}}',
        record("roof", 1)[:-1] + b',"message":"\xff"}',
        record("roof", 1, weather="wet"),
        record("roof", 1).replace(b"21.5", b'"warm"'),
        record("roof", 1).replace(b'{"air_temperature":21.5}', b"null"),
        b"[" * 50_000,
        record("roof", 1, message="x" * MAX_RECORD_BYTES),
    ],
    ids=[
        "another's",
        "nothing",
        "no JSON",
        "no time",
        "bad time",
        "no text",
        "weather no object",
        "value no number",
        "null",
        "deep",
        "large",
    ],
)
def test_what_is_no_reading_of_the_station_is_not_passed_on(feed: Feed, reading: bytes) -> None:
    """Who watches may trust the topic."""
    assert not feed.publish("roof", reading)


def test_a_subscriber_that_does_not_read_holds_nobody_up(
    context: zmq.Context[zmq.Socket[bytes]], feed: Feed
) -> None:
    """It loses readings; the publisher goes on, and others hear them."""
    large = record("roof", 1, message="x" * 60_000)
    with subscribed(context, feed, b"weather.roof"):
        for _ in range(5000):
            assert feed.publish("roof", large)
        with subscribed(context, feed, b"weather.shed") as reader:
            assert feed.publish("shed", record("shed", 1))
            assert record("shed", 1) == heard(reader, b"weather.shed")


def test_a_taken_port_is_said(context: zmq.Context[zmq.Socket[bytes]], feed: Feed) -> None:
    """With the option and the address."""
    with pytest.raises(UnavailableError, match=rf"feed.address {feed.address}: Address already"):
        Feed(context, feed.address)
