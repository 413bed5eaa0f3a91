"""The agent's end of the wire, against a scripted forwarder on a real socket with CURVE."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
import zmq
from structlog.testing import capture_logs

from clima_agent.connection import GREETING_S, Forwarder
from clima_agent.sender import Sender
from clima_agent.spool import Spool
from clima_core import keys, wire
from clima_core.identity import Lane
from clima_core.ranges import Ranges
from tests.agent.peer import NOW, Clock, Peer, Stage
from tests.agent.spool.stock import documents, number_of

STATION_KEYS = keys.generate()
Log = list[Any]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def spool() -> Iterator[Spool]:
    opened = Spool(":memory:", "roof", now=lambda: NOW)
    yield opened
    opened.close()


@pytest.fixture
def peer() -> Iterator[Peer]:
    bound = Peer(STATION_KEYS.public)
    yield bound
    bound.close()


@pytest.fixture
def second() -> Iterator[Peer]:
    bound = Peer(STATION_KEYS.public)
    yield bound
    bound.close()


@pytest.fixture
def log() -> Iterator[Log]:
    with capture_logs() as captured:
        yield captured


@pytest.fixture
def connect(spool: Spool, clock: Clock) -> Iterator[Callable[..., Stage]]:
    """Makes a sender to the forwarders given, in that order."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    senders: list[Sender] = []

    def make(*peers: Peer, to: tuple[Forwarder, ...] = (), **options: Any) -> Stage:
        forwarders = to or tuple(peer.forwarder for peer in peers)
        sender = Sender(
            spool,
            forwarders,
            STATION_KEYS,
            monotonic=clock.monotonic,
            now=clock.now,
            context=context,
            **options,
        )
        senders.append(sender)
        return Stage(sender, *peers)

    yield make
    for sender in senders:
        sender.close()
    context.term()


Connect = Callable[..., Stage]


def events(log: Log, name: str) -> list[dict[str, Any]]:
    return [dict(event) for event in log if event["event"] == name]


def make(spool: Spool, count: int, first: int = 1) -> Lane:
    spool.append("w", documents(count, first))
    spool.sync()
    return Lane(spool.journal, "w")


def opened(stage: Stage, *seen: wire.Seen, **limits: Any) -> wire.Hello:
    """Get a session open; the HELLO that asked for it."""
    hello = stage.hears(wire.Hello)
    stage.peers[0].welcome(*seen, **limits)
    stage.until(lambda: stage.sender.connected, "a session")
    return hello


def test_a_session_opens_and_delivers(connect: Connect, peer: Peer, spool: Spool) -> None:
    """HELLO, WELCOME, batches as the credit allows, each acknowledged."""
    lane = make(spool, 25)
    stage = connect(peer)
    hello = opened(stage)
    assert ("roof", [wire.VERSION], NOW) == (hello.station, hello.versions, hello.time)
    assert {lane, Lane(lane.journal, "s"), Lane(lane.journal, "l")} == {
        report.lane for report in hello.lanes
    }
    got: list[int] = []
    for _ in range(3):
        batch = stage.hears(wire.Batch)
        got += map(number_of, peer.records(batch))
        peer.ack(batch)
    stage.until(lambda: not spool.ledgers[lane].waiting)
    assert list(range(1, 26)) == got
    assert 0 == stage.sender.in_flight


def test_that_records_are_sent_is_written_down_before_they_are(
    connect: Connect, peer: Peer, spool: Spool
) -> None:
    """HELLO tells of none that this life made: it may never come to send them."""
    lane = make(spool, 5)
    stage = connect(peer)
    hello = stage.hears(wire.Hello)
    assert [0, 0, 0] == [report.last for report in hello.lanes]
    assert spool.never_sent()
    peer.welcome()
    assert 5 == stage.hears(wire.Batch).count
    assert {} == spool.never_sent()
    assert [(1, 5)] == spool.ledgers[lane].report().waiting


def test_fresh_readings_overtake_a_backlog(connect: Connect, peer: Peer, spool: Spool) -> None:
    """A credit is kept for what is made after the session began."""
    make(spool, 100)
    stage = connect(peer)
    opened(stage)
    assert [1, 11, 21] == [stage.hears(wire.Batch).first for _ in range(3)]
    assert stage.quiet()
    make(spool, 1, first=101)
    assert 101 == stage.hears(wire.Batch).first


def test_a_refusal_is_obeyed(connect: Connect, peer: Peer, clock: Clock, log: Log) -> None:
    """Said with the forwarder's own words; the next attempt is no sooner than it allows."""
    stage = connect(peer)
    stage.hears(wire.Hello)
    peer.say(wire.Refusal("wrong_station", "this key is that of cellar", 60.0))
    stage.until(lambda: not stage.sender.sockets)
    (said,) = events(log, "forwarder_lost")
    assert ("wrong_station", "this key is that of cellar") == (said["reason"], said["message"])
    assert 60.0 == stage.sender.step()
    clock.monotonic_s += 59.9
    stage.sender.step()
    assert not stage.sender.sockets
    clock.monotonic_s += 0.2
    stage.hears(wire.Hello)


def test_without_an_answer_the_next_forwarder_is_tried(
    connect: Connect, peer: Peer, second: Peer, clock: Clock, log: Log
) -> None:
    """At once and in order; after the last one a pause, then again from the first."""
    stage = connect(peer, second)
    stage.hears(wire.Hello)
    clock.monotonic_s += GREETING_S
    stage.hears(wire.Hello, second)
    clock.monotonic_s += GREETING_S
    stage.until(lambda: not stage.sender.sockets)
    assert 0.5 <= stage.sender.step() <= 1.0
    clock.monotonic_s += 1.0
    stage.hears(wire.Hello)
    assert [peer.forwarder.address, second.forwarder.address] == [
        event["forwarder"] for event in events(log, "forwarder_lost")
    ]


def test_nobody_there_at_all(connect: Connect, clock: Clock, log: Log) -> None:
    """For days: pauses grow to a minute with jitter, one line is logged, and nothing breaks."""
    nowhere = Forwarder("tcp://127.0.0.1:9", keys.generate().public)
    stage = connect(to=(nowhere,))
    pauses = []
    for _ in range(1100):
        stage.sender.step()
        assert stage.sender.sockets
        clock.monotonic_s += GREETING_S
        pauses.append(stage.sender.step())
        assert not stage.sender.sockets
        clock.monotonic_s += pauses[-1]
    caps = [min(60.0, 2.0**attempt) for attempt in range(20)] + [60.0] * 1080
    assert all(cap / 2 <= pause <= cap for cap, pause in zip(caps, pauses, strict=True))
    assert len({round(pause, 6) for pause in pauses[10:]}) > 100
    assert 1 == len(events(log, "forwarder_lost"))


def test_the_pauses_begin_anew_after_a_session(connect: Connect, peer: Peer, clock: Clock) -> None:
    """What went well was no failure."""
    stage = connect(peer)
    for _ in range(5):
        stage.hears(wire.Hello)
        clock.monotonic_s += GREETING_S
        stage.until(lambda: not stage.sender.sockets)
        pause = stage.sender.step()
        clock.monotonic_s += pause
    assert pause >= 8.0
    opened(stage)
    clock.monotonic_s += 31.0
    stage.until(lambda: not stage.sender.sockets)
    assert stage.sender.step() <= 1.0


def test_a_restart_is_answered_with_hello(connect: Connect, peer: Peer, spool: Spool) -> None:
    """A forwarder that was restarted knows no session; what was in flight is sent again."""
    make(spool, 5)
    stage = connect(peer)
    opened(stage)
    assert 1 == stage.hears(wire.Batch).first
    peer.say(wire.Restart())
    hello = stage.hears(wire.Hello)
    assert 5 == max(report.last for report in hello.lanes)
    peer.say(wire.Restart())
    peer.welcome()
    assert 1 == stage.hears(wire.Batch).first
    assert stage.quiet()


def test_heartbeats_carry_how_the_lanes_stand(
    connect: Connect, peer: Peer, spool: Spool, clock: Clock
) -> None:
    """In the forwarder's interval; its answer tells how its clock differs from ours."""
    lane = make(spool, 5)
    stage = connect(peer)
    opened(stage, heartbeat_s=5.0)
    peer.ack(stage.hears(wire.Batch))
    stage.until(lambda: not spool.ledgers[lane].waiting)
    assert 5.0 == stage.sender.step()
    clock.monotonic_s += 5.0
    ping = stage.hears(wire.Ping)
    report = next(each for each in ping.lanes if each.lane == lane)
    assert (5, [], clock.now()) == (report.last, report.waiting, ping.time)
    clock.monotonic_s += 2.0  # a slow link: half of it is the way back
    peer.say(wire.Pong(clock.now() + timedelta(seconds=99), 7, ping.time))
    stage.until(lambda: stage.sender.clock_offset_s is not None)
    assert 100.0 == stage.sender.clock_offset_s


def told_times(connect: Connect, peer: Peer) -> tuple[Stage, list[tuple[datetime, float]]]:
    """A session with heartbeats every 15 s, and what it will have been told of the time."""
    told: list[tuple[datetime, float]] = []
    stage = connect(peer, told_time=lambda theirs, trip_s: told.append((theirs, trip_s)))
    opened(stage, heartbeat_s=15.0)
    return stage, told


def test_an_answer_that_comes_after_the_next_question_tells_no_time(
    connect: Connect, peer: Peer, clock: Clock
) -> None:
    """Wi-Fi held it for 15 s; taken for the answer to the newest PING it would be as far out."""
    stage, told = told_times(connect, peer)
    clock.monotonic_s += 15.0
    first = stage.hears(wire.Ping)
    late = wire.Pong(clock.now(), 7, first.time)
    clock.monotonic_s += 15.0
    second = stage.hears(wire.Ping)
    clock.monotonic_s += 0.1
    peer.say(late)
    peer.say(wire.Pong(clock.now(), 7, second.time))
    stage.until(lambda: told)
    ((at, trip_s),) = told
    assert clock.now() + timedelta(seconds=0.05) == at
    assert pytest.approx(0.1) == trip_s
    assert pytest.approx(0.05) == stage.sender.clock_offset_s


def test_a_pong_that_nobody_asked_for_tells_no_time_and_answers_nothing(
    connect: Connect, peer: Peer, clock: Clock
) -> None:
    """It tells the credit, and that the forwarder is there; it may be as old as it likes."""
    stage, told = told_times(connect, peer)
    clock.monotonic_s += 15.0
    asked = stage.hears(wire.Ping).time
    peer.say(wire.Pong(clock.now(), 7, asked))
    stage.until(lambda: told)
    clock.monotonic_s += 15.0
    ping = stage.hears(wire.Ping)
    peer.say(wire.Pong(NOW, 0))
    session = stage.sender._session
    stage.until(lambda: session is not None and session.credit == 0)
    assert not stage.sender.reported_all()
    peer.say(wire.Pong(clock.now(), 4, ping.time))
    stage.until(stage.sender.reported_all)
    assert [NOW + timedelta(seconds=15), NOW + timedelta(seconds=30)] == [at for at, _ in told]


def test_two_questions_at_once_can_be_told_apart(
    connect: Connect, peer: Peer, spool: Spool, clock: Clock
) -> None:
    """Their times are what an answer names them by."""
    stage, _ = told_times(connect, peer)
    clock.monotonic_s += 15.0
    first = stage.hears(wire.Ping)
    make(spool, 1)
    assert not stage.sender.reported_all()
    assert first.time != stage.hears(wire.Ping).time
    peer.say(wire.Pong(clock.now(), 4, first.time))
    peer.say(wire.Pong(clock.now(), 5))
    session = stage.sender._session
    stage.until(lambda: session is not None and session.credit == 5)
    assert not stage.sender.reported_all()


def test_an_older_forwarder_tells_no_time(connect: Connect, peer: Peer, clock: Clock) -> None:
    """It does not say which PING it answers. All else goes on, and a recording can end."""
    stage, told = told_times(connect, peer)
    for _ in range(4):
        clock.monotonic_s += 15.0
        stage.hears(wire.Ping)
        peer.say(wire.Pong(clock.now(), 4))
        stage.until(stage.sender.reported_all)
    assert stage.sender.connected
    assert ([], None) == (told, stage.sender.clock_offset_s)


def test_a_silent_forwarder_counts_as_gone(
    connect: Connect, peer: Peer, clock: Clock, log: Log
) -> None:
    """After three heartbeats; whatever it says keeps it."""
    stage = connect(peer)
    opened(stage, heartbeat_s=10.0)
    for _ in range(5):
        clock.monotonic_s += 10.0
        ping = stage.hears(wire.Ping)
        peer.say(wire.Pong(NOW, 4, ping.time))
        stage.until(stage.sender.reported_all)
    for _ in range(3):
        clock.monotonic_s += 10.0
        stage.hears(wire.Ping)
    assert stage.sender.connected
    clock.monotonic_s += 0.1
    stage.until(lambda: not stage.sender.connected)
    assert ["silent"] == [event["reason"] for event in events(log, "forwarder_lost")]


def test_a_forwarder_that_comes_back_finds_a_new_session(connect: Connect, spool: Spool) -> None:
    """ZeroMQ connects again by itself: HELLO comes before anything else counts."""
    make(spool, 30)
    peer = Peer(STATION_KEYS.public)
    stage = connect(peer)
    opened(stage)
    assert [1, 11, 21] == [stage.hears(wire.Batch).first for _ in range(3)]
    peer.close()
    stage.peers = ()
    stage.until(lambda: not stage.sender.connected)
    make(spool, 5, first=31)
    again = Peer(STATION_KEYS.public, pair=peer.keys, port=peer.port)
    stage.peers = (again,)
    hello = stage.hears(wire.Hello)
    assert 35 == max(report.last for report in hello.lanes)
    again.welcome()
    assert [1, 11, 21] == [stage.hears(wire.Batch).first for _ in range(3)]
    again.close()


def test_another_key_than_was_expected_is_no_forwarder(
    connect: Connect, peer: Peer, log: Log
) -> None:
    """Somebody else at that address gets nothing; it is said what to compare."""
    stage = connect(to=(Forwarder(peer.forwarder.address, keys.generate().public),))
    stage.until(lambda: events(log, "forwarder_lost"))
    (said,) = events(log, "forwarder_lost")
    assert "handshake_broken_off" == said["reason"]
    assert "public_key" in said["mend"]
    assert peer.heard() is None


def test_a_station_that_is_not_let_in_says_its_key(connect: Connect, peer: Peer, log: Log) -> None:
    """And the command that lets it in; once that is done, it connects."""
    peer.admitted.clear()
    stage = connect(peer)
    stage.until(lambda: events(log, "forwarder_lost"))
    (said,) = events(log, "forwarder_lost")
    assert ("key_refused", STATION_KEYS.public) == (said["reason"], said["station_key"])
    assert "clima stations add roof" in said["mend"]
    assert STATION_KEYS.secret.reveal() not in str(log)


def test_another_reason_is_said_too(connect: Connect, peer: Peer, clock: Clock, log: Log) -> None:
    """Once each: a forwarder that does not answer may later refuse the key."""
    stage = connect(peer)
    for _ in range(2):
        stage.hears(wire.Hello)
        clock.monotonic_s += GREETING_S
        clock.monotonic_s += stage.sender.step()
    peer.admitted.clear()
    for _ in range(2):
        stage.until(lambda: stage.sender.sockets)
        stage.until(lambda: not stage.sender.sockets)
        clock.monotonic_s += stage.sender.step()
    assert ["no_welcome", "key_refused"] == [
        event["reason"] for event in events(log, "forwarder_lost")
    ]


def test_let_in_later_it_connects(connect: Connect, peer: Peer, clock: Clock, log: Log) -> None:
    """Without a restart of either side."""
    peer.admitted.clear()
    stage = connect(peer)
    stage.until(lambda: events(log, "forwarder_lost"))
    peer.admitted.add(STATION_KEYS.public)
    clock.monotonic_s += 1.0
    opened(stage)


def test_live_readings_go_out_only_in_a_session(connect: Connect, peer: Peer) -> None:
    """Before, nobody would be watching; and what nobody reads costs no session."""
    stage = connect(peer)
    stage.sender.live({"weather": {"air_temperature": 1.0}})
    stage.hears(wire.Hello)
    stage.sender.live({"weather": {"air_temperature": 2.0}})
    peer.welcome()
    stage.until(lambda: stage.sender.connected)
    stage.sender.live({"weather": {"air_temperature": 3.0}})
    stage.hears(wire.Live)
    assert b'{"weather":{"air_temperature":3.0}}' == peer.payload
    for number in range(50_000):
        stage.sender.live({"weather": {"air_temperature": number}, "message": "x" * 1000})
    assert stage.sender.connected


def test_a_spool_behind_what_was_seen_of_it_begins_a_new_journal(
    connect: Connect, peer: Peer, spool: Spool, log: Log
) -> None:
    """What it never sent goes on under new numbers; it is an error, said once."""
    lane = make(spool, 3)
    stage = connect(peer)
    stage.hears(wire.Hello)
    peer.welcome(wire.Seen(lane.journal, "w", 2))
    hello = stage.hears(wire.Hello)
    assert lane.journal != spool.journal == hello.lanes[0].journal
    peer.welcome(wire.Seen(lane.journal, "w", 2))
    batch = stage.hears(wire.Batch)
    assert (spool.journal, 1, 3) == (batch.journal, batch.first, batch.count)
    assert [1, 2, 3] == [number_of(body) for body in peer.records(batch)]
    (said,) = events(log, "spool_rolled_back")
    assert ("error", lane.journal, spool.journal, 2) == (
        said["log_level"],
        said["journal"],
        said["new_journal"],
        said["seen_by_forwarder"],
    )


def test_a_welcome_that_gets_lost_is_no_rollback(
    connect: Connect, peer: Peer, spool: Spool, clock: Clock, log: Log
) -> None:
    """The forwarder has been told of the lanes, and says so the next time."""
    make(spool, 3)
    stage = connect(peer)
    first = stage.hears(wire.Hello)
    clock.monotonic_s += GREETING_S
    stage.until(lambda: not stage.sender.sockets)
    clock.monotonic_s += 1.0
    stage.hears(wire.Hello)
    peer.welcome(*(wire.Seen(each.journal, each.stream, each.last) for each in first.lanes))
    assert 1 == stage.hears(wire.Batch).first
    assert [] == events(log, "spool_rolled_back")


def test_records_whose_identity_is_taken_are_numbered_anew(
    connect: Connect, peer: Peer, spool: Spool, log: Log
) -> None:
    """A clone was faster: both stations' records are kept, under identities of their own."""
    lane = make(spool, 8)
    stage = connect(peer)
    opened(stage, max_records=4)
    for first in (1, 5):
        batch = stage.hears(wire.Batch)
        assert first == batch.first
    peer.say(
        wire.Nack(lane.journal, "w", [(2, 3)], "conflict", "conflict", "another record", 4, NOW)
    )
    stage.hears(wire.Hello)
    peer.welcome()
    batches = [stage.hears(wire.Batch) for _ in range(3)]
    assert {(lane.journal, 1, 1), (lane.journal, 4, 5), (spool.journal, 1, 2)} == {
        (batch.journal, batch.first, batch.count) for batch in batches
    }
    assert 1 == len(events(log, "identity_taken"))
    assert Ranges([(2, 3)]) == spool.ledgers[lane].acknowledged


def test_what_is_to_be_retried_is_sent_again_in_time(
    connect: Connect, peer: Peer, spool: Spool, clock: Clock, log: Log
) -> None:
    """Clocks that disagree are shown with both times."""
    lane = make(spool, 5)
    stage = connect(peer)
    opened(stage)
    stage.hears(wire.Batch)
    peer.say(
        wire.Nack(
            lane.journal, "w", [(1, 5)], "retry", "clock_ahead", "ahead", 4, NOW, retry_after_s=4.0
        )
    )
    stage.until(lambda: events(log, "clock_ahead"))
    (said,) = events(log, "clock_ahead")
    assert (NOW, clock.now(), "1-5") == (
        said["forwarder_time"],
        said["station_time"],
        said["sequences"],
    )
    assert 4.0 == stage.sender.step()
    assert stage.quiet()
    clock.monotonic_s += 4.0
    assert 1 == stage.hears(wire.Batch).first


def test_dead_letters_are_errors(connect: Connect, peer: Peer, spool: Spool, log: Log) -> None:
    """Somebody must look at them; the acknowledgement frees them."""
    lane = make(spool, 5)
    stage = connect(peer)
    opened(stage)
    batch = stage.hears(wire.Batch)
    peer.say(wire.Nack(lane.journal, "w", [(3, 3)], "dead_letter", "invalid", "why", 4, NOW))
    peer.ack(batch)
    stage.until(lambda: not spool.ledgers[lane].waiting)
    (said,) = events(log, "records_dead_lettered")
    assert ("error", "3", "invalid", "why") == tuple(
        said[name] for name in ("log_level", "sequences", "code", "reason")
    )


def test_a_repair_sends_again(connect: Connect, peer: Peer, spool: Spool) -> None:
    """What the store turned out to lack."""
    lane = make(spool, 5)
    stage = connect(peer)
    opened(stage)
    peer.ack(stage.hears(wire.Batch))
    peer.say(wire.Resend(lane.journal, "w", [(2, 3)]))
    batch = stage.hears(wire.Batch)
    assert (2, 2) == (batch.first, batch.count)


def test_what_is_no_message_is_ignored(
    connect: Connect, peer: Peer, spool: Spool, log: Log
) -> None:
    """The session goes on."""
    make(spool, 5)
    stage = connect(peer)
    opened(stage)
    batch = stage.hears(wire.Batch)
    for frames in ([b""], [b"CLIMA1", b"{"], [b"x"] * 5, [b"CLIMA1", b'{"type":"ping"}']):
        peer.socket.send_multipart([peer.routing_id, *frames])
    peer.ack(batch)
    stage.until(lambda: not spool.ledgers[Lane(spool.journal, "w")].waiting)
    assert 4 == len(events(log, "message_ignored"))


def test_a_torn_account_still_fits_into_a_greeting(
    connect: Connect, peer: Peer, spool: Spool
) -> None:
    """A HELLO that is too long would never be answered, and the station be mute for ever."""
    many = documents(2200)  # with more runs than a list may have
    for _ in range(21):  # three lanes each
        spool.append("w", many)
        spool.sync()
        spool.mark_sending()
        ledger = spool.ledgers[Lane(spool.journal, "w")]
        spool.drop(ledger, Ranges((n, n) for n in range(2, 2200, 4)), "damaged")
        ledger.acknowledge(Ranges((n, n) for n in range(1, 2200, 4)))
        spool.begin_journal({})
    stage = connect(peer)
    hello = opened(stage)
    assert wire.MAX_LANES == len(hello.lanes)
    assert len(wire.encode(hello)[1]) <= wire.MAX_HEADER_BYTES
    assert 3 == stage.hears(wire.Batch).first


def test_another_spool_means_another_session(connect: Connect, peer: Peer) -> None:
    """After a recovery: at once, and with the new spool's lanes."""
    stage = connect(peer)
    opened(stage)
    recovered = Spool(":memory:", "roof")
    stage.sender.use(recovered)
    assert not stage.sender.connected
    assert recovered.journal == stage.hears(wire.Hello).lanes[0].journal
    stage.sender.close()
    recovered.close()
