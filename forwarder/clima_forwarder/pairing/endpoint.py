"""Where stations ask to be let in: a TCP port of its own, open to anybody.

Nothing is encrypted and nobody is known here, so this is no ZeroMQ socket: ZMQ_MAXMSGSIZE bounds a
frame and not a message, and without CURVE anybody may send a message of frames without end (of 250
bytes each: 1 GB a second). What always holds:

- At most `MOST_CONNECTIONS` at once, each for `PATIENCE_S` at most, each with less than two lines
  in memory; and a new one every `PACE_S` at most: who comes faster waits in the system's queue, or
  is turned away there. So whatever comes in, it takes some 3 % of a core at most.
- It knows neither the store nor the other sockets; of the key directory it writes `pairing/` alone.
  A fault here ends one connection, and a port that cannot be had is no reason not to take readings.
- What it says is what anybody may know. In particular it does not say which stations there are.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import structlog

from clima_core import pairing
from clima_core.errors import ProtocolError
from clima_core.pairing import MAX_LINE_BYTES, ForwarderSide, FromForwarder, FromStation
from clima_forwarder.pairing.requests import NoRoomError, Pending, Requests

log = structlog.get_logger("clima_forwarder.pairing")

MOST_CONNECTIONS = 32
PATIENCE_S = 5.0
PACE_S = 0.05
QUEUE = 16  # connections that the system keeps for us
AFTER_FAILURE_S = 1.0
SAY_AGAIN_S = 60.0


class Endpoint:
    """Answers stations; one per forwarder. Needs a running loop."""

    def __init__(
        self,
        requests: Requests,
        public_key: bytes,
        stations_port: int,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`stations_port` is where those that are let in connect to."""
        self._requests = requests
        self._public_key = public_key
        self._port = stations_port
        self._now = now
        self._socket: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._serving: set[asyncio.Task[None]] = set()
        self._room = asyncio.Semaphore(MOST_CONNECTIONS)
        self._said: dict[str, float] = {}

    @property
    def address(self) -> str:
        """Where it is bound; empty where it is not."""
        if self._socket is None:
            return ""
        host, port, *_ = self._socket.getsockname()
        return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"

    def open(self, address: str) -> None:
        """Listen; where that fails it is said, and everything else goes on."""
        try:
            self._socket = _listening(address)
        except (OSError, ValueError) as error:
            log.error(
                "pairing_not_open",
                listen=address,
                reason=str(error),
                mend="give [pairing] another `listen`, or `enabled = false`",
            )
            return
        self._accepting = asyncio.create_task(self._accept(self._socket))

    async def close(self) -> None:
        """Let go of the port and of everybody."""
        tasks = [task for task in (self._accepting, *self._serving) if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._socket is not None:
            self._socket.close()

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._room.acquire()
            try:
                connection, peer = await loop.sock_accept(listening)
            except OSError as error:  # too many open files: nobody else shall suffer from it
                self._room.release()
                self._say("pairing_failed", reason=str(error))
                await asyncio.sleep(AFTER_FAILURE_S)
                continue
            task = asyncio.create_task(self._serve(connection, str(peer[0])))
            self._serving.add(task)
            task.add_done_callback(self._served)
            await asyncio.sleep(PACE_S)

    def _served(self, task: asyncio.Task[None]) -> None:
        self._serving.discard(task)
        self._room.release()

    async def _serve(self, connection: socket.socket, address: str) -> None:
        """One connection, from its first line to its end."""
        with connection:
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await self._talk(Lines(connection), address.removeprefix("::ffff:"))
            except (ProtocolError, NoRoomError, OSError) as error:  # a time-out is an OSError
                self._say("pairing_refused", address=address, reason=str(error) or "silent")
            except Exception:  # noqa: BLE001 - a fault of ours: said, and the next one is another
                self._say("pairing_failed", exc_info=True)

    async def _talk(self, lines: Lines, address: str) -> None:
        try:
            message = await lines.read()
            if isinstance(message, pairing.Request):
                await self._pair(lines, message, address)
            elif not isinstance(message, pairing.Nonce):
                await lines.write(self._state(message))
            else:
                raise ProtocolError("a nonce that nobody has asked for")
        except ProtocolError:
            await lines.write(pairing.Refusal("protocol"))
            raise
        except NoRoomError as error:
            await lines.write(pairing.Refusal(error.code))
            raise

    async def _pair(self, lines: Lines, request: pairing.Request, address: str) -> None:
        """Offer, nonce, reveal; the attempt is on disk, and counts, before our nonce is told."""
        if request.version != pairing.VERSION:
            await lines.write(pairing.Refusal("version"))
            return
        self._requests.check_room(request.station)
        side = ForwarderSide(request, self._public_key, self._port)
        await lines.write(side.offer)
        nonce = await lines.read()
        if not isinstance(nonce, pairing.Nonce):
            raise ProtocolError("expected a nonce")
        reveal, digits = side.heard(nonce)
        pending = Pending(
            reveal.attempt,
            request.station,
            request.board,
            request.public_key,
            address,
            self._now(),
            digits,
        )
        self._requests.add(pending)
        log.info(
            "station_asks",
            station=pending.station,
            address=address,
            fingerprint=pending.fingerprint,
            mend="if it is yours: clima stations add",
        )
        await lines.write(reveal)

    def _state(self, message: pairing.Confirm | pairing.Withdraw) -> pairing.State:
        """What has become of an attempt, once what the station says of it is noted."""
        attempt = message.attempt
        if self._requests.find(attempt) is None:
            return pairing.State("gone")
        confirms = isinstance(message, pairing.Confirm)
        self._requests.mark(attempt, "confirmed" if confirms else "withdrawn")
        if self._requests.has(attempt, "accepted"):
            return pairing.State("accepted")
        over = self._requests.has(attempt, "refused") or self._requests.has(attempt, "withdrawn")
        return pairing.State("refused" if over else "waiting")

    def _say(self, event: str, **fields: object) -> None:
        """Once a minute at most: who comes again and again shall not fill the log."""
        now = time.monotonic()
        if now - self._said.get(event, -SAY_AGAIN_S) >= SAY_AGAIN_S:
            self._said[event] = now
            log.warning(event, **fields)


class Lines:
    """The lines of one connection; no more than one of them is ever in memory."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._loop = asyncio.get_running_loop()

    async def read(self) -> FromStation:
        """The next one; `ProtocolError` when it is too long, cut short, or not a message.

        A station waits for the answer to each line, so what follows a line's end is none of its.
        """
        line = b""
        while not line.endswith(b"\n"):
            more = await self._loop.sock_recv(self._connection, MAX_LINE_BYTES + 1 - len(line))
            line += more
            if not more or len(line) > MAX_LINE_BYTES:
                raise ProtocolError("a line without end" if more else "closed before a line's end")
        return pairing.decode_from_station(line)

    async def write(self, message: FromForwarder) -> None:
        """Send a line."""
        await self._loop.sock_sendall(self._connection, pairing.encode(message))


def _listening(address: str) -> socket.socket:
    """A socket at `tcp://HOST:PORT`, for both kinds of address where HOST is `*`."""
    url = urlsplit(address)
    host, port = url.hostname or "", url.port or 0
    if host == "*":
        both = socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if both else socket.AF_INET
        made = socket.create_server(("", port), family=family, backlog=QUEUE, dualstack_ipv6=both)
    else:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        made = socket.create_server((host, port), family=family, backlog=QUEUE)
    made.setblocking(False)
    return made
