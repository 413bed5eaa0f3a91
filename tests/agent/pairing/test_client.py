"""The station's end of the pairing port, with honest forwarders and others."""

from __future__ import annotations

from pathlib import Path

import pytest

from clima_agent.pairing import client
from clima_agent.pairing.client import PairingError, Peer
from clima_core import pairing
from clima_core.errors import ConfigurationError, UnavailableError
from clima_core.pairing import FromForwarder, Nonce, Offer, Refusal, Request, Reveal, State
from tests.agent.pairing.impostor import Answer, Honest, impostor
from tests.forwarder.pairing.desk import desk

KEY = b"a" * 32


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [
        ("weather.local", "weather.local", 5573),
        ("192.168.1.10:5580", "192.168.1.10", 5580),
        ("tcp://weather.local:5573", "weather.local", 5573),
        ("[fe80::1]:99", "fe80::1", 99),
        ("tcp://[fe80::1]", "fe80::1", 5573),
    ],
)
def test_addresses(address: str, host: str, port: int) -> None:
    """With or without a port, and as the configuration has them."""
    assert Peer(host, port) == client.parsed(address, 5573)


@pytest.mark.parametrize("address", ["", "a b:x", "http://weather.local", "host:99999", "host/x"])
def test_what_is_no_address(address: str) -> None:
    """It is said what one looks like."""
    with pytest.raises(ConfigurationError, match=r"expected the forwarder's host"):
        client.parsed(address, 5573)


def test_with_a_real_endpoint(tmp_path: Path) -> None:
    """Both have the same digits, and the forwarder's key is the one that was offered."""
    with desk(tmp_path) as running:
        agreed = client.begin(Peer("127.0.0.1", running.port), KEY, "roof", "a board")
        (pending,) = running.requests.pending()
    assert (pending.attempt, pending.digits) == (agreed.attempt, agreed.digits)
    assert "tcp://127.0.0.1:5570" == Peer("127.0.0.1", 1).stations(agreed.port)


def test_nobody_there() -> None:
    """What to look at, and the way without pairing."""
    with impostor(Honest()) as other:
        gone = other.peer
    with pytest.raises(UnavailableError, match=r"firewall.*--key KEY"):
        client.begin(gone, KEY, "roof", "")


def lying(message: FromForwarder) -> bytes:
    """Another nonce than the one that was committed to."""
    if isinstance(message, Reveal):
        return pairing.encode(Reveal("00" * 32, message.attempt))
    return pairing.encode(message)


def closing(message: FromForwarder) -> bytes:
    """Does not like the digits."""
    return b"" if isinstance(message, Reveal) else pairing.encode(message)


def flooding(message: FromForwarder) -> bytes:
    return b"x" * 5000 if isinstance(message, Reveal) else pairing.encode(message)


def busy(message: FromForwarder) -> bytes:
    refused = isinstance(message, Reveal)
    return pairing.encode(Refusal("busy") if refused else message)


@pytest.mark.parametrize("change", [lying, closing, flooding, busy])
def test_whatever_goes_wrong_once_our_nonce_is_told_ends_the_attempt(
    change: Answer,
) -> None:
    """It does not ask again by itself: who broke off for the digits' sake has no second go."""
    with impostor(Honest(change)) as other:  # type: ignore[arg-type]
        with pytest.raises(PairingError, match="Nothing was trusted"):
            client.begin(other.peer, KEY, "roof", "")
        assert 1 == len(other.heard)
        assert [Request, Nonce] == [type(message) for message in other.heard[0]]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n", "is no forwarder to pair with"),
        (b"x" * 5000, "is no forwarder to pair with"),
        (pairing.encode(State("accepted")), "does not pair as"),
        (pairing.encode(Reveal("0" * 64, "0" * 32)), "does not pair as"),
        (pairing.encode(Refusal("busy_name")), "try again in ten minutes"),
        (pairing.encode(Refusal("version")), "the same version"),
        (pairing.encode(Refusal("of_the_future")), 'it says "of_the_future"'),
        (pairing.encode(Offer("61" * 32, 5570, "0" * 64)), "own key"),
    ],
)
def test_answers_to_a_request_that_are_no_offer(answer: bytes, said: str) -> None:
    """Our nonce is not told to them, and nothing of theirs but a code is shown."""
    with impostor(lambda _: answer) as other:
        with pytest.raises(PairingError, match=said):
            client.begin(other.peer, KEY, "roof", "")
        assert [[Request]] == [[type(message) for message in each] for each in other.heard]


def test_one_that_takes_a_line_and_closes() -> None:
    """As a port behind a proxy does that has nobody to hand it to."""
    with impostor(lambda _: b"") as other, pytest.raises(UnavailableError, match="closed"):
        client.begin(other.peer, KEY, "roof", "")
