"""The endpoint: a real socket, stations that keep to the protocol, and everybody else."""

from __future__ import annotations

import asyncio
import json
import os
import random
import socket
import time
from pathlib import Path

import pytest

from clima_core import keys, pairing
from clima_core.pairing import LIFE_S, MAX_LINE_BYTES, Confirm, Nonce, Refusal, Request, Withdraw
from clima_forwarder.pairing.endpoint import MOST_CONNECTIONS, PATIENCE_S, Endpoint, _listening
from clima_forwarder.pairing.requests import MOST_OF_ONE, Requests
from tests.forwarder.pairing.desk import desk, public

ROOF = Request(1, "roof", "", "ab" * 32)


def test_both_sides_have_the_digits(tmp_path: Path) -> None:
    """The operator sees name, board, address, key and the digits that the station shows."""
    with desk(tmp_path) as running:
        key = public()
        attempt, digits = running.asks("roof", key)
        (found,) = running.requests.pending()
    assert (attempt, digits, key.hex()) == (found.attempt, found.digits, found.public_key)
    assert ("roof", "a board", "127.0.0.1") == (found.station, found.board, found.address)


def test_nothing_is_let_in_by_what_comes_in_here(tmp_path: Path) -> None:
    """Asked, confirmed, again and again: the key directory has no certificate."""
    with desk(tmp_path) as running:
        attempt, _ = running.asks()
        assert ["waiting"] * 3 == [running.tell(Confirm(attempt)) for _ in range(3)]
        assert ([], frozenset()) == running.stations.read()
    assert ["pairing"] == [path.name for path in tmp_path.iterdir()]


def test_a_nonce_is_revealed_only_for_a_nonce(tmp_path: Path) -> None:
    """Who asks and says nothing more gets no nonce of ours, and uses up no room."""
    with desk(tmp_path) as running:
        with running.peer() as peer:
            assert isinstance(peer.say(ROOF), pairing.Offer)
            assert Refusal("protocol") == peer.say(Confirm("0" * 32))
        with running.peer() as peer:
            assert isinstance(peer.say(ROOF), pairing.Offer)
        assert [] == running.requests.pending()
        running.requests.check_room("roof")


def test_a_second_nonce_finds_nobody(tmp_path: Path) -> None:
    """The connection ends with our nonce: one commitment, one nonce of theirs."""
    with desk(tmp_path) as running:
        with running.peer() as peer:
            peer.say(ROOF)
            assert isinstance(peer.say(Nonce("11" * 32)), pairing.Reveal)
            peer.send(pairing.encode(Nonce("22" * 32)))
            assert b"" == peer.line()
        with running.peer() as peer:
            assert Refusal("protocol") == peer.say(Nonce("22" * 32))
        assert 1 == len(running.requests.pending())


def test_messages_of_another_attempt_are_of_no_use_in_this_one(tmp_path: Path) -> None:
    """The same request and the same nonce, replayed: another nonce of ours, other digits."""
    with desk(tmp_path) as running:
        reveals = []
        for _ in range(2):
            with running.peer() as peer:
                peer.say(ROOF)
                reveals.append(peer.say(Nonce("11" * 32)))
        one, other = running.requests.pending()
    assert reveals[0] != reveals[1]
    assert (one.attempt, one.digits) != (other.attempt, other.digits)


def test_the_forwarder_may_be_started_anew_in_the_middle(tmp_path: Path) -> None:
    """What was shown still holds; what was only begun is begun again by the station's person."""
    pair = keys.generate()
    with desk(tmp_path, pair=pair) as running:
        attempt, digits = running.asks()
        half = running.peer()
        half.say(ROOF)
    with half:
        assert b"" == half.line()
    with desk(tmp_path, pair=pair) as running:
        assert "waiting" == running.tell(Confirm(attempt))
        assert "roof" == running.consent().by_digits("roof", digits).id
        assert "accepted" == running.tell(Confirm(attempt))


def test_an_attempt_expires(tmp_path: Path) -> None:
    """Ten minutes after it was asked, confirmed or not, it is as if it had never been."""
    now = [time.time()]
    with desk(tmp_path, now=lambda: now[0]) as running:
        attempt, _ = running.asks()
        running.tell(Confirm(attempt))
        now[0] += LIFE_S
        assert "gone" == running.tell(Confirm(attempt))
        assert [] == running.requests.pending()


def test_an_attempt_that_never_was(tmp_path: Path) -> None:
    """Nothing is written for it."""
    with desk(tmp_path) as running:
        assert ["gone", "gone"] == [running.tell(each("0" * 32)) for each in (Confirm, Withdraw)]
    assert [] == list(tmp_path.iterdir())


def test_withdrawn_is_over(tmp_path: Path) -> None:
    """For the station, too: it cannot be taken back."""
    with desk(tmp_path) as running:
        attempt, _ = running.asks()
        assert "refused" == running.tell(Withdraw(attempt))
        assert "refused" == running.tell(Confirm(attempt))
        assert [] == running.requests.pending()


def test_too_many_are_turned_away(tmp_path: Path) -> None:
    """Before anything is exchanged; others go on."""
    with desk(tmp_path) as running:
        for _ in range(MOST_OF_ONE):
            running.asks()
        with running.peer() as peer:
            assert Refusal("busy_name") == peer.say(ROOF)
        running.asks("barn")


def test_a_version_that_it_does_not_speak(tmp_path: Path) -> None:
    """It is said, so that a person can bring both to the same."""
    with desk(tmp_path) as running, running.peer() as peer:
        assert Refusal("version") == peer.say(Request(2, "roof", "", "ab" * 32))


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\n",
        b"\xff\x00" * 200 + b"\n",
        b"[" * MAX_LINE_BYTES,
        b"x" * (MAX_LINE_BYTES * 50),
        b'{"type":"request"}\n',
        pairing.encode(ROOF) * 2,
        b'{"type":"confirm","attempt":"../../forwarder"}\n',
    ],
)
def test_garbage_ends_its_own_connection_alone(tmp_path: Path, data: bytes) -> None:
    """With a refusal where it can be said; the next station is served."""
    with desk(tmp_path) as running:
        with running.peer() as peer:
            peer.send(data)
            assert peer.line() in {b"", pairing.encode(Refusal("protocol"))}
            assert b"" == peer.line()
        running.asks()


@pytest.mark.slow
def test_those_who_say_nothing_are_let_go(tmp_path: Path) -> None:
    """All places taken by peers that dribble: each is let go in time, and a station gets in."""
    with desk(tmp_path) as running:
        began = time.monotonic()
        idle = [running.peer() for _ in range(MOST_CONNECTIONS)]
        for each in idle:
            each.send(b"{")
        running.asks()
        assert time.monotonic() - began < 12 * PATIENCE_S
        for each in idle:
            each.socket.close()


@pytest.mark.slow
def test_noise_of_all_kinds(tmp_path: Path) -> None:
    """Messages cut, doubled, swapped and spoilt, for some seconds: no file but what was asked."""
    dice = random.Random(20261122)
    good = [pairing.encode(each) for each in (ROOF, Nonce("1" * 64), Confirm("0" * 32))]
    with desk(tmp_path) as running:
        for _ in range(100):
            with running.peer() as peer:
                for _ in range(dice.randrange(1, 4)):
                    data = bytearray(dice.choice(good))
                    for _ in range(dice.randrange(4)):
                        data[dice.randrange(len(data))] = dice.randrange(256)
                    peer.send(bytes(data[: dice.randrange(1, len(data) + 1)]))
                if dice.random() < 0.5:
                    peer.socket.shutdown(socket.SHUT_WR)
                    peer.line()
        waiting = len(running.requests.pending())
        assert waiting <= MOST_OF_ONE * 2
        running.asks("barn")
        assert [] == running.stations.read()[0]
    folder = tmp_path / "pairing"
    assert waiting + 1 == len(list(folder.iterdir()))


async def test_a_port_that_is_taken_is_said_and_nothing_else_suffers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Readings come first."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        endpoint = Endpoint(Requests(tmp_path), b"k" * 32, 5570)
        endpoint.open(f"tcp://127.0.0.1:{taken.getsockname()[1]}")
        assert "" == endpoint.address
        await endpoint.close()
    assert "pairing_not_open" in capsys.readouterr().out


@pytest.mark.parametrize("host", ["127.0.0.1", "*"])
def test_it_listens_where_it_is_told(host: str) -> None:
    """`*` is both kinds of address."""
    with _listening(f"tcp://{host}:0") as made:
        port = made.getsockname()[1]
        socket.create_connection(("127.0.0.1", port), timeout=5).close()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
async def test_a_flood_takes_next_to_nothing(tmp_path: Path) -> None:
    """As many connections as one can make: the loop hardly notices, and memory does not grow."""
    endpoint = Endpoint(Requests(tmp_path), b"k" * 32, 5570)
    endpoint.open("tcp://127.0.0.1:0")
    port = int(endpoint.address.rpartition(":")[2])
    script = (
        "import socket, sys, time\n"
        "end = time.monotonic() + 3\n"
        "while time.monotonic() < end:\n"
        "    try:\n"
        "        s = socket.create_connection(('127.0.0.1', int(sys.argv[1])), timeout=0.02)\n"
        "        s.sendall(b'x' * 60_000)\n"
        "    except OSError:\n"
        "        pass\n"
    )
    flood = await asyncio.create_subprocess_exec(
        os.environ.get("PYTHON", "python3"), "-c", script, str(port)
    )
    before, cpu = _resident(), time.thread_time()
    await flood.wait()
    used = time.thread_time() - cpu
    await endpoint.close()
    assert used < 0.6, json.dumps(used)  # seconds of three: 60 connections at most
    assert _resident() - before < 20_000_000


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
