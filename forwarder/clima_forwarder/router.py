"""The forwarder's end of the wire: one ROUTER socket that hears all stations and answers each.

No byte from outside is trusted. Each message is from the station whose key its connection proved
(see `admission.py`), and an answer goes back on the connection that asked. All that a peer can
make grow here is bounded, for itself and for all.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Coroutine
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import structlog
import zmq

from clima_core import wire
from clima_core.errors import ClimaError, ProtocolError, UnavailableError
from clima_core.identity import STREAMS, Lane
from clima_core.keys import KeyPair
from clima_core.ranges import Ranges
from clima_forwarder.admission import Admission, bound_socket
from clima_forwarder.batches import RETRY_BUSY_S, RETRY_STORE_S, Batches
from clima_forwarder.feed import Feed
from clima_forwarder.health import Health
from clima_forwarder.metrics import Metrics
from clima_forwarder.outputs.base import Highest, Output
from clima_forwarder.readable import Readable
from clima_forwarder.reports import Reports
from clima_forwarder.sessions import SESSIONS_PER_KEY, Session, Sessions
from clima_forwarder.stations import Stations

log = structlog.get_logger("clima_forwarder.router")

JOURNALS_ASKED = 20  # of one HELLO; a station has one, and one more for each mishap
LIVE_HEARTBEATS = 3


class Router:
    """Receives from all stations and answers each; one per forwarder."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        address: str,
        keys: KeyPair,
        *,
        stations: Stations,
        output: Output,
        feed: Feed,
        health: Health,
        metrics: Metrics,
        heartbeat_s: float,
    ) -> None:
        """Bind the socket; `UnavailableError` when the port is taken. Needs a running loop."""
        self._output = output
        self._feed = feed
        self._health = health
        self._metrics = metrics
        self._heartbeat_s = heartbeat_s
        self._reports = Reports(output)
        self._tasks: set[asyncio.Task[None]] = set()
        self._batches = Batches(output, health, metrics, self._answer)
        self._opening: Counter[str] = Counter()
        self.sessions = Sessions()
        self._admission = Admission(context, stations)
        try:
            self._socket = bound_socket(context, address, keys)
        except zmq.ZMQError as error:
            self._admission.close()
            raise UnavailableError(f"listen {address}: {error.strerror}") from error
        self._readable = Readable(self._socket, self._received)
        self._housekeeping = asyncio.create_task(self._keep_house())
        health.on_change(self._tell_credit)

    @property
    def address(self) -> str:
        """Where it is bound, with the port that the system chose for port 0."""
        return str(self._socket.getsockopt_string(zmq.LAST_ENDPOINT))

    async def close(self, patience_s: float = 5.0) -> None:
        """Let deliveries finish for a while, then let go; what is left is not acknowledged."""
        self._readable.close()
        self._housekeeping.cancel()
        for task in self._tasks:
            task.cancel()
        await self._batches.close(patience_s)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._write_reports(everything=True), patience_s)
        self._admission.close()
        self._socket.close(linger=500)

    def resend(self, station: str, lane: Lane, ranges: Ranges) -> bool:
        """Have a station send records again; False when it is not connected."""
        session = self.sessions.of_station(station)
        if session is None or self._admission.station_of(session.key) != station:
            return False
        message = wire.Resend(lane.journal, lane.stream, wire.pairs(ranges))
        self._answer(session.routing_id, message)
        return True

    # -- receiving -------------------------------------------------------------------------

    def _received(self, frames: list[zmq.Frame]) -> None:
        key = str(frames[-1].get("User-Id"))
        station = self._admission.speaker(key)
        if station is None:
            self._metrics.messages_refused.labels("revoked").inc()
            self.sessions.drop_key(key)
            return
        try:
            if len(frames) > wire.MAX_FRAMES + 1:
                raise ProtocolError(f"{len(frames) - 1} frames; a message has two or three")
            message, payload = wire.decode_from_agent([frame.bytes for frame in frames[1:]])
        except ProtocolError as error:
            self._refuse_message(station, error)
            return
        self._dispatch(key, station, frames[0].bytes, message, payload)

    def _dispatch(
        self, key: str, station: str, routing_id: bytes, message: wire.FromAgent, payload: bytes
    ) -> None:
        if isinstance(message, wire.Hello):
            self._spawn(self._greeted(key, station, routing_id, message))
            return
        session = self.sessions.get(key, routing_id)
        if session is None or session.station != station:
            self._answer(routing_id, wire.Restart())
            return
        session.heard = time.monotonic()
        self._watch_for_twin(session)
        match message:
            case wire.Batch():
                self._batches.take(session, message, payload)
            case wire.Live():
                if self._feed.publish(station, payload):
                    self._metrics.live.inc()
            case wire.Ping():
                self._reports.put(station, message.lanes)
                pong = wire.Pong(datetime.now(UTC), self._batches.credit, asked=message.time)
                self._answer(routing_id, pong)

    def _refuse_message(self, station: str, error: ProtocolError) -> None:
        self._metrics.messages_refused.labels("protocol").inc()
        log.warning("message_refused", station=station, reason=str(error))

    def _watch_for_twin(self, session: Session) -> None:
        if not session.alarmed and self.sessions.has_live_twin(session):
            session.alarmed = True
            self._metrics.clones.inc()
            log.error(
                "station_cloned",
                station=session.station,
                mend="two devices use one key: give one a key of its own, or revoke it",
            )

    # -- sessions --------------------------------------------------------------------------

    async def _greeted(self, key: str, station: str, routing_id: bytes, hello: wire.Hello) -> None:
        """Bound the HELLOs that wait for the store: each holds what it reports."""
        if self._opening[key] >= SESSIONS_PER_KEY:
            self._refuse(routing_id, "busy", "too many HELLOs at once", RETRY_BUSY_S)
            return
        self._opening[key] += 1
        try:
            await self._open(key, station, routing_id, hello)
        finally:
            self._opening -= Counter([key])  # which drops those at zero

    async def _open(self, key: str, station: str, routing_id: bytes, hello: wire.Hello) -> None:
        """Answer a HELLO: WELCOME, or the reason why not."""
        if wire.VERSION not in hello.versions:
            self._refuse(routing_id, "version", f"this forwarder speaks version {wire.VERSION}")
            return
        if hello.station != station:
            text = f'this key is that of "{station}", not of "{hello.station}"'
            self._refuse(routing_id, "wrong_station", text)
            return
        try:
            seen = await self._seen(station, hello)
            self._store_answered()
        except ClimaError as error:
            self._health.store_failed(str(error))
            self._refuse(routing_id, "store_unavailable", str(error), RETRY_STORE_S)
            return
        if self._admission.station_of(key) != station:
            return  # put out meanwhile
        began = {report.lane: report.last for report in hello.lanes}
        attempts, now = self.sessions.attempts_of(station), time.monotonic()
        self.sessions.add(Session(key, routing_id, station, began, now, now, attempts))
        self._reports.put(station, hello.lanes)
        log.info("session_opened", station=station, software=hello.software)
        welcome = wire.Welcome(
            version=wire.VERSION,
            time=datetime.now(UTC),
            credit=self._batches.credit,
            heartbeat_s=self._heartbeat_s,
            max_records=wire.MAX_BATCH_RECORDS,
            max_bytes=wire.MAX_BATCH_BYTES,
            seen=seen,
        )
        self._answer(routing_id, welcome)

    async def _seen(self, station: str, hello: wire.Hello) -> list[wire.Seen]:
        """What was seen of the station's journals: stored, or still on its way to the store."""
        journals = list(dict.fromkeys(report.journal for report in hello.lanes))
        attempts = self.sessions.attempts_of(station)
        seen = []
        for journal in journals[:JOURNALS_ASKED]:
            known = await self._output.highest(station, journal)
            for stream in STREAMS:
                lane, highest = Lane(journal, stream), known.get(stream, Highest())
                if highest.reported:
                    self._reports.heard(station, lane, highest.reported)
                if last := max(highest.stored, attempts.highest(lane)):
                    seen.append(wire.Seen(journal, stream, last))
        return seen

    def _refuse(self, routing_id: bytes, code: str, text: str, retry_after_s: float = 60.0) -> None:
        log.warning("hello_refused", code=code, reason=text)
        self._answer(routing_id, wire.Refusal(code, text[:500], retry_after_s))

    # -- answers, housekeeping ---------------------------------------------------------------

    def _tell_credit(self) -> None:
        """Tell every station at once when the store begins or ceases to work."""
        pong = wire.Pong(datetime.now(UTC), self._batches.credit)
        for session in list(self.sessions):
            self._answer(session.routing_id, pong)

    def _answer(self, routing_id: bytes, message: wire.FromForwarder) -> None:
        """Send without waiting. Who does not read, or is gone, has to say HELLO again."""
        try:
            self._socket.send_multipart([routing_id, *wire.encode(message)], zmq.DONTWAIT)
        except zmq.ZMQError as error:
            if error.errno not in (zmq.EAGAIN, zmq.EHOSTUNREACH):
                raise
            self._metrics.answers_lost.inc()
            self.sessions.drop_connection(routing_id)
        self._readable.poke()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("task_failed", exc_info=error)

    def _store_answered(self) -> None:
        """It answers questions. Whether it takes records, those in hand know better."""
        if not self._batches.in_hand:
            self._health.store_worked()

    async def _probe(self) -> None:
        """Ask the store something while it fails: nobody sends anything, so nobody else does."""
        if self._health.store_is_open and not self._health.store_works:
            with suppress(ClimaError):
                await self._output.highest("nobody", "0" * 12)
                self._store_answered()

    async def _write_reports(self, *, everything: bool = False) -> None:
        """Not before the store is set up: it would make their index without its template."""
        if self._health.store_is_open:
            await self._reports.flush(everything=everything)

    async def _keep_house(self) -> None:
        while True:
            await asyncio.sleep(self._heartbeat_s)
            self.sessions.expire(time.monotonic() - LIVE_HEARTBEATS * self._heartbeat_s)
            self._metrics.sessions.set(len(self.sessions))
            try:
                await self._probe()
                await self._write_reports()
            except Exception:  # a fault of ours; the house is kept all the same
                log.exception("reports_failed")
