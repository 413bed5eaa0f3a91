"""The pairing's proof: what agrees, what is found out, and why nonces are committed to."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clima_core import pairing
from clima_core.errors import ConfigurationError, ProtocolError
from clima_core.pairing import ForwarderSide, Nonce, Offer, Reveal, StationSide, Terms

PROTOCOL = Path(__file__).parents[2] / "docs/protocol.md"

octets = st.binary(min_size=32, max_size=32)
names = st.from_regex(r"[a-z0-9][a-z0-9-]{0,62}", fullmatch=True)
boards = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=64)
ports = st.integers(1, 65535)
terms = st.builds(Terms, octets, octets, names, boards, ports)


def agreed(station: StationSide, forwarder: ForwarderSide) -> tuple[str, str]:
    """The digits of both sides, with nobody in between."""
    reveal, theirs = forwarder.heard(station.offered(forwarder.offer))
    return station.revealed(reveal), theirs


def pair(port: int = 5570) -> tuple[StationSide, ForwarderSide]:
    station = StationSide(b"a" * 32, "roof", "a board")
    return station, ForwarderSide(station.request, b"b" * 32, port)


# -- two honest sides ------------------------------------------------------------------------


@given(key=octets, other=octets, name=names, board=boards, port=ports)
def test_both_sides_show_the_same_digits(
    key: bytes, other: bytes, name: str, board: str, port: int
) -> None:
    """Whatever they are called; six of them, and every message survives its way as a line."""
    if key == other:
        return
    station = StationSide(key, name, board)
    request = pairing.decode_from_station(pairing.encode(station.request))
    assert request == station.request
    forwarder = ForwarderSide(station.request, other, port)
    assert forwarder.offer == pairing.decode_from_forwarder(pairing.encode(forwarder.offer))
    ours, theirs = agreed(station, forwarder)
    assert ours == theirs
    assert ours == pairing.typed(pairing.shown(ours))


def test_each_attempt_has_digits_of_its_own() -> None:
    """The same two sides, again: new nonces."""
    assert len({agreed(*pair())[0] for _ in range(20)}) > 15


def test_the_vector_of_the_protocol() -> None:
    """docs/protocol.md gives every byte; who writes a client in another language compares them."""
    lines = PROTOCOL.read_text("utf-8").partition("<!-- pairing vector -->")[2].splitlines()
    said = dict(line.split(None, 1) for line in lines if line.startswith("    ") and line.strip())
    station = StationSide(bytes(range(32)), "roof", "Raspberry Pi 3", bytes(range(64, 96)))
    forwarder = ForwarderSide(
        station.request, bytes(range(32, 64)), 5570, nonce=bytes(range(96, 128))
    )
    nonce = station.offered(forwarder.offer)
    reveal, digits = forwarder.heard(nonce)
    assert said["request"].encode() == pairing.encode(station.request).strip()
    assert said["offer"].encode() == pairing.encode(forwarder.offer).strip()
    assert said["nonce"].encode() == pairing.encode(nonce).strip()
    assert said["Nb"] == reveal.nonce
    assert said["commitment"] == forwarder.offer.commitment
    assert said["digits"] == digits == station.revealed(reveal)


# -- what the hashes cover -------------------------------------------------------------------


@given(one=terms, other=terms, nonce=octets, its=octets)
def test_the_commitment_covers_everything(
    one: Terms, other: Terms, nonce: bytes, its: bytes
) -> None:
    """Two agreements, or two nonces, never have one commitment."""
    same = (one, nonce) == (other, its)
    assert same == (one.commitment(nonce) == other.commitment(its))


@given(one=terms, where=st.integers(0, 4), nonces=st.tuples(octets, octets), change=terms)
def test_the_digits_cover_everything(
    one: Terms, where: int, nonces: tuple[bytes, bytes], change: Terms
) -> None:
    """A field that differs changes them (in full; that six digits agree by chance is allowed)."""
    other = Terms(*one[:where], change[where], *one[where + 1 :])  # type: ignore[arg-type,call-arg]
    full = [pairing._hash("digits", *each[:2], *nonces, *each._named) for each in (one, other)]
    assert (one == other) == (full[0] == full[1])


def test_fields_do_not_run_into_each_other() -> None:
    """The end of one is never the beginning of the next."""
    one = Terms(b"a" * 32, b"b" * 32, "roof", "x", 5570)
    assert one.commitment(b"c" * 32) != one._replace(station="roofx", board="").commitment(
        b"c" * 32
    )


# -- who does not keep to it -----------------------------------------------------------------


def test_a_forwarder_that_reveals_another_nonce_is_refused() -> None:
    """It has committed to one."""
    station, forwarder = pair()
    reveal, _ = forwarder.heard(station.offered(forwarder.offer))
    with pytest.raises(ProtocolError, match="not the one that was committed to"):
        station.revealed(Reveal("00" * 32, reveal.attempt))


@pytest.mark.parametrize("change", [{"port": 22}, {"public_key": "cc" * 32}])
def test_an_offer_that_was_changed_on_its_way_is_refused(change: dict[str, int | str]) -> None:
    """The commitment covers the rest of the offer."""
    station, forwarder = pair()
    changed = {"public_key": forwarder.offer.public_key, "port": forwarder.offer.port} | change
    offer = Offer(**changed, commitment=forwarder.offer.commitment)  # type: ignore[arg-type]
    reveal, _ = forwarder.heard(station.offered(offer))
    with pytest.raises(ProtocolError, match="committed"):
        station.revealed(reveal)


def test_a_second_nonce_for_one_commitment_is_refused() -> None:
    """Who could try many would choose the digits; the same one again is no exception."""
    station, forwarder = pair()
    nonce = station.offered(forwarder.offer)
    forwarder.heard(nonce)
    for another in (nonce, Nonce("11" * 32)):
        with pytest.raises(ProtocolError, match="a second nonce"):
            forwarder.heard(another)


def test_the_steps_come_in_order_and_once() -> None:
    """Nothing is revealed before the offer, and nothing is said twice."""
    station, forwarder = pair()
    reveal, _ = ForwarderSide(station.request, b"b" * 32, 1).heard(Nonce("11" * 32))
    with pytest.raises(ProtocolError, match="nobody has asked for"):
        station.revealed(reveal)
    station.offered(forwarder.offer)
    with pytest.raises(ProtocolError, match="a second offer"):
        station.offered(forwarder.offer)
    with pytest.raises(ProtocolError, match="committed"):
        station.revealed(reveal)
    with pytest.raises(ProtocolError, match="nobody has asked for"):
        station.revealed(reveal)


def test_a_key_that_is_sent_back_is_refused() -> None:
    """A mirror knows no secret key, and needs none to look like somebody."""
    station, forwarder = pair()
    with pytest.raises(ProtocolError, match="own key"):
        station.offered(Offer(station.request.public_key, 5570, forwarder.offer.commitment))
    with pytest.raises(ProtocolError, match="own key"):
        ForwarderSide(station.request, b"a" * 32, 5570)


# -- somebody in between ---------------------------------------------------------------------


class Between:
    """Gives each side a key of his own; his best play, with dice that make it the same each time.

    He has the forwarder's digits fixed first, as he must: his nonce goes out before the forwarder's
    comes in. Then the station's depend on its nonce, which comes only after he has committed.
    """

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)

    def against_the_forwarder(self) -> str:
        """Pose as the station; the digits that the forwarder shows."""
        his = StationSide(self.dice.randbytes(32), "roof", "a board", self.dice.randbytes(32))
        forwarder = ForwarderSide(his.request, b"b" * 32, 5570, self.dice.randbytes(32))
        return agreed(his, forwarder)[1]

    def against_the_station(
        self, choose: Callable[[Terms, bytes], bytes] | None = None
    ) -> tuple[StationSide, ForwarderSide, bytes, bytes]:
        """Pose as the forwarder; the station, his side, his nonce and, once committed, hers."""
        station = StationSide(b"a" * 32, "roof", "a board", self.dice.randbytes(32))
        nonce = self.dice.randbytes(32)
        his = ForwarderSide(station.request, self.dice.randbytes(32), 5570, nonce)
        hers = bytes.fromhex(station.offered(his.offer).nonce)
        return station, his, choose(his._terms, hers) if choose else nonce, hers


@pytest.mark.slow
def test_with_committed_nonces_he_has_one_chance_in_a_million() -> None:
    """In 100,000 attempts he expects a tenth of a hit; more than three would be a fault of ours."""
    he, hits = Between(20261122), 0
    for _ in range(100_000 // 4):
        targets = {he.against_the_forwarder() for _ in range(4)}
        station, his, nonce, hers = he.against_the_station()
        hits += station.revealed(Reveal(nonce.hex(), "0" * 32)) in targets
        assert his._terms.digits(hers, nonce)
    assert hits <= 3


def test_digits_of_the_bare_keys_he_would_match_at_once() -> None:
    """With nothing committed he tries keys on both sides until the numbers meet: some thousands."""
    dice = random.Random(1)

    def digits(one: bytes, other: bytes) -> str:
        return Terms(one, other, "roof", "", 5570).digits(b"", b"")

    towards_station = {digits(b"a" * 32, dice.randbytes(32)) for _ in range(3000)}
    tries = next(n for n in count(1) if digits(dice.randbytes(32), b"b" * 32) in towards_station)
    assert tries < 10_000


@pytest.mark.slow
def test_without_the_check_he_would_find_a_nonce_that_suits_him() -> None:
    """He finds one, given the time; the station refuses it: he had committed to another."""
    he = Between(7)
    targets = {he.against_the_forwarder() for _ in range(4)}  # as many as the forwarder lets him

    def ground(agreed_on: Terms, hers: bytes) -> bytes:
        nonces = (number.to_bytes(32, "big") for number in count())
        return next(nonce for nonce in nonces if agreed_on.digits(hers, nonce) in targets)

    station, his, lie, hers = he.against_the_station(ground)
    assert his._terms.digits(hers, lie) in targets
    with pytest.raises(ProtocolError, match="not the one that was committed to"):
        station.revealed(Reveal(lie.hex(), "0" * 32))


# -- lines -----------------------------------------------------------------------------------


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_garbage_is_refused_as_such(line: bytes) -> None:
    """No other exception leaves the decoders."""
    for decode in (pairing.decode_from_station, pairing.decode_from_forwarder):
        with pytest.raises(ProtocolError):
            decode(line)


@pytest.mark.parametrize(
    "line",
    [
        b'{"type":"request","version":1,"station":"Roof","board":"","public_key":"' + b"a" * 64,
        b'{"type":"request","version":1,"station":"../x","board":"","public_key":"%s"}'
        % (b"a" * 64),
        b'{"type":"request","version":1,"station":"roof\\n","board":"","public_key":"%s"}'
        % (b"a" * 64),
        b'{"type":"request","version":1,"station":"r","board":"\\u001b[2J","public_key":"%s"}'
        % (b"a" * 64),
        b'{"type":"request","version":1,"station":"r","board":"","public_key":"%s"}' % (b"a" * 63),
        b'{"type":"nonce","nonce":"%s"}' % (b"A" * 64),
        b'{"type":"confirm","attempt":"../../../etc/passwd"}',
        b'{"type":"nonce","nonce":"%s"}' % (b"a" * 64) + b" " * 1000,
        b"[" * 1000,
    ],
)
def test_what_would_reach_a_file_name_or_a_terminal_is_refused(line: bytes) -> None:
    """Names, escape sequences, paths, and lines that are too long."""
    with pytest.raises(ProtocolError):
        pairing.decode_from_station(line)


def test_fields_of_a_later_version_are_passed_over() -> None:
    """So that it can add some."""
    line = b'{"type":"nonce","nonce":"%s","more":[1]}' % (b"0" * 64)
    assert Nonce("0" * 64) == pairing.decode_from_station(line)


@pytest.mark.parametrize("digits", ["482913", "482 913", " 482-913\n"])
def test_digits_as_people_type_them(digits: str) -> None:
    """With a blank or a dash, or without."""
    assert "482913" == pairing.typed(digits)


@pytest.mark.parametrize("digits", ["", "48291", "4829134", "48291a", "４８２９１３"])
def test_digits_that_are_none(digits: str) -> None:
    """It is said what is expected."""
    with pytest.raises(ConfigurationError, match="expected the 6 digits"):
        pairing.typed(digits)
