"""The forwarder, put together: one process, one event loop, no state that must survive."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import structlog
import zmq

from clima_core import keys
from clima_core.backoff import pause_s
from clima_core.errors import ClimaError, UnavailableError
from clima_forwarder.config import Configuration
from clima_forwarder.feed import Feed
from clima_forwarder.health import Health
from clima_forwarder.http import Http
from clima_forwarder.metrics import Metrics
from clima_forwarder.outputs import open_output
from clima_forwarder.outputs.base import Output
from clima_forwarder.pairing.advertisement import Advertisement
from clima_forwarder.pairing.endpoint import Endpoint
from clima_forwarder.pairing.requests import Requests
from clima_forwarder.router import Router
from clima_forwarder.stations import Stations

if sys.platform != "win32":
    import resource

log = structlog.get_logger("clima_forwarder.forwarder")

STORE_RETRY_S, STORE_RETRY_CAP_S = 1.0, 30.0
MEMORY_CHECK_S = 1.0
BLOCK_BYTES = 8 * 1024 * 1024  # more than any batch or request
DESCRIPTORS = 10_000


class OutOfMemoryError(ClimaError):
    """The process grew past its limit; started anew it begins small, and nothing is lost."""

    exit_code = 75  # EX_TEMPFAIL


async def serve(config: Configuration) -> None:
    """Run until SIGTERM or SIGINT. Nothing that was accepted needs saving: see design point 1."""
    stopped = asyncio.Event()
    _on_signals(stopped)
    _keep_freed_memory()
    _raise_descriptor_limit()
    health, metrics = Health(), Metrics()
    pair = keys.load_or_create(config.stations.key_file)
    stations = Stations(
        config.stations.directory,
        report=lambda problem: log.error("station_file_refused", reason=problem),
    )
    async with AsyncExitStack() as opened:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        opened.callback(context.term)
        feed = Feed(context, config.feed.address)
        opened.callback(feed.close)
        output = open_output(config.output)
        opened.push_async_callback(output.close)
        router = Router(
            context,
            config.stations.listen,
            pair,
            stations=stations,
            output=output,
            feed=feed,
            health=health,
            metrics=metrics,
            heartbeat_s=config.stations.heartbeat_s,
        )
        opened.push_async_callback(router.close)
        http = Http(router, health, metrics)
        opened.push_async_callback(http.close)
        url = await http.open(config.http.host, config.http.port)
        pairing = await _open_pairing(opened, config, pair.public, router.address)
        log.info(
            "forwarder_started",
            listen=router.address,
            feed=feed.address,
            http=url,
            pairing=pairing,
            public_key=pair.public,
        )
        await _until_stopped(stopped, output, health, config.limits.memory_bytes)
    log.info("forwarder_stopped")


async def _open_pairing(
    opened: AsyncExitStack, config: Configuration, public: str, listen: str
) -> str:
    """Have stations ask to be let in, where that is wanted; returns where."""
    if not config.pairing.enabled:
        return ""
    endpoint = Endpoint(
        Requests(config.stations.directory),
        bytes.fromhex(keys.hexadecimal(public)),
        config.pairing.stations_port or int(listen.rpartition(":")[2]),
    )
    opened.push_async_callback(endpoint.close)
    endpoint.open(config.pairing.listen)
    if config.pairing.advertise and endpoint.address:
        advertisement = Advertisement(int(endpoint.address.rpartition(":")[2]))
        opened.push_async_callback(advertisement.stop)
        await advertisement.start()
    return endpoint.address


async def _until_stopped(
    stopped: asyncio.Event, output: Output, health: Health, memory_bytes: int
) -> None:
    """Wait for the signal, or for a failure that only a person or a new process can mend."""
    waits = [
        asyncio.create_task(stopped.wait()),
        asyncio.create_task(_watch_memory(memory_bytes)),
    ]
    opening = asyncio.create_task(_open_store(output, health))
    try:
        done, _ = await asyncio.wait([*waits, opening], return_when=asyncio.FIRST_COMPLETED)
        if opening in done:
            opening.result()
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in [*waits, opening]:
            task.cancel()


async def _open_store(output: Output, health: Health) -> None:
    """Open the output, however long the store takes to come up."""
    failures = 0
    while True:
        try:
            await output.open()
        except UnavailableError as error:
            health.store_failed(str(error))
            log.warning("store_not_open", reason=str(error))
            await asyncio.sleep(pause_s(failures, STORE_RETRY_S, STORE_RETRY_CAP_S))
            failures += 1
        else:
            health.store_opened()
            return


async def _watch_memory(limit_bytes: int) -> None:
    """Raise when the process is too large: a peer with a valid key can make libzmq that."""
    while (resident := _resident_bytes()) is not None:
        if resident > limit_bytes:
            raise OutOfMemoryError(
                f"limits.memory_bytes: {resident} bytes in use, {limit_bytes} allowed"
            )
        await asyncio.sleep(MEMORY_CHECK_S)
    await asyncio.Event().wait()


def _resident_bytes() -> int | None:
    """What the process holds in memory; None where the system does not say."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        return None
    return int(statm.read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _raise_descriptor_limit() -> None:
    """Each station takes one; the usual 1024 are there for programs that use `select`."""
    if sys.platform != "win32":
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
        if soft != resource.RLIM_INFINITY and soft < most:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _keep_freed_memory() -> None:
    """Have glibc keep what we free for the next batch: else every tenth of our time is paging.

    It hands freed blocks back to the system until it has seen one of their size freed before
    (mallopt(3), "dynamic mmap threshold"); this one is never touched, so it takes no memory.
    """
    bytes(BLOCK_BYTES)


def _on_signals(stopped: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        try:
            loop.add_signal_handler(name, stopped.set)
        except NotImplementedError:  # Windows
            signal.signal(name, lambda *_: loop.call_soon_threadsafe(stopped.set))
