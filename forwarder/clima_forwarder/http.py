"""What the forwarder says of itself over HTTP, and the one thing that may be asked of it.

`/healthz`: the process runs. `/readyz`: it can do its work, or why not. `/metrics`: Prometheus.
`POST /repair`: have a station send records again; that can double nothing, since whatever is sent
again is looked for first.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from aiohttp import web
from prometheus_client import generate_latest

from clima_core.errors import UnavailableError
from clima_core.identity import Lane, Stream
from clima_core.ranges import Ranges
from clima_core.wire import JournalName, Pairs
from clima_forwarder.health import Health
from clima_forwarder.metrics import Metrics
from clima_forwarder.router import Router


class Repair(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which records of which lane the store lacks."""

    station: Annotated[str, msgspec.Meta(max_length=63)]
    journal: JournalName
    stream: Stream
    ranges: Pairs


class Http:
    """The HTTP server of one forwarder."""

    def __init__(self, router: Router, health: Health, metrics: Metrics) -> None:
        self._router = router
        self._health = health
        self._metrics = metrics
        app = web.Application(client_max_size=64 * 1024)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._prometheus)
        app.router.add_post("/repair", self._repair)
        self._runner = web.AppRunner(app, access_log=None)

    async def open(self, host: str, port: int) -> str:
        """Listen; returns the URL. `UnavailableError` when the port is taken."""
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError as error:
            raise UnavailableError(
                f"http {host}:{port}: {error.strerror}; is another forwarder running?"
            ) from error
        bound = self._runner.addresses[0]
        return f"http://{bound[0]}:{bound[1]}"

    async def close(self) -> None:
        await self._runner.cleanup()

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, _: web.Request) -> web.Response:
        problems = dict(self._health.problems)
        return web.json_response(
            {"ready": not problems, "problems": problems}, status=503 if problems else 200
        )

    async def _prometheus(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._metrics.registry), content_type="text/plain")

    async def _repair(self, request: web.Request) -> web.Response:
        try:
            repair = msgspec.json.decode(await request.read(), type=Repair)
        except msgspec.MsgspecError as error:
            return web.json_response({"error": str(error)}, status=400)
        lane = Lane(repair.journal, repair.stream)
        if not self._router.resend(repair.station, lane, Ranges(repair.ranges)):
            text = f"{repair.station} is not connected; try again when it is"
            return web.json_response({"error": text}, status=404)
        return web.json_response({"asked": repair.station}, status=202)
