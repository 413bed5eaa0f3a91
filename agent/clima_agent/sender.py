"""The agent's end of the wire: one DEALER socket to one forwarder at a time.

zguide's Paranoid Pirate (heartbeats both ways, capped exponential back-off, a fresh socket for
each attempt) and Freelance (several forwarders, tried in order of preference). HELLO follows
every completed handshake, so that a connection which ZeroMQ has quietly made anew begins a new
session: answers to the old one went to the old connection.

Used by one thread. Never blocks: `step` does what can be done now and says when to call again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import msgspec
import structlog
import zmq
from zmq.utils.monitor import recv_monitor_message

from clima_agent.connection import GREETING_S, Forwarder, connection
from clima_agent.session import Session
from clima_agent.spool import Spool
from clima_core import __version__, wire
from clima_core.backoff import pause_s
from clima_core.errors import ProtocolError
from clima_core.identity import Lane
from clima_core.keys import KeyPair
from clima_core.ranges import Ranges

log = structlog.get_logger("clima_agent.sender")

BACKOFF_S, BACKOFF_CAP_S = 1.0, 60.0
SILENT_HEARTBEATS = 3  # missed ones after which the forwarder counts as gone
IDLE_S = 3600.0


class Sender:
    """Keeps a session open with the best forwarder there is, and sends what the spool has."""

    def __init__(
        self,
        spool: Spool,
        forwarders: Sequence[Forwarder],
        keys: KeyPair,
        *,
        monotonic: Callable[[], float],
        now: Callable[[], datetime],
        told_time: Callable[[datetime, float], None] = lambda theirs, trip_s: None,
        context: zmq.Context[zmq.Socket[bytes]] | None = None,
    ) -> None:
        self._spool = spool
        self._forwarders = forwarders
        self._keys = keys
        self._monotonic = monotonic
        self._now = now
        self._told_time = told_time
        self._context = context or zmq.Context.instance()
        self._socket: zmq.Socket[bytes] | None = None
        self._monitor: zmq.Socket[bytes] | None = None
        self._session: Session | None = None
        self._began: dict[Lane, int] = {}
        self._next_forwarder = 0
        self._failures = 0
        self._said: set[tuple[str, str]] = set()  # who was lost, and why, since the last session
        self._deadline = 0.0  # when to connect, or to give up waiting for WELCOME
        self._heard = self._pinged = 0.0
        self._told: list[wire.LaneReport] | None = None  # what the last PING said
        self._asked: datetime | None = None  # the time that it bore, by which an answer names it
        self._answered = False  # whether the forwarder has answered it
        self._names_pings = False  # whether the forwarder says which PING it answers
        self._heartbeat_s = GREETING_S
        self._live = msgspec.json.Encoder()
        self.clock_offset_s: float | None = None

    @property
    def sockets(self) -> list[zmq.Socket[bytes]]:
        """What to poll for reading; changes with every connection."""
        return [socket for socket in (self._socket, self._monitor) if socket is not None]

    @property
    def connected(self) -> bool:
        return self._session is not None

    @property
    def in_flight(self) -> int:
        """Batches that wait for an answer."""
        return self._session.in_flight if self._session else 0

    def use(self, spool: Spool) -> None:
        """Go on with another spool, in a new session."""
        self._spool = spool
        self._disconnect()
        self._deadline = self._monotonic()

    def prefer(self, forwarders: Sequence[Forwarder]) -> None:
        """Go on with other forwarders; the session stays if they are the same."""
        if list(forwarders) != list(self._forwarders):
            self._disconnect()
            self._forwarders = forwarders
            self._next_forwarder = self._failures = 0
            self._deadline = self._monotonic()

    def reported_all(self) -> bool:
        """Whether the forwarder knows how all lanes stand now; if not, it is told."""
        reports = self._spool.reports()
        if self._session is None or self._told == reports:
            return self._session is not None and self._answered
        self._ping(reports)
        return False

    def live(self, document: Mapping[str, Any]) -> None:
        """Show a fresh reading to whoever watches; silently not while there is no session."""
        if self._session is not None and self._socket is not None:
            with suppress(zmq.Again):  # nobody is owed it, and it must not cost the session
                frames = wire.encode(wire.Live(), self._live.encode(document))
                self._socket.send_multipart(frames, zmq.DONTWAIT)

    def step(self) -> float:
        """Do what can be done now; returns the seconds until it should be called again."""
        moment = self._monotonic()
        if self._socket is None:
            if self._forwarders and moment >= self._deadline:
                self._connect()
            return self._wait(moment)
        self._receive()
        if self._session is not None:
            self._heartbeat(moment)
            self._send_batches()
        elif moment >= self._deadline:
            self._fail("no_welcome")
        return self._wait(moment)

    def give_up(self, reason: str) -> None:
        """Leave the session for a while: what it needs is not there on this side."""
        if self._socket is not None:
            self._fail(reason)

    def close(self) -> None:
        """Drop the connection; what was not acknowledged waits in the spool."""
        self._disconnect()

    # -- connecting ------------------------------------------------------------------------

    def _connect(self) -> None:
        forwarder = self._forwarders[self._next_forwarder]
        self._socket, self._monitor = connection(self._context, forwarder, self._keys)
        self._deadline = self._monotonic() + GREETING_S

    def _disconnect(self) -> None:
        if self._socket is not None and self._monitor is not None:
            self._socket.disable_monitor()
            self._monitor.close()
            self._socket.close()
        self._socket = self._monitor = self._session = None

    def _fail(self, reason: str, retry_after_s: float = 0.0, **fields: object) -> None:
        """Give this forwarder up: the next one at once, and after the last a pause."""
        forwarder = self._forwarders[self._next_forwarder]
        was_open = self._session is not None
        self._disconnect()
        self._next_forwarder = (self._next_forwarder + 1) % len(self._forwarders)
        pause = 0.0
        if was_open or self._next_forwarder == 0:
            self._next_forwarder = 0
            pause = max(retry_after_s, pause_s(self._failures, BACKOFF_S, BACKOFF_CAP_S))
            self._failures += 1
        if (lost := (forwarder.address, reason)) not in self._said:
            self._said.add(lost)
            log.warning("forwarder_lost", forwarder=forwarder.address, reason=reason, **fields)
        self._deadline = self._monotonic() + pause

    def _greet(self) -> None:
        self._session = None
        reports = wire.fitted(self._spool.reports())
        self._began = {each.lane: self._spool.ledgers[each.lane].synced for each in reports}
        hello = wire.Hello(
            versions=[wire.VERSION],
            software=f"clima-agent {__version__}",
            station=self._spool.station,
            time=self._now(),
            lanes=reports,
        )
        self._deadline = self._monotonic() + GREETING_S
        self._send(wire.encode(hello))

    # -- receiving -------------------------------------------------------------------------

    def _receive(self) -> None:
        while self._monitor is not None and self._monitor.poll(0):
            self._observe(recv_monitor_message(self._monitor))
        while self._socket is not None and self._socket.poll(0):
            frames = self._socket.recv_multipart()
            try:
                message = wire.decode_from_forwarder(frames)
            except ProtocolError as error:
                log.warning("message_ignored", reason=str(error))
                continue
            self._heard = self._monotonic()
            self._handle(message)

    def _observe(self, event: Mapping[str, Any]) -> None:
        match event["event"]:
            case zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self._greet()
            case zmq.EVENT_DISCONNECTED if self._session is not None:
                self._session = None
                self._deadline = self._monotonic() + GREETING_S
            case zmq.EVENT_HANDSHAKE_FAILED_AUTH:
                self._fail(
                    "key_refused",
                    station_key=self._keys.public,
                    mend=f"on the user's station: clima stations add {self._spool.station} KEY",
                )
            case zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL:
                mend = "if it lasts, compare public_key and address with the forwarder's own"
                self._fail("handshake_broken_off", mend=mend)

    def _handle(self, message: wire.FromForwarder) -> None:
        match message:
            case wire.Welcome() if self._session is None:
                self._welcomed(message)
            case wire.Refusal():
                self._fail(message.code, message.retry_after_s, message=message.message)
            case wire.Restart() if self._session is not None:
                self._greet()
            case wire.Pong() if self._session is not None:
                self._session.credit = message.credit
                self._ponged(message)
            case wire.Ack() if self._session is not None:
                self._session.acknowledged(message)
            case wire.Nack() if self._session is not None:
                self._refused(self._session, message)
            case wire.Resend() if self._session is not None:
                ranges = self._session.wanted_again(message)
                log.info("records_wanted_again", journal=message.journal, sequences=str(ranges))

    def _welcomed(self, welcome: wire.Welcome) -> None:
        if self._number_anew_if_rolled_back(welcome):
            self._greet()
            return
        self._spool.mark_sending()
        self._session = Session(self._spool, welcome, self._began)
        self._heartbeat_s = welcome.heartbeat_s
        self._heard = self._pinged = self._monotonic()
        self._asked, self._names_pings = None, False
        self._failures = 0
        self._said.clear()
        address = self._forwarders[self._next_forwarder].address
        log.info("session_opened", forwarder=address, credit=welcome.credit)

    def _number_anew_if_rolled_back(self, welcome: wire.Welcome) -> bool:
        """A spool behind what was seen of its journal begins a new one; True if it did."""
        ledgers = self._spool.ledgers
        for seen in welcome.seen:
            ledger = ledgers.get(Lane(seen.journal, seen.stream))
            current = ledger is not None and ledger.lane.journal == self._spool.journal
            if ledger is None or not current or not ledger.was_rolled_back(seen.highest):
                continue
            moving = {
                lane: ranges
                for lane, ranges in self._spool.never_sent().items()
                if lane.journal == seen.journal
            }
            journal = self._spool.begin_journal(moving)
            log.error(
                "spool_rolled_back",
                journal=seen.journal,
                last_here=ledger.last,
                seen_by_forwarder=seen.highest,
                new_journal=journal,
            )
            return True
        return False

    def _refused(self, session: Session, nack: wire.Nack) -> None:
        conflict = session.refused(nack, self._monotonic())
        fields = {"sequences": str(Ranges(nack.ranges)), "reason": nack.message}
        if conflict:
            lane = Lane(nack.journal, nack.stream)
            journal = self._spool.number_anew({lane: conflict})
            log.error("identity_taken", journal=nack.journal, new_journal=journal, **fields)
            self._greet()
        elif nack.action == "dead_letter":
            log.error("records_dead_lettered", journal=nack.journal, code=nack.code, **fields)
        elif nack.code == "clock_ahead":
            times = {"forwarder_time": nack.time, "station_time": self._now()}
            log.warning("clock_ahead", journal=nack.journal, **fields, **times)

    # -- sending ---------------------------------------------------------------------------

    def _send_batches(self) -> None:
        while self._session is not None:
            if (frames := self._session.next_batch(self._monotonic())) is None:
                return
            self._send(frames)

    def _heartbeat(self, moment: float) -> None:
        if moment - self._heard > SILENT_HEARTBEATS * self._heartbeat_s:
            self._fail("silent")
        elif moment - self._pinged >= self._heartbeat_s:
            self._ping(self._spool.reports())

    def _ping(self, reports: list[wire.LaneReport]) -> None:
        now = self._now()
        if now == self._asked:  # no two bear the same time: it is what an answer names them by
            now += timedelta(microseconds=1)
        self._pinged = self._monotonic()
        self._told, self._asked, self._answered = reports, now, False
        self._send(wire.encode(wire.Ping(time=now, lanes=wire.fitted(reports))))

    def _ponged(self, pong: wire.Pong) -> None:
        """Only the answer to the newest PING tells the time: of any other nobody knows its age.

        It may be one to an earlier PING that was held up on its way, or one that nobody asked for.
        """
        if pong.asked is None:  # an older forwarder answers like this, and says no time then
            self._answered = self._answered or not self._names_pings
            return
        self._names_pings = True
        if pong.asked == self._asked:
            self._answered = True
            self._measure_clock(pong.time)

    def _measure_clock(self, theirs: datetime) -> None:
        """How far the forwarder's clock is ahead, half a round trip after it was read."""
        trip_s = self._monotonic() - self._pinged
        half_trip = timedelta(seconds=trip_s / 2)
        self.clock_offset_s = (theirs - self._now() + half_trip).total_seconds()
        self._told_time(theirs + half_trip, trip_s)

    def _send(self, frames: list[bytes]) -> None:
        if self._socket is not None:
            try:
                self._socket.send_multipart(frames, zmq.DONTWAIT)
            except zmq.Again:
                self._fail("not_reading")

    def _wait(self, moment: float) -> float:
        if self._session is None:
            return max(0.0, self._deadline - moment) if self._forwarders else IDLE_S
        due = self._pinged + self._heartbeat_s
        if (held := self._session.next_due) is not None:
            due = min(due, held)
        return max(0.0, due - moment)
