"""`clima-agent check`: the configuration in layers, each only when the one before it is right.

Syntax is each option by itself, topology what options must agree on, environment what they need
of this machine: files, keys, disk, sensors, forwarders. Warnings change no exit code.
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

from clima_agent import config
from clima_agent.cli import add_config
from clima_agent.sources import Recorded, Sensor, SensorError, Setting
from clima_core import configuration, keys
from clima_core.errors import (
    EXIT_CONFIGURATION,
    EXIT_FINDING,
    EXIT_OK,
    ClimaError,
    ConfigurationError,
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
    if problems:
        return
    yield Finding("topology", "ok", f"station {configured.station.id}")
    if environment:
        yield from _environment(configured)


def _environment(configured: config.Configuration) -> Iterator[Finding]:
    yield _spool(configured.spool)
    yield _key(configured.identity.key_file)
    for sensor in configured.sensors:
        yield _sensor(sensor, configured.sampling.interval_s)
    for forwarder in configured.forwarders:
        yield _forwarder(forwarder)


def _found(level: Literal["ok", "warning", "problem"], message: str) -> Finding:
    return Finding("environment", level, message)


def _spool(spool: config.Spool) -> Finding:
    """Whether the directory is there or can be made, and has room for its limit."""
    parents = (spool.directory, *spool.directory.parents)
    there = next(each for each in parents if each.exists())
    at = f"spool.directory: {spool.directory}"
    if not there.is_dir():
        return _found("problem", f"{at}: {there} is not a directory")
    if not os.access(there, os.W_OK | os.X_OK):
        return _found("problem", f"{at}: this user may not write to {there}")
    disk = os.statvfs(there)
    free = disk.f_bavail * disk.f_frsize
    if free < spool.limit_bytes:
        room = f"{free / 1e6:.0f} MB free, limit_bytes is {spool.limit_bytes / 1e6:.0f} MB"
        return _found("warning", f"{at}: {room}; the oldest readings go first when it is full")
    return _found("ok", at)


def _key(path: Path) -> Finding:
    if not path.exists():
        return _found(
            "problem", f"identity.key_file: {path}: missing; `clima-agent enroll` makes it"
        )
    try:
        pair = keys.load(path)
    except ConfigurationError as error:
        return _found("problem", f"identity.key_file: {error}")
    return _found("ok", f"identity.key_file: {path}, public key {pair.public}")


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
