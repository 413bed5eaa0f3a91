"""The wire from the forwarder's end: what each message gets for an answer, and from whom."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import zmq
from structlog.testing import capture_logs

from clima_core import keys, wire
from clima_core.errors import UnavailableError
from clima_core.identity import Lane, Stream
from clima_core.ranges import Ranges
from clima_core.wire import StationReport
from clima_forwarder.batches import CREDIT
from clima_forwarder.outputs.base import Document, Highest, Result
from clima_forwarder.sessions import SESSIONS_PER_KEY
from tests.forwarder.client import JOURNAL, LANE, TIMEOUT_S, Client, record, report
from tests.forwarder.memory_output import MemoryOutput, fails
from tests.forwarder.running import Running, forwarder, until

OLD_JOURNAL = "fedcba987654"


def ids(*sequences: int, station: str = "roof") -> list[str]:
    return sorted(f"{station}:{JOURNAL}:w:{each}" for each in sequences)


class Gated(MemoryOutput):
    """Answers nothing while its gate is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.create_gate = asyncio.Event(), asyncio.Event()
        self.gate.set()
        self.create_gate.set()

    async def create(self, documents: Sequence[Document]) -> list[Result]:
        await self.gate.wait()
        await self.create_gate.wait()
        return await super().create(documents)

    async def highest(self, station: str, journal: str) -> dict[Stream, Highest]:
        await self.gate.wait()
        return await super().highest(station, journal)


async def serves(running: Running, station: str = "honest") -> None:
    """Assert that an honest station is served."""
    async with running.client(station) as client:
        await client.open()
        await client.records(1, 3)
        assert [(1, 3)] == (await client.expect(wire.Ack)).ranges
    assert set(ids(1, 2, 3, station=station)) <= set(running.output.stored)


# -- the everyday road ---------------------------------------------------------------------


async def test_what_is_acknowledged_is_stored(tmp_path: Path) -> None:
    """HELLO, WELCOME, BATCH, ACK: and the bytes in the store are those that were sent."""
    async with forwarder(tmp_path, heartbeat_s=7) as running, running.client() as station:
        welcome = await station.open()
        assert (wire.VERSION, CREDIT, 7.0) == (
            welcome.version,
            welcome.credit,
            welcome.heartbeat_s,
        )
        assert abs(welcome.time - datetime.now(UTC)) < timedelta(seconds=TIMEOUT_S)
        sent = await station.records(1, 3)
        assert wire.Ack(JOURNAL, "w", [(1, 3)], CREDIT) == await station.expect(wire.Ack)
        assert sent == list(running.output.indices[0].values())


async def test_welcome_says_what_the_store_has_seen(tmp_path: Path) -> None:
    """Of each journal that was reported, so that a restored spool notices that it is old."""
    async with forwarder(tmp_path) as running, running.client() as station:
        await station.open()
        await station.records(1, 9)
        await station.expect(wire.Ack)
        lasts = {Lane(OLD_JOURNAL, "w"): 4, LANE: 5}
        assert [wire.Seen(JOURNAL, "w", 9)] == (await station.open(lasts)).seen


async def test_welcome_says_what_is_on_its_way_to_the_store(tmp_path: Path) -> None:
    """A card that lied about its sync is found out although the store has nothing yet."""
    output = Gated()
    async with forwarder(tmp_path, output) as running, running.client() as station:
        await station.open()
        output.create_gate.clear()
        await station.records(1, 9)
        await station.ping()  # by now it is in delivery
        assert [wire.Seen(JOURNAL, "w", 9)] == (await station.open({LANE: 5})).seen
        output.create_gate.set()


async def test_a_ping_is_answered_with_time_and_credit(tmp_path: Path) -> None:
    """The station measures its clock by it: so it says which PING it answers."""
    async with forwarder(tmp_path) as running, running.client() as station:
        await station.open()
        before = datetime.now(UTC)
        pong = await station.ping()
        assert before <= pong.time <= datetime.now(UTC)
        assert CREDIT == pong.credit
        for asked in (before - timedelta(days=9999), datetime(1970, 1, 1, 0, 0, 0, 1, UTC)):
            await station.say(wire.Ping(asked))
            assert asked == (await station.expect(wire.Pong)).asked


async def test_a_live_reading_is_published_at_once(tmp_path: Path) -> None:
    """Without identity, unstored and unanswered."""
    reading = record("roof", 1, event=None)
    async with forwarder(tmp_path) as running, running.client() as station:
        await station.open()
        with zmq.Context() as context, context.socket(zmq.SUB) as watcher:
            watcher.linger = 0
            watcher.subscribe(b"weather.roof")
            watcher.connect(running.feed.address)
            async with asyncio.timeout(TIMEOUT_S):
                while not watcher.poll(0):
                    await station.say(wire.Live(), reading)
                    await station.ping()
            assert [b"weather.roof", reading] == watcher.recv_multipart()
        assert [] == running.output.stored


async def test_reports_reach_the_store(tmp_path: Path) -> None:
    """Those of HELLO, and those of each PING; a PING without takes nothing back."""
    async with forwarder(tmp_path, heartbeat_s=1.0) as running, running.client() as station:
        await station.open({LANE: 3})
        await station.ping()
        await until(lambda: running.output.last_reports)
        assert [report(LANE, 3)] == running.output.last_reports["roof"].lanes
    # what was not due yet is written when the forwarder stops
    async with forwarder(tmp_path / "2") as running, running.client() as station:
        await station.open({LANE: 3})
        await station.say(wire.Ping(datetime.now(UTC), [report(LANE, 5)]))
        await station.expect(wire.Pong)
    assert [report(LANE, 5)] == running.output.last_reports["roof"].lanes


async def test_no_report_reaches_a_store_that_is_not_open_yet(tmp_path: Path) -> None:
    """It would make an index that has no template; the next PING brings the report again."""
    async with forwarder(tmp_path) as running, running.client() as station:
        running.health.store_is_open = False
        await station.open({LANE: 3})
    assert {} == running.output.last_reports


async def test_a_clock_that_is_ahead_is_told_both_times(tmp_path: Path) -> None:
    """Those records are for later, the others of the batch are stored, and nothing is dead."""
    async with forwarder(tmp_path) as running, running.client() as station:
        await station.open()
        ahead = datetime.now(UTC) + timedelta(hours=1)
        await station.batch(1, [record("roof", 1), record("roof", 2, moment=ahead)])
        nack = await station.expect(wire.Nack)
        assert ("retry", "clock_ahead", [(2, 2)]) == (nack.action, nack.code, nack.ranges)
        assert f"{ahead:%FT%T}" in nack.message
        assert abs(nack.time - datetime.now(UTC)) < timedelta(seconds=TIMEOUT_S)
        assert nack.retry_after_s > 0
        assert [(1, 1)] == (await station.expect(wire.Ack)).ranges
        assert {} == running.output.letters


async def test_another_record_under_the_same_identity_is_told(tmp_path: Path) -> None:
    """The station is to number its own anew."""
    async with forwarder(tmp_path) as running, running.client() as station:
        await station.open()
        await station.records(1, 1)
        await station.expect(wire.Ack)
        await station.batch(1, [record("roof", 1, weather={"air_temperature": -3.0})])
        nack = await station.expect(wire.Nack)
        assert ("conflict", [(1, 1)]) == (nack.action, nack.ranges)


# -- the store ------------------------------------------------------------------------------


async def test_no_credit_while_the_store_fails(tmp_path: Path) -> None:
    """Every station is told so at once, and told again as soon as it works."""
    async with (
        forwarder(tmp_path) as running,
        running.client("roof") as roof,
        running.client("shed") as shed,
    ):
        await roof.open()
        await shed.open()
        running.output.before_create = fails(1)
        await roof.records(1, 3)
        assert [0, 0] == [(await each.expect(wire.Pong)).credit for each in (roof, shed)]
        assert [4, 4] == [(await each.expect(wire.Pong)).credit for each in (roof, shed)]
        assert [(1, 3)] == (await roof.expect(wire.Ack)).ranges
        assert ids(1, 2, 3) == running.output.stored


class FirstHelloFails(MemoryOutput):
    """Does not know the highest sequences the first time."""

    asked = 0

    async def highest(self, station: str, journal: str) -> dict[Stream, Highest]:
        self.asked += 1
        if self.asked == 1:
            raise UnavailableError("no shard answered")
        return await super().highest(station, journal)


async def test_a_hello_that_meets_a_failing_store_is_refused_for_now(tmp_path: Path) -> None:
    """With the reason; and the next one finds that it works, which everyone is told."""
    async with forwarder(tmp_path, FirstHelloFails()) as running, running.client() as station:
        await station.hello()
        refusal = await station.expect(wire.Refusal)
        assert ("store_unavailable", "no shard answered") == (refusal.code, refusal.message)
        assert refusal.retry_after_s > 0
        assert {"store": "no shard answered"} == running.health.problems
        assert CREDIT == (await station.open()).credit


async def test_a_store_that_works_again_is_noticed_though_nobody_sends(tmp_path: Path) -> None:
    """The only station that met the failure is gone; without credit nobody else would find out."""
    async with forwarder(tmp_path, FirstHelloFails(), heartbeat_s=0.05) as running:
        async with running.client() as station:
            await station.hello()
            await station.expect(wire.Refusal)
        await until(lambda: running.health.store_works)


async def test_a_new_session_finds_what_the_old_one_has_under_way(tmp_path: Path) -> None:
    """The link broke while the store was slow: the second attempt waits for the first."""
    output = Gated()
    async with forwarder(tmp_path, output) as running:
        async with running.client() as before:
            await before.open()
            output.gate.clear()
            await before.records(1, 3)
            await until(lambda: running.counted("clima_batches_in_delivery") == 1)
        output.gate.set()
        async with running.client() as after:
            await after.open({LANE: 3})
            output.gate.clear()
            await after.records(1, 3)
            await after.records(4, 5)
            output.gate.set()
            acks = [await after.expect(wire.Ack) for _ in range(2)]
            assert [[(1, 3)], [(4, 5)]] == sorted(ack.ranges for ack in acks)
        assert ids(1, 2, 3, 4, 5) == output.stored


async def test_answers_to_a_station_that_has_gone_are_counted(tmp_path: Path) -> None:
    """It asks again when it is back; nobody else notices."""
    output = Gated()
    async with forwarder(tmp_path, output) as running:
        async with running.client() as station:
            await station.open()
            output.gate.clear()
            await station.records(1, 1)
            await until(lambda: running.counted("clima_batches_in_delivery") == 1)
        await until(lambda: not connections(running))
        output.gate.set()
        await until(lambda: running.counted("clima_answers_lost_total") == 1)
        await serves(running)


def connections(running: Running) -> int:
    """How many of the sessions are on a connection that still stands; asks each with a PONG."""
    running.health.store_failed("asked")
    running.health.store_worked()
    return len(running.router.sessions)


async def test_hellos_that_wait_for_the_store_are_bounded(tmp_path: Path) -> None:
    """Each holds what it reports; whoever says ever more of them is told to wait."""
    output = Gated()
    async with forwarder(tmp_path, output) as running, running.client() as station:
        output.gate.clear()
        for _ in range(SESSIONS_PER_KEY + 5):
            await station.hello()
        refusals = [await station.expect(wire.Refusal) for _ in range(5)]
        assert {"busy"} == {refusal.code for refusal in refusals}
        output.gate.set()
        for _ in range(SESSIONS_PER_KEY):
            await station.expect(wire.Welcome)
        await serves(running)


async def test_more_batches_than_the_credit_are_sent_back(tmp_path: Path) -> None:
    """Back-pressure is not left to the good will of the station."""
    output = Gated()
    async with forwarder(tmp_path, output) as running, running.client() as station:
        await station.open()
        output.gate.clear()
        for first in range(1, CREDIT + 2):
            await station.records(first, first)
        nack = await station.expect(wire.Nack)
        assert ("retry", "busy", [(5, 5)]) == (nack.action, nack.code, nack.ranges)
        output.gate.set()
        acks = [await station.expect(wire.Ack) for _ in range(CREDIT)]
        assert [[(each, each)] for each in range(1, 5)] == sorted(ack.ranges for ack in acks)


class FaultyReports(MemoryOutput):
    """Has a fault in the first report, of a kind that nobody expects."""

    reported = 0

    async def report(self, reports: Sequence[StationReport]) -> None:
        self.reported += 1
        if self.reported == 1:
            raise ZeroDivisionError
        await super().report(reports)


async def test_the_house_is_kept_whatever_becomes_of_a_report(tmp_path: Path) -> None:
    """Or sessions would never expire, and no report be written any more."""
    output = FaultyReports()
    async with forwarder(tmp_path, output, heartbeat_s=0.05) as running:
        async with running.client() as station:
            await station.open({LANE: 3})
            await until(lambda: output.last_reports)
        await until(lambda: not len(running.router.sessions))


# -- who is let in --------------------------------------------------------------------------


async def test_without_a_session_a_station_is_told_to_begin_anew(tmp_path: Path) -> None:
    """As after a restart of the forwarder; nothing is stored before HELLO."""
    async with forwarder(tmp_path) as running, running.client() as station:
        await station.records(1, 1)
        assert wire.Restart() == await station.expect(wire.Restart)
        await station.say(wire.Ping(datetime.now(UTC)))
        assert wire.Restart() == await station.expect(wire.Restart)
        await station.open()
        assert [] == running.output.stored


async def test_a_key_speaks_for_its_own_station_only(tmp_path: Path) -> None:
    """Neither in HELLO nor in a record."""
    async with forwarder(tmp_path) as running, running.client("shed") as shed:
        await shed.hello(station="roof")
        refusal = await shed.expect(wire.Refusal)
        assert "wrong_station" == refusal.code
        assert '"shed"' in refusal.message
        await shed.open()
        await shed.batch(1, [record("roof", 1)])
        nack = await shed.expect(wire.Nack)
        assert ("dead_letter", "foreign", [(1, 1)]) == (nack.action, nack.code, nack.ranges)
        assert [(1, 1)] == (await shed.expect(wire.Ack)).ranges
        assert [("shed", LANE, 1)] == list(running.output.letters)


@pytest.mark.parametrize("versions", [[], [wire.VERSION + 1, 99]])
async def test_a_version_that_is_not_spoken_is_said(tmp_path: Path, versions: list[int]) -> None:
    """One side is to be updated."""
    async with forwarder(tmp_path) as running, running.client() as station:
        await station.hello(versions=versions)
        assert "version" == (await station.expect(wire.Refusal)).code
        await station.hello(versions=[wire.VERSION, *versions])
        await station.expect(wire.Welcome)


async def test_a_revoked_station_is_not_heard_from_the_next_message_on(tmp_path: Path) -> None:
    """Though its connection stands: ZAP has let it in and does not ask again."""
    async with forwarder(tmp_path) as running, running.client() as station:
        await station.open()
        await station.records(1, 1)
        await station.expect(wire.Ack)
        running.stations.revoke("roof")
        with capture_logs() as logs:
            await station.records(2, 2)
            await station.hello()
            await until(
                lambda: running.counted("clima_messages_refused_total", reason="revoked") == 2
            )
        assert ["station_put_out"] == [line["event"] for line in logs]
        assert 0 == len(running.router.sessions)
        assert ids(1) == running.output.stored
        # let in again, it is a stranger: no session outlived the revocation
        running.stations.add("roof", running.pairs["roof"].public)
        await station.records(3, 3)
        await station.expect(wire.Restart)


async def test_a_station_that_is_put_out_while_it_is_greeted_gets_no_session(
    tmp_path: Path,
) -> None:
    """The store may take its time to answer; the key directory has the last word."""
    output = Gated()
    async with forwarder(tmp_path, output) as running, running.client() as station:
        output.gate.clear()
        await station.hello()
        await serves_ping(station)
        running.stations.revoke("roof")
        output.gate.set()
        await serves(running)
        assert running.router.sessions.of_station("roof") is None


async def serves_ping(station: Client) -> None:
    """Assert that the messages before this one have been read."""
    await station.say(wire.Ping(datetime.now(UTC)))
    await station.expect(wire.Restart)


async def test_a_replaced_key_is_out_and_the_new_one_is_in(tmp_path: Path) -> None:
    """A new card in the old station: the old card is not heard any more."""
    async with forwarder(tmp_path) as running, running.client() as old:
        await old.open()
        fresh = keys.generate()
        running.stations.add("roof", fresh.public, replace=True)
        await old.records(1, 1)
        async with running.client("roof", pair=fresh) as new:
            await new.open()
            await new.records(1, 2)
            assert [(1, 2)] == (await new.expect(wire.Ack)).ranges
        assert 1 == running.counted("clima_messages_refused_total", reason="revoked")


async def test_an_unknown_key_does_not_get_through_the_handshake(tmp_path: Path) -> None:
    """It is said once, with what the operator needs to let it in, however often it tries."""
    stranger = keys.generate()
    async with forwarder(tmp_path) as running:
        with capture_logs() as logs:
            for _ in range(3):
                async with running.client("roof", pair=stranger) as station:
                    await station.hello()
                    happened = await station.event(
                        zmq.Event.HANDSHAKE_SUCCEEDED, zmq.Event.HANDSHAKE_FAILED_AUTH
                    )
                    assert zmq.Event.HANDSHAKE_FAILED_AUTH == happened
        (line,) = logs
        assert ("key_refused", stranger.public) == (line["event"], line["public_key"])
        await serves(running)


async def test_a_wrong_server_key_gets_nowhere(tmp_path: Path) -> None:
    """Whoever does not know the forwarder's key cannot even say who it is."""
    async with forwarder(tmp_path) as running:
        running.server_key, right = keys.generate().public, running.server_key
        async with running.client("lost") as station:
            await station.hello()
            await station.event(
                zmq.Event.HANDSHAKE_FAILED_PROTOCOL,
                zmq.Event.HANDSHAKE_FAILED_NO_DETAIL,
                zmq.Event.DISCONNECTED,
            )
        running.server_key = right
        await serves(running)


async def test_a_squatted_routing_id_shuts_nobody_out(tmp_path: Path) -> None:
    """Another station takes the very routing id of a connected one: it gets none of its answers."""
    async with forwarder(tmp_path) as running, running.client("roof") as roof:
        await roof.open()
        (session,) = running.router.sessions
        async with running.client("shed", routing_id=session.routing_id) as squatter:
            await squatter.hello()
            await squatter.event(zmq.Event.HANDSHAKE_SUCCEEDED)
            await roof.records(1, 3)
            assert [(1, 3)] == (await roof.expect(wire.Ack)).ranges
            await serves(running, "third")
            await roof.ping()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(squatter.receive(), 0.5)


async def test_two_devices_with_one_key_raise_the_alarm_and_are_both_served(
    tmp_path: Path,
) -> None:
    """A cloned card: what is alike is stored once, what differs is a conflict, none is lost."""
    async with forwarder(tmp_path) as running, running.client() as one, running.client() as two:
        await one.open()
        await two.open()
        with capture_logs() as logs:
            async with asyncio.timeout(TIMEOUT_S):
                while not running.counted("clima_cloned_keys_total"):
                    await one.ping()
                    await two.ping()
            await one.ping()
        assert {"station_cloned"} == {line["event"] for line in logs}
        await one.records(1, 2)
        assert [(1, 2)] == (await one.expect(wire.Ack)).ranges
        running.output.roll_over()
        await two.batch(
            2, [record("roof", 2, weather={"air_temperature": -1.0}), record("roof", 3)]
        )
        nack = await two.expect(wire.Nack)
        assert ("conflict", [(2, 2)]) == (nack.action, nack.ranges)
        assert [(3, 3)] == (await two.expect(wire.Ack)).ranges
        assert ids(1, 2, 3) == running.output.stored


async def test_a_repair_is_asked_of_a_connected_station_only(tmp_path: Path) -> None:
    """Nothing is promised for one that is away."""
    async with forwarder(tmp_path) as running:
        assert not running.router.resend("roof", LANE, Ranges([(1, 1)]))


# -- malice ---------------------------------------------------------------------------------


HELLO = wire.encode(wire.Hello([wire.VERSION], "x", "roof", datetime.now(UTC), []))[1]
SINCE = HELLO.replace(
    b'"lanes":[]',
    b'"lanes":[{"journal":"0123456789ab","stream":"w","first":1,"last":1,"since":"%s"}]',
)

NO_MESSAGES: dict[str, list[bytes]] = {
    "nothing": [b""],
    "another protocol": [b"CLIMA9", HELLO],
    "no header": [wire.PROTOCOL],
    "no JSON": [wire.PROTOCOL, b"hello"],
    "no object": [wire.PROTOCOL, b"[" * 60_000],
    "no type": [wire.PROTOCOL, b"{}"],
    "an unknown type": [wire.PROTOCOL, b'{"type":"shutdown"}'],
    "a forwarder's message": [wire.PROTOCOL, b'{"type":"restart"}'],
    "no text": [wire.PROTOCOL, b'{"type":"hello","software":"\xff"}'],
    "a long header": [wire.PROTOCOL, HELLO + b" " * wire.MAX_HEADER_BYTES],
    "a batch without payload": [
        wire.PROTOCOL,
        b'{"type":"batch","journal":"0123456789ab","stream":"w","first":1,"count":1,"size":9}',
    ],
    "a payload where none belongs": [wire.PROTOCOL, HELLO, b"payload"],
    "a journal of no form": [
        wire.PROTOCOL,
        b'{"type":"batch","journal":"../../etc","stream":"w","first":1,"count":1,"size":9}',
        b"x",
    ],
    "a sequence past all": [
        wire.PROTOCOL,
        b'{"type":"batch","journal":"0123456789ab","stream":"w","first":1e30,"count":1,"size":9}',
        b"x",
    ],
    "a time before time": [wire.PROTOCOL, SINCE % b"0001-01-01T00:00:00+23:59"],
    "a time without zone": [wire.PROTOCOL, SINCE % b"2026-01-01T00:00:00"],
    "one frame too many": [wire.PROTOCOL, HELLO, b"", b""],
    "15,000 frames": [b"x"] * 15_000,
    "15,000 empty frames": [b""] * 15_000,
}


@pytest.mark.parametrize("what", NO_MESSAGES)
async def test_what_is_no_message_is_dropped_and_counted(tmp_path: Path, what: str) -> None:
    """The session goes on, and so does everybody else's."""
    async with forwarder(tmp_path) as running, running.client() as station:
        await station.open()
        await station.send(*NO_MESSAGES[what])
        await station.ping()
        assert 1 == running.counted("clima_messages_refused_total", reason="protocol")
        await station.records(1, 1)
        assert [(1, 1)] == (await station.expect(wire.Ack)).ranges
        await serves(running)


async def test_a_frame_that_is_too_large_cuts_the_peer(tmp_path: Path) -> None:
    """It is never in memory whole; the peer may come again, and the others notice nothing."""
    async with forwarder(tmp_path) as running, running.client() as station:
        await station.open()
        await station.event(zmq.Event.HANDSHAKE_SUCCEEDED)
        await station.send(wire.PROTOCOL, HELLO, b"x" * (wire.MAX_FRAME_BYTES + 100_000))
        await station.event(zmq.Event.DISCONNECTED)
        await serves(running)
        await station.event(zmq.Event.HANDSHAKE_SUCCEEDED)
        await station.open()


async def test_an_expired_session_begins_anew(tmp_path: Path) -> None:
    """Silent for some heartbeats it is forgotten; its next message is answered with RESTART."""
    async with forwarder(tmp_path, heartbeat_s=0.5) as running, running.client() as station:
        await station.open()
        await until(lambda: not len(running.router.sessions))
        await station.records(1, 1)
        await station.expect(wire.Restart)
        await station.open({LANE: 1})
        await station.records(1, 1)
        await station.expect(wire.Ack)
