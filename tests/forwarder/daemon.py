"""The real `clima forward`, as a process of its own, on free ports and in a temporary folder."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clima_core import keys
from clima_core.keys import KeyPair
from clima_forwarder.stations import Stations
from tests.forwarder.client import TIMEOUT_S, Client

COMMAND = (sys.executable, "-W", "error::ResourceWarning", "-m", "clima_forwarder", "forward")


def configuration(folder: Path, *, heartbeat_s: str = "0.5", **changes: str) -> Path:
    """A configuration file in the folder; `changes` are whole tables, by name."""
    tables = {
        "stations": f"""
            listen = "tcp://127.0.0.1:0"
            directory = "{folder / "stations"}"
            key_file = "{folder / "forwarder.key"}"
            heartbeat_s = {heartbeat_s}
        """,
        "pairing": 'listen = "tcp://127.0.0.1:0"\nadvertise = false',
        "feed": 'address = "tcp://127.0.0.1:0"',
        "http": "port = 0",
        "output": f"""
            type = "sqlite"
            path = "{folder / "readings.sqlite"}"
        """,
        **changes,
    }
    path = folder / "forwarder.toml"
    path.write_text("".join(f"[{name}]\n{text}\n" for name, text in tables.items()), "utf-8")
    return path


@dataclass
class Daemon:
    """A running forwarder; what it has logged so far is in `lines`."""

    process: asyncio.subprocess.Process
    folder: Path
    lines: list[str] = field(default_factory=list)
    started: dict[str, Any] = field(default_factory=dict)
    pairs: dict[str, KeyPair] = field(default_factory=dict)

    def client(self, station: str = "roof", pair: KeyPair | None = None) -> Client:
        """A connection of a station, which is let in first if it was not yet."""
        pair = pair or self.admit(station)
        return Client(self.started["listen"], self.started["public_key"], pair, station)

    def admit(self, station: str) -> KeyPair:
        """The station's keys; it is let in if it was not yet."""
        if station not in self.pairs:
            self.pairs[station] = keys.generate()
            Stations(self.folder / "stations").add(station, self.pairs[station].public)
        return self.pairs[station]

    async def logged(self, event: str) -> dict[str, Any]:
        """The next line that logs the event."""
        assert self.process.stderr is not None
        async with asyncio.timeout(TIMEOUT_S):
            while line := (await self.process.stderr.readline()).decode():
                self.lines.append(line)
                if f'"event":"{event}"' in line:
                    found: dict[str, Any] = json.loads(line)
                    return found
        raise AssertionError(f"it ended without {event}: {''.join(self.lines)}")

    async def stop(self) -> int:
        """Have it stop, and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return await self.ended()

    async def ended(self) -> int:
        """Wait for its end; returns its exit code."""
        assert self.process.stderr is not None
        async with asyncio.timeout(TIMEOUT_S):
            self.lines += [(await self.process.stderr.read()).decode()]
            return await self.process.wait()

    @property
    def said(self) -> str:
        return "".join(self.lines)


@asynccontextmanager
async def daemon(folder: Path, config: Path | None = None) -> AsyncIterator[Daemon]:
    """Start the daemon and wait until it listens."""
    config = config or configuration(folder)
    process = await asyncio.create_subprocess_exec(
        *COMMAND, "--config", str(config), stderr=asyncio.subprocess.PIPE, limit=2**24
    )
    running = Daemon(process, folder)
    try:
        running.started = await running.logged("forwarder_started")
        yield running
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def fails(config: Path) -> tuple[int, str]:
    """Run it where it cannot start; returns the exit code and what it said."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND, "--config", str(config), stderr=asyncio.subprocess.PIPE
    )
    try:
        _, said = await asyncio.wait_for(process.communicate(), TIMEOUT_S)
    except TimeoutError:
        process.kill()
        raise
    return process.returncode or 0, said.decode()
