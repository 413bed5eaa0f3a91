"""The daemon as a person runs it: how it starts, stops, and says what is wrong."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from clima_core import wire
from clima_core.errors import EXIT_CONFIGURATION, EXIT_OK, EXIT_UNAVAILABLE
from clima_forwarder.forwarder import OutOfMemoryError
from tests.forwarder.client import JOURNAL, LANE, TIMEOUT_S
from tests.forwarder.daemon import Daemon, configuration, daemon, fails
from tests.forwarder.running import TICK_S, until

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="signals, permissions and /proc")


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that another process listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def closed() -> Iterator[int]:
    """A port where nobody listens, and nobody else can."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield unused.getsockname()[1]


async def readiness(running: Daemon) -> tuple[int, dict[str, str]]:
    """What `/readyz` says: status and problems."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{running.started['http']}/readyz") as answer,
    ):
        return answer.status, (await answer.json())["problems"]


async def ready(running: Daemon) -> None:
    """Wait until it is ready."""
    async with asyncio.timeout(TIMEOUT_S):
        while (await readiness(running))[0] != 200:  # noqa: ASYNC110 - it is another process
            await asyncio.sleep(TICK_S)


@posix_only
async def test_it_serves_and_stops_when_told_to(tmp_path: Path) -> None:
    """Nothing is said of errors, and what was acknowledged is there after the next start."""
    async with daemon(tmp_path) as running:
        await ready(running)
        async with running.client() as station:
            await station.open()
            await station.records(1, 100)
            assert [(1, 100)] == (await station.expect(wire.Ack)).ranges
        assert EXIT_OK == await running.stop()
        assert "forwarder_stopped" in running.said
        assert '"level":"error"' not in running.said
        assert "Traceback" not in running.said
        pairs = running.pairs
    async with daemon(tmp_path) as running, running.client(pair=pairs["roof"]) as station:
        await ready(running)
        assert [wire.Seen(JOURNAL, "w", 100)] == (await station.open({LANE: 100})).seen


@posix_only
async def test_it_stops_with_a_station_connected_and_sending(tmp_path: Path) -> None:
    """It does not wait for a station to pause: what is not acknowledged lies there still."""
    async with daemon(tmp_path) as running, running.client() as station:
        await ready(running)
        await station.open()

        sent = 0

        async def keep_sending() -> None:
            nonlocal sent
            while True:
                await station.records(sent + 1, sent + 100)
                await station.expect(wire.Ack)
                sent += 100

        sending = asyncio.create_task(keep_sending())
        await until(lambda: sending.done() or sent >= 500)
        assert not sending.done(), sending.exception()
        assert EXIT_OK == await running.stop()
        sending.cancel()
        assert "Traceback" not in running.said


@pytest.mark.parametrize("table", ["stations", "feed", "http"])
async def test_a_busy_port_is_one_clear_message(tmp_path: Path, taken: int, table: str) -> None:
    """With the option's name and the address; and nothing stays half started."""
    busy = {
        "stations": f"""
            listen = "tcp://127.0.0.1:{taken}"
            key_file = "{tmp_path / "forwarder.key"}"
        """,
        "feed": f'address = "tcp://127.0.0.1:{taken}"',
        "http": f"port = {taken}",
    }
    code, said = await fails(configuration(tmp_path, **{table: busy[table]}))
    assert EXIT_UNAVAILABLE == code
    (line,) = (line for line in said.splitlines() if not line.startswith("{"))
    assert f"127.0.0.1:{taken}" in line
    assert "Address already in use" in line or "address already in use" in line
    assert "Warning" not in said


async def test_all_that_is_wrong_with_the_configuration_is_said_at_once(tmp_path: Path) -> None:
    """One line each, with file, option, what was found and the nearest right name."""
    config = configuration(
        tmp_path,
        stations='listen = "5570"\nhartbeat_s = 3',
        http='port = "x"',
        log='level = "loud"',
    )
    code, said = await fails(config)
    assert EXIT_CONFIGURATION == code
    lines = said.splitlines()
    assert 4 == len(lines)
    for part in ("stations.listen", "heartbeat_s", "http.port", "log.level"):
        assert any(part in line for line in lines), (part, said)
    assert all("forwarder.toml" in line for line in lines)


@posix_only
async def test_a_secret_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    """With the command that mends it."""
    async with daemon(tmp_path):
        pass
    (tmp_path / "forwarder.key").chmod(0o644)
    code, said = await fails(configuration(tmp_path))
    assert EXIT_CONFIGURATION == code
    assert "chmod 600" in said


@posix_only
async def test_a_store_that_is_down_is_waited_for_and_said(tmp_path: Path, closed: int) -> None:
    """It lives, is not ready, says why, gives no credit, and stops at once when told to."""
    url = f"http://127.0.0.1:{closed}"
    output = f'type = "elasticsearch"\nurl = "{url}"'
    async with daemon(tmp_path, configuration(tmp_path, output=output)) as running:
        await running.logged("store_not_open")
        status, problems = await readiness(running)
        assert 503 == status
        assert url in problems["store"]
        async with running.client() as station:
            await station.hello()
            assert "store_unavailable" == (await station.expect(wire.Refusal)).code
        assert EXIT_OK == await running.stop()
        assert "Traceback" not in running.said


@posix_only
async def test_a_process_that_grows_too_large_ends_itself(tmp_path: Path) -> None:
    """A message whose end never comes fills libzmq's memory; a new process begins small."""
    config = configuration(tmp_path, limits="memory_bytes = 100_000_000")
    async with daemon(tmp_path, config) as running, running.client() as station:
        await ready(running)
        await station.open()
        await station.send(*[b"x" * 1_000_000] * 300)
        assert OutOfMemoryError.exit_code == await running.ended()
        assert "limits.memory_bytes" in running.said
        assert "Traceback" not in running.said
