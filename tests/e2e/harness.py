"""One user's station with everything in it, each part a process: to be broken, and looked at.

A `Site` has a forwarder and any number of `Station`s, in one temporary folder, on ports of their
own. Parts are started, stopped and killed at will; nothing here sleeps without a condition that it
waits for. What was read is what the witness wrote, and what is stored is what the store has:
nobody's counters are believed.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from clima_core import keys
from tests.e2e import witness
from tests.e2e.stores import Store

ROOT = Path(__file__).parent.parent.parent
PATIENCE_S = 90.0  # the machine may be busy with something else


def wait_until(
    what: str, condition: Callable[[], bool], timeout_s: float = PATIENCE_S, *parts: Part
) -> None:
    """Until the condition holds; AssertionError, with the ends of the parts' logs, if it does not.

    At once when one of the parts has died, since then it never will.
    """
    deadline = time.monotonic() + timeout_s
    while not condition():
        logs = "\n".join(part.tail() for part in parts if part.died or time.monotonic() > deadline)
        assert not any(part.died for part in parts), f"died before {what}:\n{logs}"
        assert time.monotonic() < deadline, f"still not, after {timeout_s:g} s: {what}\n{logs}"
        time.sleep(0.05)


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Part:
    """A process that can be started, stopped and killed over and over; its log goes on."""

    def __init__(self, name: str, folder: Path, command: Sequence[str]) -> None:
        self.name = name
        self.command = list(command)
        self.environ: dict[str, str] = {}
        self.peak_bytes = 0
        self._log = folder / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def died(self) -> bool:
        """Whether it has ended by itself, and not well."""
        return self._process is not None and self._process.poll() not in {None, 0, -9, -15}

    def start(self) -> None:
        """Start the process; it must not be running."""
        assert not self.running, f"{self.name} is running"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env={**os.environ, **self.environ},
            )

    def kill(self) -> None:
        """`kill -9`."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """Ask it to end, as an operator would; its exit code."""
        self._end(signal.SIGTERM)
        return self.ended()

    def ended(self, timeout_s: float = PATIENCE_S) -> int:
        """Wait until it has ended by itself; its exit code."""
        assert self._process is not None, f"{self.name} was never started"

        def over() -> bool:
            self.measure()
            return not self.running

        wait_until(f"{self.name} has ended", over, timeout_s)
        return self._process.returncode

    def measure(self) -> None:
        """Note the most memory that the process has had."""
        if self._process is None or not self.running:
            return
        try:
            status = Path(f"/proc/{self._process.pid}/status").read_text("ascii")
        except OSError:
            return
        if peak := re.search(r"VmHWM:\s+(\d+) kB", status):
            self.peak_bytes = max(self.peak_bytes, int(peak[1]) * 1024)

    def events(self, name: str | None = None) -> list[dict[str, Any]]:
        """What it has logged, by name of event."""
        lines = self._log.read_bytes().split(b"\n") if self._log.exists() else []
        events = [json.loads(line) for line in lines if line.startswith(b"{") and line[-1:] == b"}"]
        return [event for event in events if name in (None, event["event"])]

    def wait_for(self, event: str, count: int = 1) -> list[dict[str, Any]]:
        """Until it has logged an event so many times."""
        what = f"{self.name} says {event}"
        wait_until(what, lambda: len(self.events(event)) >= count, PATIENCE_S, self)
        return self.events(event)

    def tail(self, lines: int = 60) -> str:
        """The end of the log."""
        text = self._log.read_text("utf-8", "replace") if self._log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self.measure()
            self._process.send_signal(how)
            if how == signal.SIGKILL:
                self._process.wait()


class Station(Part):
    """An agent with a witness for a sensor."""

    def __init__(self, folder: Path, identifier: str, config: Path, seed: int, begin: str) -> None:
        self.id = identifier
        self.config = config
        self.folder = config.parent
        self.spool = self.folder / "spool"
        self.witness = self.folder / "witness"
        command = ["-m", "tests.e2e.witness", str(config), str(self.witness), str(seed), begin]
        super().__init__(self.folder.name, folder, [sys.executable, *command])

    @property
    def read(self) -> dict[str, float]:
        """What its sensor has read, by time."""
        return witness.testimony(self.witness)

    def wait_read(self, more: int, timeout_s: float = PATIENCE_S) -> None:
        """Until so many more readings were taken."""
        aim = len(self.read) + more
        what = f"{self.name}: {aim} readings"
        wait_until(what, lambda: len(self.read) >= aim, timeout_s, self)

    def end_after(self, total: int) -> None:
        """There will be so many readings in all."""
        total_file = witness.total_file(self.witness)
        total_file.with_suffix(".new").write_text(str(total))
        total_file.with_suffix(".new").replace(total_file)

    def end_never(self) -> None:
        """Readings go on, whatever was said before."""
        witness.total_file(self.witness).unlink(missing_ok=True)

    def finish(self, more: int = 30, timeout_s: float = PATIENCE_S) -> None:
        """A few more readings, and it ends by itself when everything is delivered."""
        self.end_after(len(self.read) + more)
        if not self.running:
            self.start()
        assert 0 == self.ended(timeout_s), self.tail()

    def key(self) -> keys.KeyPair:
        """Its key pair."""
        return keys.load_or_create(self.folder / "agent.key")


@dataclass(frozen=True)
class Account:
    """What became of what was read: nothing else may be in the store, and nothing twice."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    strange: list[str] = field(default_factory=list)


class Site:
    """A forwarder, its store, and the stations that send to it."""

    def __init__(self, folder: Path, store: Store, *, store_options: str = "") -> None:
        self.folder = folder
        self.store = store
        self.stations: list[Station] = []
        self._listen, self._http, feed = free_port(), free_port(), free_port()
        self.pairing_port = free_port()
        self._key = keys.load_or_create(folder / "forwarder.key")
        self.config = folder / "forwarder.toml"
        self.config.write_text(
            f'[stations]\nlisten = "tcp://127.0.0.1:{self._listen}"\ndirectory = "stations"\n'
            'key_file = "forwarder.key"\nheartbeat_s = 0.5\n\n'
            f'[pairing]\nlisten = "tcp://127.0.0.1:{self.pairing_port}"\nadvertise = false\n\n'
            f"[output]\n{store.options}\n{store_options}\n\n"
            f'[feed]\naddress = "tcp://127.0.0.1:{feed}"\n\n[http]\nport = {self._http}\n'
        )
        command = [sys.executable, "-m", "clima_forwarder", "forward", "--config", str(self.config)]
        self.forwarder = Part("forwarder", folder, command)

    @property
    def port(self) -> int:
        """Where the forwarder listens for stations."""
        return self._listen

    @property
    def public_key(self) -> str:
        """The forwarder's."""
        return self._key.public

    # -- setting up --------------------------------------------------------------------------

    def station(
        self,
        identifier: str,
        *,
        speed: float | str = 200,
        total: int | None = None,
        port: int | None = None,
        name: str | None = None,
        begin: datetime = witness.BEGIN,
        admitted: bool = True,
        more: str = "",
    ) -> Station:
        """A new station, let in but not started; `name` where two have one id."""
        folder = self.folder / (name or identifier)
        folder.mkdir()
        config = folder / "agent.toml"
        pace = speed if isinstance(speed, int | float) else json.dumps(speed)
        config.write_text(
            f'[station]\nid = "{identifier}"\n\n'
            f"[sampling]\ninterval_s = 1\nspeed = {pace}\nhealth_interval_s = 5\n\n"
            '[clock]\ntrust = "system"\n\n'
            f'[spool]\ndirectory = "spool"\ncommit_window_s = 0.2\n{more}\n\n'
            '[identity]\nkey_file = "agent.key"\n\n'
            f'[[forwarders]]\naddress = "tcp://127.0.0.1:{port or self._listen}"\n'
            f"public_key = {json.dumps(self.public_key)}\n"
        )
        seed = len(self.stations) + 1
        station = Station(self.folder, identifier, config, seed, begin.isoformat())
        if total is not None:
            station.end_after(total)
        if admitted:
            self.admit(station)
        self.stations.append(station)
        return station

    def admit(self, station: Station, *options: str) -> None:
        """`clima stations add`."""
        public = keys.hexadecimal(station.key().public)
        done = self.clima("stations", "add", station.id, public, *options)
        assert 0 == done.returncode, done.stderr

    def start_forwarder(self) -> None:
        """Start it, and wait until it is ready."""
        self.forwarder.start()
        wait_until("the forwarder is ready", self.ready, PATIENCE_S, self.forwarder)

    def ready(self) -> bool:
        """Whether `/readyz` says so."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._http}/readyz", timeout=2):
                return True
        except OSError:
            return False

    def problem(self) -> str:
        """Why `/readyz` says that it is not ready; empty when it is, or does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._http}/readyz", timeout=2):
                return ""
        except urllib.error.HTTPError as answer:
            return "; ".join(json.loads(answer.read())["problems"].values())
        except OSError:
            return ""

    def close(self) -> None:
        """Kill whatever still runs."""
        for part in (*self.stations, self.forwarder):
            part.kill()

    # -- looking -------------------------------------------------------------------------------

    def clima(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The command `clima`, on this forwarder's configuration."""
        return subprocess.run(
            [sys.executable, "-m", "clima_forwarder", *arguments, "--config", str(self.config)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )

    def audit(self, *arguments: str) -> tuple[int, list[dict[str, Any]]]:
        """`clima audit --json`: exit code and lanes."""
        done = self.clima("audit", "--json", *arguments)
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)

    def stored(self, station: str) -> int:
        """How many readings of a station the store has now."""
        return len(self.store.readings(station))

    def wait_stored(self, station: Station, more: int = 100) -> None:
        """Until so many more of its readings are stored."""
        aim = self.stored(station.id) + more
        wait_until(
            f"{aim} readings of {station.id} stored",
            lambda: self.stored(station.id) >= aim,
            PATIENCE_S,
            self.forwarder,
            station,
        )

    def account(self, *stations: Station) -> Account:
        """Compare what stations of one id have read with what the store has, by content."""
        read: dict[str, float] = {}
        for station in stations:
            read |= station.read
        stored = Counter(self.store.readings(stations[0].id))
        return Account(
            lost=sorted(time for time, said in read.items() if (time, said) not in stored),
            doubled=sorted(time for (time, _), count in stored.items() if count > 1),
            strange=sorted(time for time, said in stored if read.get(time) != said),
        )

    # -- verdicts ------------------------------------------------------------------------------

    def assert_sound(self, *stations: Station) -> None:
        """All that was read is stored once, and `clima audit` says the same; stops the forwarder.

        Stopped, it has written down what the stations last said of themselves.
        """
        self.forwarder.stop()
        assert Account() == self.account(*stations)
        code, lanes = self.audit("--station", stations[0].id)
        counts: Counter[str] = Counter()
        for lane in lanes:
            assert lane["reported"], lane
            faults = {name: lane["ranges"][name] for name in ("gaps", "doubled", "waiting")}
            assert {"gaps": [], "doubled": [], "waiting": []} == faults, lane
            if lane["stream"] == "w":
                counts += Counter(lane["counts"])
        read = {time for station in stations for time in station.read}
        assert (0, len(read)) == (code, counts["stored"])

    def assert_serves(self) -> None:
        """The forwarder still takes in what an honest station sends."""
        honest = self.station(f"honest-{secrets.token_hex(4)}", speed="max", total=20)
        honest.start()
        assert 0 == honest.ended(), honest.tail()
        assert Account() == self.account(honest)


def lanes_of(lanes: Sequence[Mapping[str, Any]], stream: str = "w") -> Counter[str]:
    """The counts of an audit, summed over a station's journals."""
    counts: Counter[str] = Counter()
    for lane in lanes:
        if lane["stream"] == stream:
            counts += Counter(lane["counts"])
    return counts
