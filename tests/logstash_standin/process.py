"""The process: what comes in, what goes out, and what goes wrong."""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import signal
import sys
import time
from base64 import b64encode
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from aiohttp import web

from tests.logstash_standin.events import (
    FIELDS,
    REFUSALS,
    WHOLE_SECONDS,
    action,
    event_of,
    identity_of,
    letter_of,
    lines_of,
    only,
)
from tests.logstash_standin.pipeline import Bulk, Item, Pipeline
from tests.logstash_standin.queue import BATCH, Queue
from tests.logstash_standin.trouble import Counts, Trouble

WORKERS = 2
MOST_WAITING = 2  # requests that a full queue keeps waiting; more are answered 429
DEAD_LETTERS = "logs-clima.deadletter-default"
LOGS = "logs-clima.forwarder-default"
OF_LOGS = {"data_stream": {"type": "logs", "dataset": "clima.forwarder", "namespace": "default"}}
BLAMELESS = {"index_closed_exception", "validation_exception"}  # 400s that no document caused


class Logstash:
    """The process: what comes in, what goes out, and what goes wrong."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.trouble = Trouble()
        self.counts = Counts()
        self.flowing = asyncio.Event()
        self.flowing.set()
        self._calm = asyncio.Event()  # set again whenever the troubles change
        self._waiting = 0
        self._ids: set[int] = set()
        self.life = secrets.token_hex(8)
        self._started = time.monotonic()
        self._options = options
        folder = options.queue
        self.readings = Pipeline("readings", Queue(folder / "readings"), self._reading, self)
        self.logs = Pipeline("logs", Queue(folder / "logs"), self._log, self)
        self.deadletters = Pipeline("deadletters", Queue(folder / "letters"), self._letter, self)
        self._refused = Queue(folder / "refused")
        self._authorization = basic(options.username, options.password_file)
        name, password = options.elasticsearch_username, options.elasticsearch_password_file
        authorization = {"authorization": basic(name, password)} if name else {}
        self._session = aiohttp.ClientSession(
            headers={"content-type": "application/x-ndjson", **authorization},
            timeout=aiohttp.ClientTimeout(60),
        )

    @property
    def pipelines(self) -> tuple[Pipeline, ...]:
        return self.readings, self.logs, self.deadletters

    async def run(self) -> None:
        """Listen, say where as a line of JSON, and go on for ever."""
        addresses = {}
        ports = {
            "url": (self._options.listen, self._post(self.readings)),
            "logs_url": (self._options.logs, self._post(self.logs)),
        }
        for name, (address, handler) in ports.items():
            app = web.Application(client_max_size=100 * 2**20)
            app.router.add_route("*", "/{path:.*}", handler)
            addresses[name] = await _listen(app, address)
        app = web.Application()
        app.router.add_route("*", "/_node/stats/pipelines", self._statistics)
        app.router.add_get("/_counts", self._say_counts)
        app.router.add_post("/_trouble", self._set_trouble)
        app.router.add_post("/_lose_queue", self._lose_queue)
        app.router.add_post("/_die", self._die)
        addresses["statistics_url"] = await _listen(app, self._options.statistics)
        sys.stdout.write(msgspec.json.encode(addresses).decode() + "\n")
        sys.stdout.flush()
        workers = [each.work() for each in self.pipelines for _ in range(WORKERS)]
        async with self._session:
            await asyncio.gather(*workers, self._return_refused(), self._count())

    # -- what comes in ---------------------------------------------------------------------------

    def _post(self, pipeline: Pipeline) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handler(request: web.Request) -> web.StreamResponse:
            body = await request.read()
            if request.headers.get("authorization") != self._authorization:
                challenge = {"www-authenticate": 'Basic realm="Restricted"'}
                return web.Response(status=401, headers=challenge)
            lines = lines_of(body)
            if pipeline is self.readings:
                self.counts.posts += 1
                return await self._accept(request, lines)
            return await self._trouble_first(request) or _taken(pipeline, lines)

        return handler

    async def _accept(self, request: web.Request, lines: list[bytes]) -> web.StreamResponse:
        if (answer := await self._trouble_first(request)) is not None:
            return answer
        for identity in filter(None, map(identity_of, lines)):
            self.counts.repeated += hash(identity) in self._ids
            self._ids.add(hash(identity))
        self.counts.accepted += len(lines)
        answer = _taken(self.readings, lines)
        if self.trouble.lose_answer:
            self.counts.troubled += 1
            _break_off(request)
        return answer

    async def _trouble_first(self, request: web.Request) -> web.Response | None:
        """What is answered instead of queueing anything; None: go on and queue it."""
        trouble = self.trouble
        if not (trouble.status or trouble.hang or trouble.full):
            return None
        if trouble.posts > 0:
            trouble.posts -= 1
            return None
        self.counts.troubled += 1
        if trouble.status:
            return web.Response(status=trouble.status)
        if trouble.full and self._waiting >= MOST_WAITING:
            return web.Response(status=429)
        self._waiting += 1
        await self._until_calm()  # who asked may be gone by then: it is queued all the same
        self._waiting -= 1
        if trouble.hang:
            _break_off(request)
            return web.Response(status=503)
        return None

    async def _until_calm(self) -> None:
        while self.trouble.hang or self.trouble.full:
            self._calm.clear()
            await self._calm.wait()

    # -- what goes out ---------------------------------------------------------------------------

    def _reading(self, line: bytes) -> tuple[bytes, bytes] | None:
        """What readings.conf makes of a line: action and document."""
        event = event_of(line)
        refusal = event.refusal if event else "invalid_json"
        if event is None or refusal:
            self.readings.refused += 1
            self.deadletters.push([letter_of(line, event, refusal, REFUSALS[refusal])])
            return None
        if self.trouble.drop > 0:
            self.trouble.drop -= 1
            self.counts.dropped += 1
            return None
        written = only(line, FIELDS)
        return action(event.index, str(event.id)), WHOLE_SECONDS.sub(rb"\1Z", written, count=1)

    def _log(self, line: bytes) -> tuple[bytes, bytes]:
        """What logs.conf makes of a line."""
        fields = msgspec.json.decode(line)
        return action(LOGS, identity_of(line)), msgspec.json.encode({**fields, **OF_LOGS})

    def _letter(self, line: bytes) -> tuple[bytes, bytes]:
        """What deadletters.conf makes of a letter."""
        return action(DEAD_LETTERS, identity_of(line)), line

    async def bulk(self, lines: list[tuple[bytes, bytes]]) -> list[Item] | None:
        """What Elasticsearch says to each line, or None where it says nothing of use."""
        body = b"".join(b"%b\n%b\n" % line for line in lines)
        url = f"{self._options.elasticsearch}/_bulk"
        try:
            async with self._session.post(url, data=body) as answer:
                text = await answer.read()
                if answer.status != 200:
                    return None
        except (aiohttp.ClientError, OSError):
            return None
        items = msgspec.json.decode(text, type=Bulk).items
        return [item for each in items for item in each.values()]

    def refused(self, document: bytes, item: Item) -> None:
        """Into the dead letter queue, but what no document is to blame for."""
        error, event = item.error or Item.Error("unknown"), event_of(document)
        if event and event.stream and item.status == 400 and error.type not in BLAMELESS:
            text = f"{error.type}: {error.reason}"
            letter = letter_of(document, event, "refused_by_store", text)
            due = time.time() + self._options.dead_letters_s
            self._refused.push([b"%f %b" % (due, letter)])

    async def _return_refused(self) -> None:
        """What the dead letter queue gives back to the pipeline `deadletters`, after a while."""
        while True:
            await self._refused.some()
            lines, mark = self._refused.take()
            for line in lines:
                due, letter = line.split(b" ", 1)
                await asyncio.sleep(float(due) - time.time())
                self.deadletters.push([letter])
            self._refused.done(mark)

    # -- statistics and troubles -----------------------------------------------------------------

    async def _count(self) -> None:
        while True:
            await asyncio.sleep(self._options.statistics_s)
            for each in self.pipelines:
                each.count()

    def _pipelines(self) -> dict[str, Any]:
        """By name; what is known of them so soon after the start."""
        age = (time.monotonic() - self._started) / self._options.statistics_s
        if age < 0.1:
            return {}
        if age < 0.2:
            return {each.name: {"events": None, "queue": None} for each in self.pipelines}
        return {each.name: each.statistics() for each in self.pipelines}

    async def _statistics(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("authorization") != self._authorization:
            return web.Response(status=401)
        if self.trouble.mute:
            _break_off(request)
        return web.json_response(
            {
                "host": "stand-in",
                "version": "9.5.1",
                "http_address": self._options.statistics,
                "id": "stand-in",
                "name": "clima",
                "ephemeral_id": self.life,
                "pipeline": {"workers": WORKERS, "batch_size": BATCH, "batch_delay": 50},
                "status": "green",
                "pipelines": self._pipelines(),
            }
        )

    async def _say_counts(self, _: web.Request) -> web.StreamResponse:
        self.counts.queued = self.readings.queue.unread
        self.counts.in_hand = self.readings.queue.taken
        return web.Response(body=msgspec.json.encode(self.counts))

    async def _set_trouble(self, request: web.Request) -> web.StreamResponse:
        try:
            given = msgspec.json.decode(await request.read(), type=dict[str, Any])
            before = msgspec.structs.asdict(self.trouble)
            self.trouble = msgspec.convert({**before, **given}, Trouble)
        except msgspec.MsgspecError as error:
            return web.Response(status=400, text=str(error))
        if self.trouble.hold:
            self.flowing.clear()
        else:
            self.flowing.set()
        self._calm.set()
        return web.Response(body=msgspec.json.encode(self.trouble))

    async def _lose_queue(self, _: web.Request) -> web.StreamResponse:
        self.life, self._started = secrets.token_hex(8), time.monotonic()
        for each in self.pipelines:
            each.begin_anew()
        return web.Response()

    async def _die(self, _: web.Request) -> web.StreamResponse:
        os.kill(os.getpid(), signal.SIGKILL)
        return web.Response()


def basic(username: str, password: Path | None) -> str:
    secret = password.read_text("utf-8").strip() if password else ""
    return "Basic " + b64encode(f"{username}:{secret}".encode()).decode()


async def _listen(app: web.Application, address: str) -> str:
    """Serve at host:port; the url."""
    host, port = address.rsplit(":", 1)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, host, int(port)).start()
    return f"http://{host}:{runner.addresses[0][1]}"


def _taken(pipeline: Pipeline, lines: list[bytes]) -> web.Response:
    pipeline.push(lines)
    return web.Response(text="ok")


def _break_off(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()
