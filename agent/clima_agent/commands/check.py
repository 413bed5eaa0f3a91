"""`clima-agent check`: the configuration in layers, each only when the one before it is right.

Syntax is each option by itself, topology what options must agree on, environment what they need
of this machine: files, keys, disk, clock, sensors, forwarders. Warnings change no exit code.
"""

from __future__ import annotations

import argparse
import os
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

import msgspec

from clima_agent import board, config, permissions, provenance
from clima_agent.cli import add_config
from clima_agent.clock import Keeper
from clima_agent.discovery import found_sensors, look
from clima_agent.sources import Recorded, Sensor, SensorError, Setting
from clima_core import configuration, keys
from clima_core.errors import (
    EXIT_CONFIGURATION,
    EXIT_FINDING,
    EXIT_OK,
    ClimaError,
    ConfigurationError,
    UnavailableError,
)

HELP = "check the configuration, and what it needs of this machine"
CONNECT_S = 3.0


class Finding(NamedTuple):
    """One thing that was looked at."""

    layer: Literal["syntax", "topology", "environment"]
    level: Literal["ok", "warning", "problem"]
    message: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add_config(parser)
    parser.add_argument(
        "--no-environment", action="store_true", help="look at the file alone, not at the machine"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object per finding")


def run(arguments: argparse.Namespace) -> int:
    """Exit code 78 for a wrong configuration, 1 for a machine that does not go with it."""
    worst = EXIT_OK
    for finding in check(arguments.config, environment=not arguments.no_environment):
        if arguments.json:
            print(msgspec.json.encode(finding._asdict()).decode(), flush=True)
        else:
            print(f"{finding.layer:12} {finding.level:8} {finding.message}", flush=True)
        if finding.level == "problem":
            wrong_file = finding.layer != "environment"
            worst = max(worst, EXIT_CONFIGURATION if wrong_file else EXIT_FINDING)
    return worst


def check(path: Path, *, environment: bool) -> Iterator[Finding]:
    """Every finding, layer by layer."""
    try:
        configured = configuration.load(
            path, config.Configuration, os.environ, config.ENVIRONMENT_PREFIX
        )
    except ConfigurationError as error:
        yield from (Finding("syntax", "problem", problem) for problem in error.problems)
        return
    yield Finding("syntax", "ok", str(path))
    problems = list(config.topology(configured))
    yield from (Finding("topology", "problem", problem) for problem in problems)
    yield from (Finding("topology", "warning", text) for text in config.warnings(configured))
    overdue = provenance.overdue(configured.calibration, datetime.now(UTC))
    yield from (Finding("topology", "warning", text) for text in overdue)
    if problems:
        return
    yield Finding("topology", "ok", f"station {configured.station.id}")
    if environment:
        yield from _environment(configured)


def _environment(configured: config.Configuration) -> Iterator[Finding]:
    here = board.place(configured)
    yield from _board(here)
    yield from _user(here.config)
    yield _spool(here.config.spool)
    yield _key(here.config.identity.key_file)
    yield _clock(configured.clock)
    yield from _sensors(configured)
    yield from _infrared()
    for forwarder in configured.forwarders:
        yield _forwarder(forwarder)


def _found(level: Literal["ok", "warning", "problem"], message: str) -> Finding:
    return Finding("environment", level, message)


def _board(here: board.Place) -> Iterator[Finding]:
    """Whose the card is."""
    if here.board is None:
        yield _found("ok", "board: it has no serial number, so a cloned card cannot be told")
    elif here.other is None:
        yield _found("ok", f"board: {here.board}; key and spool are its own")
    else:
        called = f'"{here.other.station}"; here it is "{here.config.station.id}"'
        yield _found("warning", f"board: the card is another board's, {called}; {board.MEND}")


def _user(configured: config.Configuration) -> Iterator[Finding]:
    """Whether this is the user that the agent runs as, and all its files are that user's."""
    folder, key_file = configured.spool.directory, configured.identity.key_file
    if owner := permissions.other_user(folder):
        yield _found(
            "warning",
            f"user: this is {permissions.user()}, the agent is {owner}: what it may do is seen by"
            f" `sudo -u {owner} clima-agent check`",
        )
    files = [key_file, *(folder / name for name in ("spool.db", "spool.db-wal", "spool.lock"))]
    yield from (_found("problem", f"user: {text}") for text in permissions.strangers(files))


def _spool(spool: config.Spool) -> Finding:
    """Whether the directory is there or can be made, and has room for its limit."""
    at = f"spool.directory: {spool.directory}"
    there = _nearest(spool.directory)
    if not there.is_dir():
        return _found("problem", f"{at}: {there} is not a directory")
    if why := permissions.unwritable(there) or permissions.unwritable(_nearest(there / "spool.db")):
        return _found("problem", f"{at}: {why}")
    disk = os.statvfs(there)
    free = disk.f_bavail * disk.f_frsize
    if free < spool.limit_bytes:
        room = f"{free / 1e6:.0f} MB free, limit_bytes is {spool.limit_bytes / 1e6:.0f} MB"
        return _found("warning", f"{at}: {room}; the oldest readings go first when it is full")
    return _found("ok", at)


def _nearest(path: Path) -> Path:
    """The path, or the nearest of its parents that is there and may be seen."""
    return next(each for each in (path, *path.parents) if os.access(each, os.F_OK))


def _key(path: Path) -> Finding:
    at = f"identity.key_file: {path}"
    if not os.access(folder := _nearest(path.parent), os.X_OK):
        return _found("warning", f"{at}: {permissions.user()} may not look into {folder}")
    if not os.access(path, os.F_OK):
        return _found("problem", f"{at}: missing; `clima-agent enroll` makes it")
    if not os.access(path, os.R_OK):
        handed = "right if systemd hands it over as a credential, else `sudo chown` mends that"
        return _found("warning", f"{at}: {permissions.user()} may not read it; {handed}")
    try:
        pair = keys.load(path)
    except (ConfigurationError, UnavailableError) as error:
        return _found("problem", f"identity.key_file: {error}")
    return _found("ok", f"{at}, public key {pair.public}")


def _clock(clock: config.Clock) -> Finding:
    """Whether the time is known now; if not, readings wait for it."""
    keeper = Keeper(clock.trust)
    if (known := keeper.known) is None and clock.trust == "system":
        return _found(
            "warning",
            f"clock: it says {keeper.now():%Y-%m-%d %H:%M} UTC and was never set; set it, and if it"
            " does so again, its battery is empty",
        )
    if known is None:
        return _found(
            "warning",
            "clock: the kernel says that it is not synchronised; is an NTP daemon running (see"
            ' `timedatectl`)? For a clock with a battery: [clock] trust = "system"',
        )
    return _found("ok", f"clock: known, by the {known.how}")


def _sensors(configured: config.Configuration) -> Iterator[Finding]:
    """The configured ones, or those that are found where there are none."""
    try:
        sensors = configured.sensors or found_sensors(look())
    except UnavailableError as error:
        yield _found(
            "problem", f"{error}; without one the agent sends what it has, and looks again"
        )
        return
    for sensor in sensors:
        yield _sensor(sensor, configured.sampling.interval_s)


def _sensor(sensor: Sensor, interval_s: float) -> Finding:
    """Read it once."""
    try:
        source = sensor.open(Setting(datetime.now(UTC), interval_s))
    except ConfigurationError as error:
        return _found("problem", f"sensors: {sensor.name}: {'; '.join(error.problems)}")
    now = datetime.now(UTC)
    try:
        at = next(source.times(), now) if isinstance(source, Recorded) else now
        values = source.read(at)
    except SensorError as error:
        return _found("problem", f"sensors: {sensor.name}: {error}")
    finally:
        source.close()
    return _found("ok", f"sensors: {sensor.name}: {len(values)} values")


def _infrared() -> Iterator[Finding]:
    """Where there are such devices, whether they may be used."""
    for device in sorted(Path("/dev").glob("lirc*")):
        if not os.access(device, os.R_OK | os.W_OK):
            yield _found("warning", f"ir: {device}: {permissions.mend(device, 'video')}")


def _forwarder(forwarder: config.Forwarder) -> Finding:
    """Whether its key can be read and something takes connections at its address."""
    at = f"forwarders: {forwarder.address}"
    url = urlsplit(forwarder.address)
    try:
        forwarder.key()
        with socket.create_connection((url.hostname, url.port), timeout=CONNECT_S):
            return _found("ok", at)
    except ClimaError as error:
        return _found("problem", f"{at}: {error}")
    except OSError as error:
        return _found("problem", f"{at}: {error.strerror or error}")
