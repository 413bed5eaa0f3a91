"""A real forwarder under messages that no honest station sends, while an honest one delivers."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import struct
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
import zstandard
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from clima_core import keys, wire
from clima_core.identity import STREAMS, Lane
from clima_core.ranges import Ranges
from tests.forwarder.client import JOURNAL, LANE, TIMEOUT_S, Client, record
from tests.forwarder.daemon import Daemon, configuration, daemon
from tests.forwarder.running import until

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc"),
    pytest.mark.slow,
]

FUZZING_S = 15.0
GROWTH_BYTES = 80_000_000  # what is in hand at most, and what libzmq keeps of a few peers
BATCH = 50
AGAIN_S, STRANGER_S = 0.2, 0.05
FIRST_SEED = 20260601
OTHER_JOURNALS = ["000000000000", "000000000001", "000000000002"]


class Frames(list[bytes]):
    """A message, which a report of a failure does not show by the megabyte."""

    def __repr__(self) -> str:
        return f"Frames({len(self)}: {b' '.join(self)[:200]!r})"


# -- what a hostile peer says -----------------------------------------------------------------

sequences = st.sampled_from([0, 1, 2, 7, 50, 1000, 2**31, 2**48, 2**48 + 1, 2**63, -1])
counts = st.sampled_from([0, 1, 2, 3, 1000, 1001, 2**31])
journals = st.sampled_from([JOURNAL, *OTHER_JOURNALS, "", "x" * 12, "../../../etc"])
streams = st.sampled_from([*STREAMS, "q"])
times = st.sampled_from(
    [
        "2026-06-01T12:00:00Z",
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-23:59",
        "1970-01-01T00:00:00Z",
        "2026-06-01T12:00:00",
        "yesterday",
    ]
)
lanes = st.fixed_dictionaries(
    {
        "journal": journals,
        "stream": streams,
        "first": sequences,
        "last": sequences,
        "since": times,
        "waiting": st.lists(st.tuples(sequences, sequences), max_size=3),
    }
)
stations = st.sampled_from(["hostile", "honest", "", "x" * 10_000])
hellos = st.fixed_dictionaries(
    {
        "type": st.just("hello"),
        "versions": st.sampled_from([[1], [], [2, 1], [2**70]]),
        "software": st.text(max_size=20),
        "station": stations,
        "time": times,
        "lanes": st.lists(lanes, max_size=3),
    }
)
pings = st.fixed_dictionaries(
    {"type": st.just("ping"), "time": times, "lanes": st.lists(lanes, max_size=2)}
)
batches = st.fixed_dictionaries(
    {
        "type": st.just("batch"),
        "journal": journals,
        "stream": streams,
        "first": sequences,
        "count": counts,
        "size": st.sampled_from([0, 2, 100, 2**20, 2**20 + 1, 2**40]),
    }
)


@st.composite
def records(draw: st.DrawFn) -> bytes:
    """A record, good or nearly so."""
    sequence = draw(st.integers(1, 5))
    who = draw(st.sampled_from(["hostile", "honest"]))
    good = record(who, sequence)
    where = draw(st.integers(0, len(good)))
    return draw(
        st.sampled_from(
            [
                good,
                good[:where],
                good[:where] + b"\xff" + good[where:],
                good.replace(b"21.5", b"1e400"),
                good.replace(b"2026-06", b"0001-01"),
                b"[" * 5000,
                b"",
            ]
        )
    )


@st.composite
def consistent_batches(draw: st.DrawFn) -> Frames:
    """A batch that is what its header says, of records that may not be."""
    bodies = draw(st.lists(records(), min_size=1, max_size=20))
    lane = Lane(draw(st.sampled_from([JOURNAL, *OTHER_JOURNALS])), draw(st.sampled_from(STREAMS)))
    return Frames(wire.Packer().pack(lane, draw(st.integers(1, 60)), bodies))


def _bombs() -> list[bytes]:
    zeros = zstandard.ZstdCompressor(level=19).compress(bytes(30_000_000))
    streamed = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(5_000_000))
    skippable = struct.pack("<II", 0x184D2A50, 4) + b"abcd"
    return [zeros, streamed, skippable, b"\x28\xb5\x2f\xfd", b"\n" * 1000]


PAYLOADS = [*_bombs(), bytes(wire.MAX_FRAME_BYTES)]
payloads = st.integers(0, len(PAYLOADS) - 1).map(PAYLOADS.__getitem__) | st.binary(max_size=300)
headers = st.one_of(hellos, pings, batches, st.just({"type": "live"})).map(msgspec.json.encode)
messages = st.one_of(
    st.lists(st.binary(max_size=100), min_size=1, max_size=6).map(Frames),
    headers.map(lambda header: Frames([wire.PROTOCOL, header])),
    st.builds(lambda header, payload: Frames([wire.PROTOCOL, header, payload]), headers, payloads),
    consistent_batches(),
    records().map(lambda body: Frames([wire.PROTOCOL, b'{"type":"live"}', body])),
    st.integers(3, 3000).map(lambda count: Frames([b"frame"] * count)),
    st.just(Frames([wire.PROTOCOL, b"{}", bytes(wire.MAX_FRAME_BYTES + 1)])),
)
# a script is played in order, some of it again, some of it backwards
scripts = st.tuples(
    st.lists(messages, min_size=1, max_size=15),
    st.sampled_from(["once", "twice", "backwards", "each three times"]),
)


def played(script: list[Frames], how: str) -> list[Frames]:
    """The messages in the order in which they are sent."""
    match how:
        case "twice":
            return [*script, *script]
        case "backwards":
            return [*script, *reversed(script)]
        case "each three times":
            return [frames for frames in script for _ in range(3)]
    return list(script)


# -- the honest station ------------------------------------------------------------------------


class Honest:
    """Delivers batch after batch, and sends again what it is told to, until it is stopped."""

    def __init__(self, running: Daemon) -> None:
        self.client = running.client("honest")
        self.sent = 0
        self.acknowledged = Ranges()
        self.refused: list[str] = []
        self.stopping = False

    async def deliver(self) -> None:
        """Ends when it was stopped and everything is acknowledged."""
        await self.client.open()
        while not self.stopping or self.missing:
            first, last = self.missing.pairs[0] if self.missing else self.next_batch()
            await self.client.records(first, last)
            while self.missing.between(first, last):
                self.heard(await self.client.receive())

    @property
    def missing(self) -> Ranges:
        return Ranges([(1, self.sent)]) - self.acknowledged

    def next_batch(self) -> tuple[int, int]:
        self.sent += BATCH
        return self.sent - BATCH + 1, self.sent

    def heard(self, message: wire.FromForwarder) -> None:
        if isinstance(message, wire.Ack):
            self.acknowledged |= Ranges(message.ranges)
        elif not isinstance(message, wire.Pong):
            self.refused.append(str(message))


async def attack(peer: Client, script: Sequence[Frames]) -> None:
    """Say all of it; who is cut connects again by itself."""
    await peer.say(wire.Hello([wire.VERSION], "x", "hostile", datetime.now(UTC), []))
    for frames in script:
        await peer.send(*frames)
        await asyncio.sleep(0)


@pytest.mark.timeout(180)
async def test_an_honest_station_is_served_whatever_others_send(tmp_path: Path) -> None:
    """With a valid key and without: stored = sent, none lost, none doubled, memory bounded."""
    config = configuration(tmp_path, heartbeat_s="30")  # the honest station never says PING
    async with daemon(tmp_path, config) as running:
        reading = asyncio.create_task(drain(running))
        honest = Honest(running)
        async with honest.client:
            delivering = asyncio.create_task(honest.deliver())
            await until(lambda: honest.sent > BATCH * 20)
            before = resident_bytes(running)
            highest = await asyncio.to_thread(fuzz, running)
            honest.stopping = True
            await delivering
        async with running.client("late") as late:  # and whoever comes after
            await late.open()
            await late.records(1, 3)
            await late.expect(wire.Ack)
        assert running.process.returncode is None
        assert [] == honest.refused
        assert highest - before < GROWTH_BYTES, (before, highest)
        running.process.terminate()
        await reading
        assert 0 == await running.process.wait()
    assert honest.sent > 0
    assert_stored(tmp_path, honest.sent)
    assert '"event":"message_failed"' not in running.said
    assert '"event":"delivery_failed"' not in running.said
    assert '"event":"task_failed"' not in running.said


async def drain(running: Daemon) -> None:
    """Read the log, so that it never blocks the daemon."""
    assert running.process.stderr is not None
    async for line in running.process.stderr:
        running.lines.append(line.decode())


def resident_bytes(running: Daemon) -> int:
    """The memory that the daemon has in use."""
    pages = Path(f"/proc/{running.process.pid}/statm").read_text("ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def fuzz(running: Daemon) -> int:
    """Play scripts for a while, in a thread and loops of their own; returns the highest memory."""
    ends, highest = time.monotonic() + FUZZING_S, 0
    hostile, stranger = running.admit("hostile"), keys.generate()

    async def session(script: Sequence[Frames], *, known: bool) -> None:
        async with running.client("hostile", hostile if known else stranger) as peer:
            if known:
                await attack(peer, script)
                await heard_out(peer)
            else:  # nobody takes its messages, so that it may wait for ever
                with suppress(TimeoutError):
                    await asyncio.wait_for(attack(peer, script), STRANGER_S)

    def play(script: tuple[list[Frames], str], known: bool) -> None:
        nonlocal highest
        asyncio.run(session(played(*script), known=known))
        highest = max(highest, resident_bytes(running))

    round_of = settings(
        max_examples=20,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    number = FIRST_SEED
    while time.monotonic() < ends:
        seed(number)(round_of(given(scripts, st.sampled_from([True, True, True, False]))(play)))()
        number += 1
    return highest


async def heard_out(peer: Client) -> None:
    """Wait until the forwarder has heard all that was said; a cut connection loses some of it."""
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            await peer.say(wire.Ping(datetime.now(UTC)))
            with suppress(TimeoutError):
                while True:
                    answer = await asyncio.wait_for(peer.receive(), AGAIN_S)
                    if isinstance(answer, wire.Pong | wire.Restart):
                        return


def assert_stored(folder: Path, sent: int) -> None:
    """The store has each of the honest station's records once, with the bytes that were sent."""
    with sqlite3.connect(folder / "readings.sqlite") as connection:
        rows = connection.execute(
            "SELECT sequence, body FROM records JOIN lanes ON lane = lanes.id"
            " WHERE station = 'honest' AND journal = ? AND stream = 'w'",
            (JOURNAL,),
        ).fetchall()
        dead = connection.execute(
            "SELECT count(*) FROM deadletters JOIN lanes ON lane = lanes.id"
            " WHERE station = 'honest'"
        ).fetchone()
    connection.close()
    assert Counter(range(1, sent + 1)) == Counter(sequence for sequence, _ in rows)
    assert all(record("honest", sequence, lane=LANE) == body for sequence, body in rows)
    assert (0,) == dead
