"""A router on a free port, with a store in memory and a key directory of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import zmq

from clima_core import keys
from clima_core.keys import KeyPair
from clima_forwarder.feed import Feed
from clima_forwarder.health import Health
from clima_forwarder.metrics import Metrics
from clima_forwarder.router import Router
from clima_forwarder.stations import Stations
from tests.forwarder.client import TIMEOUT_S, Client
from tests.forwarder.memory_output import MemoryOutput

TICK_S = 0.01


@dataclass
class Running:
    """A forwarder's parts, put together as `serve` does; without HTTP."""

    router: Router
    server_key: str
    stations: Stations
    output: MemoryOutput
    feed: Feed
    health: Health
    metrics: Metrics
    pairs: dict[str, KeyPair] = field(default_factory=dict)

    def client(
        self, station: str = "roof", *, pair: KeyPair | None = None, routing_id: bytes | None = None
    ) -> Client:
        """A connection of a station, which is let in first if it was not yet."""
        if pair is None and station not in self.pairs:
            self.pairs[station] = keys.generate()
            self.stations.add(station, self.pairs[station].public)
        pair = pair or self.pairs[station]
        return Client(self.router.address, self.server_key, pair, station, routing_id=routing_id)

    def counted(self, name: str, **labels: str) -> float:
        """The value of a metric."""
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


@asynccontextmanager
async def forwarder(
    directory: Path, output: MemoryOutput | None = None, *, heartbeat_s: float = 30.0
) -> AsyncIterator[Running]:
    """A forwarder that runs in this loop, its store open; `directory` will hold its keys."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    pair, stations = keys.generate(), Stations(directory)
    output, health, metrics = output or MemoryOutput(), Health(), Metrics()
    health.store_opened()
    feed = Feed(context, "tcp://127.0.0.1:*")
    router = Router(
        context,
        "tcp://127.0.0.1:*",
        pair,
        stations=stations,
        output=output,
        feed=feed,
        health=health,
        metrics=metrics,
        heartbeat_s=heartbeat_s,
    )
    try:
        yield Running(router, pair.public, stations, output, feed, health, metrics)
    finally:
        await router.close(patience_s=1)
        feed.close()
        context.term()


async def until(condition: Callable[[], object]) -> None:
    """Wait for the condition to hold."""
    async with asyncio.timeout(TIMEOUT_S):
        while not condition():  # noqa: ASYNC110 - what it waits for knows of no event
            await asyncio.sleep(TICK_S)
