"""A station written from docs/protocol.md alone: nothing of Clima's is imported here."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

import zmq
import zmq.asyncio
import zstandard

JOURNAL = "00c0ffee0000"
TIMEOUT_S = 60.0


def record(station: str, sequence: int, **fields: Any) -> bytes:
    """The least that is a record, and `fields`."""
    body = {
        "@timestamp": "2026-06-01T12:00:00.000Z",
        "data_stream": {"type": "metrics", "dataset": "clima.weather", "namespace": "default"},
        "event": {"id": f"{station}:{JOURNAL}:w:{sequence}", "sequence": sequence},
        "station": {"id": station, "journal": JOURNAL},
        "weather": {"air_temperature": 20.5},
        **fields,
    }
    return json.dumps(body).encode()


class Stranger:
    """One connection; use it in `async with`."""

    def __init__(self, address: str, server: str, public: str, secret: str, station: str) -> None:
        self._station = station
        self._context = zmq.asyncio.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.linger = 0
        self._socket.curve_serverkey = server.encode()
        self._socket.curve_publickey, self._socket.curve_secretkey = (
            public.encode(),
            secret.encode(),
        )
        self._socket.connect(address)

    async def __aenter__(self) -> Stranger:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._socket.close()
        self._context.term()

    async def say(self, header: dict[str, Any], *payload: bytes) -> None:
        await self._socket.send_multipart([b"CLIMA1", json.dumps(header).encode(), *payload])

    async def hear(self) -> dict[str, Any]:
        """The next message that is no PONG nobody asked for."""
        while True:
            frames = await asyncio.wait_for(self._socket.recv_multipart(), TIMEOUT_S)
            name, text = frames
            assert b"CLIMA1" == name
            header: dict[str, Any] = json.loads(text)
            if header["type"] != "pong" or header["asked"]:
                return header

    async def open(self, last: int = 0) -> dict[str, Any]:
        """HELLO, and its answer."""
        lane = {"journal": JOURNAL, "stream": "w", "first": 1, "last": last}
        lane |= {"since": "2026-01-01T00:00:00Z", "waiting": [], "dropped": []}
        hello = {"type": "hello", "versions": [1], "software": "stranger 1", "lanes": [lane]}
        now = datetime.now(UTC).isoformat()
        await self.say({**hello, "station": self._station, "time": now})
        return await self.hear()

    async def batch(self, first: int, bodies: Sequence[bytes]) -> None:
        text = b"\n".join(bodies)
        header = {"type": "batch", "journal": JOURNAL, "stream": "w", "first": first}
        header |= {"count": len(bodies), "size": len(text)}
        await self.say(header, zstandard.ZstdCompressor().compress(text))
