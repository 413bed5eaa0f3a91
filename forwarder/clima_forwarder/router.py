"""The forwarder's end of the wire: one ROUTER socket, CURVE, and a ZAP authenticator.

No byte from outside is trusted. The handshake lets in only keys of the key directory, and each
message is checked against it again, because ZAP does not hear of a revocation afterwards. Who a
message is from is its `User-Id`, which libzmq sets from the handshake; never a routing id, which
a peer can choose. What is undelivered is bounded: beyond that a batch is sent back for later.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Any

import structlog
import zmq
from zmq.auth.asyncio import AsyncioAuthenticator

from clima_core import wire
from clima_core.errors import ProtocolError, UnavailableError
from clima_core.identity import Lane
from clima_core.keys import KeyPair, fingerprint
from clima_core.ranges import Ranges
from clima_forwarder import intake
from clima_forwarder.delivery import Delivered, Delivery
from clima_forwarder.feed import Feed
from clima_forwarder.health import Health
from clima_forwarder.metrics import Metrics
from clima_forwarder.outputs.base import Output
from clima_forwarder.readable import Readable
from clima_forwarder.reports import Reports
from clima_forwarder.sessions import Session, Sessions
from clima_forwarder.stations import Stations

log = structlog.get_logger("clima_forwarder.router")

MOST_BYTES_IN_DELIVERY = 24 * 1024 * 1024
CREDIT = 4  # batches that a station may have in flight when there is room
RETRY_BUSY_S, RETRY_AHEAD_S, RETRY_MALFORMED_S, RETRY_STORE_S = 2.0, 30.0, 60.0, 5.0
JOURNALS_ASKED = 20  # of one HELLO; a station has one, and one more for each mishap
HIGH_WATER_MARK = 100  # messages of one peer that libzmq keeps for us
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
        self._stations = stations
        self._output = output
        self._delivery = Delivery(output, health)
        self._feed = feed
        self._health = health
        self._metrics = metrics
        self._heartbeat_s = heartbeat_s
        self._unpacker = wire.Unpacker()
        self._reports = Reports(output)
        self._tasks: set[asyncio.Task[None]] = set()
        self._bytes = 0
        self._batches = 0
        self._refused_keys: set[str] = set()
        self.sessions = Sessions()
        self._authenticator = AsyncioAuthenticator(context)
        self._authenticator.start()
        self._authenticator.configure_curve_callback(wire.ZAP_DOMAIN, credentials_provider=self)
        try:
            self._socket = _bound(context, address, keys)
        except zmq.ZMQError as error:
            self._authenticator.stop()
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
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=patience_s)
        for task in self._tasks:
            task.cancel()
        await self._reports.flush(everything=True)
        self._authenticator.stop()
        self._socket.close(linger=500)

    def callback(self, domain: str, key: bytes) -> bool:  # noqa: ARG002 - pyzmq calls it so
        """The ZAP authenticator asks whether a key may shake hands."""
        public = key.decode()
        admitted = self._stations.station_of(public) is not None
        if not admitted and public not in self._refused_keys:
            self._refused_keys.add(public)
            log.warning("key_refused", public_key=public, fingerprint=fingerprint(public))
        return admitted

    def resend(self, station: str, lane: Lane, ranges: Ranges) -> bool:
        """Have a station send records again; False when it is not connected."""
        if (session := self.sessions.of_station(station)) is None:
            return False
        message = wire.Resend(lane.journal, lane.stream, wire.pairs(ranges))
        self._answer(session.routing_id, message)
        return True

    # -- receiving -------------------------------------------------------------------------

    def _received(self, frames: list[zmq.Frame]) -> None:
        key = str(frames[-1].get("User-Id"))
        station = self._stations.station_of(key)
        if station is None:
            self._metrics.messages_refused.labels("revoked").inc()
            if key not in self._refused_keys:
                self._refused_keys.add(key)
                log.warning("station_put_out", public_key=key, fingerprint=fingerprint(key))
            self.sessions.drop_key(key)
            return
        self._refused_keys.discard(key)
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
            self._spawn(self._open(key, station, routing_id, message))
            return
        session = self.sessions.get(key, routing_id)
        if session is None or session.station != station:
            self._answer(routing_id, wire.Restart())
            return
        session.heard = time.monotonic()
        self._watch_for_twin(session)
        match message:
            case wire.Batch():
                self._take_batch(session, message, payload)
            case wire.Live():
                if self._feed.publish(station, payload):
                    self._metrics.live.inc()
            case wire.Ping():
                self._reports.put(station, message.lanes)
                self._answer(routing_id, wire.Pong(datetime.now(UTC), self._credit()))

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

    async def _open(self, key: str, station: str, routing_id: bytes, hello: wire.Hello) -> None:
        """Answer a HELLO: WELCOME, or the reason why not."""
        if wire.VERSION not in hello.versions:
            self._refuse(routing_id, "version", f"this forwarder speaks version {wire.VERSION}")
            return
        if hello.station != station:
            text = f'this key is that of "{station}", not of "{hello.station}"'
            self._refuse(routing_id, "wrong_station", text)
            return
        # Whatever earlier sessions of the station have under way is an attempt of which this
        # one must see the result, so it opens when they are through.
        earlier = [task for each in self.sessions.of_key(key) for task in each.deliveries]
        if earlier:
            await asyncio.wait(earlier)
        opened = time.monotonic()
        try:
            seen = await self._seen(station, hello)
        except UnavailableError as error:
            self._health.store_failed(str(error))
            self._refuse(routing_id, "store_unavailable", str(error), RETRY_STORE_S)
            return
        began = {report.lane: report.last for report in hello.lanes}
        session = Session(key, routing_id, station, began, opened, heard=time.monotonic())
        self.sessions.add(session)
        self._reports.put(station, hello.lanes)
        log.info("session_opened", station=station, software=hello.software)
        welcome = wire.Welcome(
            version=wire.VERSION,
            time=datetime.now(UTC),
            credit=self._credit(),
            heartbeat_s=self._heartbeat_s,
            max_records=wire.MAX_BATCH_RECORDS,
            max_bytes=wire.MAX_BATCH_BYTES,
            seen=seen,
        )
        self._answer(routing_id, welcome)

    async def _seen(self, station: str, hello: wire.Hello) -> list[wire.Seen]:
        journals = list(dict.fromkeys(report.journal for report in hello.lanes))
        return [
            wire.Seen(journal, stream, highest)
            for journal in journals[:JOURNALS_ASKED]
            for stream, highest in (await self._output.highest(station, journal)).items()
        ]

    def _refuse(self, routing_id: bytes, code: str, text: str, retry_after_s: float = 60.0) -> None:
        log.warning("hello_refused", code=code, reason=text)
        self._answer(routing_id, wire.Refusal(code, text[:500], retry_after_s))

    # -- batches ---------------------------------------------------------------------------

    def _take_batch(self, session: Session, header: wire.Batch, payload: bytes) -> None:
        everything = Ranges([(header.first, header.last)])
        if self._bytes + header.size > MOST_BYTES_IN_DELIVERY:
            self._nack(session, header, everything, "busy", "too much in hand", RETRY_BUSY_S)
            return
        try:
            bodies = self._unpacker.unpack(header, payload)
        except ProtocolError as error:
            self._refuse_message(session.station, error)
            text = str(error)
            self._nack(session, header, everything, "malformed", text, RETRY_MALFORMED_S)
            return
        self._bytes += header.size
        self._batches += 1
        self._metrics.in_delivery.set(self._batches)
        task = self._spawn(self._deliver(session, header, bodies))
        session.deliveries.add(task)
        task.add_done_callback(session.deliveries.discard)

    async def _deliver(self, session: Session, header: wire.Batch, bodies: list[bytes]) -> None:
        now = datetime.now(UTC)
        try:
            sorted_ = intake.sort(session.station, header, bodies, now)
            if sorted_.ahead:
                text = f"@timestamp up to {sorted_.furthest:%FT%TZ}, but here it is {now:%FT%TZ}"
                ahead = Ranges.of(sorted_.ahead)
                self._nack(session, header, ahead, "clock_ahead", text, RETRY_AHEAD_S)
                self._metrics.records.labels("ahead").inc(len(ahead))
            done = await self._delivery.deliver(
                session, header.lane, sorted_.documents, sorted_.letters
            )
        finally:
            self._bytes -= header.size
            self._batches -= 1
            self._metrics.in_delivery.set(self._batches)
        self._delivered(session, header, done)

    def _delivered(self, session: Session, header: wire.Batch, done: Delivered) -> None:
        for letter in done.dead:
            one = Ranges.of([letter.sequence])
            log.error("dead_letter", id=letter.id, code=letter.reason, reason=letter.message)
            self._nack(session, header, one, letter.reason, letter.message, action="dead_letter")
        if done.conflict:
            text = "the store has another record under this identity"
            self._nack(session, header, done.conflict, "conflict", text, action="conflict")
            log.error("identity_conflict", station=session.station, sequences=str(done.conflict))
        settled = done.stored | Ranges.of(letter.sequence for letter in done.dead)
        for start in range(0, len(settled.pairs), wire.MAX_PAIRS):
            part = list(settled.pairs[start : start + wire.MAX_PAIRS])
            ack = wire.Ack(header.journal, header.stream, part, self._credit())
            self._answer(session.routing_id, ack)
        count = self._metrics.records.labels
        count("stored").inc(len(done.stored))
        count("dead_letter").inc(len(done.dead))
        count("conflict").inc(len(done.conflict))

    def _nack(
        self,
        session: Session,
        header: wire.Batch,
        ranges: Ranges,
        code: str,
        text: str,
        retry_after_s: float = 0.0,
        *,
        action: Any = "retry",
    ) -> None:
        nack = wire.Nack(
            journal=header.journal,
            stream=header.stream,
            ranges=wire.pairs(ranges),
            action=action,
            code=code,
            message=text[:500],
            credit=self._credit(),
            time=datetime.now(UTC),
            retry_after_s=retry_after_s,
        )
        self._answer(session.routing_id, nack)

    # -- credit, answers, housekeeping -----------------------------------------------------

    def _credit(self) -> int:
        """Batches that a station may have in flight: none while the store takes nothing."""
        if not self._health.store_works:
            return 0
        return max(1, CREDIT - CREDIT * self._bytes // MOST_BYTES_IN_DELIVERY)

    def _tell_credit(self) -> None:
        """Tell every station at once when the store begins or ceases to work."""
        pong = wire.Pong(datetime.now(UTC), self._credit())
        for session in self.sessions:
            self._answer(session.routing_id, pong)

    def _answer(self, routing_id: bytes, message: wire.FromForwarder) -> None:
        """Send without waiting; who does not read, or is gone, asks again."""
        try:
            self._socket.send_multipart([routing_id, *wire.encode(message)], zmq.DONTWAIT)
            self._readable.poke()
        except zmq.Again:
            self._metrics.messages_refused.labels("peer_not_reading").inc()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("task_failed", exc_info=error)

    async def _keep_house(self) -> None:
        while True:
            await asyncio.sleep(self._heartbeat_s)
            self.sessions.expire(time.monotonic() - LIVE_HEARTBEATS * self._heartbeat_s)
            self._metrics.sessions.set(len(self.sessions))
            await self._reports.flush()


def _bound(
    context: zmq.Context[zmq.Socket[bytes]], address: str, keys: KeyPair
) -> zmq.Socket[bytes]:
    socket = context.socket(zmq.ROUTER)
    socket.linger = 0
    socket.ipv6 = "[" in address or "*" in address
    socket.maxmsgsize = wire.MAX_FRAME_BYTES
    socket.rcvhwm = socket.sndhwm = HIGH_WATER_MARK
    socket.tcp_keepalive = 1
    socket.zap_domain = wire.ZAP_DOMAIN.encode()
    socket.curve_server = True
    socket.curve_secretkey = keys.secret.reveal().encode()
    try:
        socket.bind(address)
    except zmq.ZMQError:
        socket.close()
        raise
    return socket
