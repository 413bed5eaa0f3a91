"""Two stations that send so many readings, and what must have become of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.compose.engine import OVERRIDES, Engine
from tests.compose.station import Station
from tests.e2e.harness import free_port

READINGS = 12_000
BEGIN, STEP = datetime(2025, 1, 1, tzinfo=UTC), timedelta(seconds=10)  # as flow.yaml says
PORTS = ("STATIONS", "PAIRING", "KIBANA")
AGENTS = {"demo-jfk": "jfk", "demo-lga": "lga"}


@contextmanager
def standing(engine: Engine, *files: Path) -> Iterator[Station]:
    """A station of which nothing runs yet; gone afterwards."""
    end = BEGIN + (READINGS - 1) * STEP
    made = Station(
        engine,
        *files,
        OVERRIDES / "flow.yaml",
        TEST_END=f"{end:%Y-%m-%dT%H:%M:%SZ}",
        CLIMA_STATIONS_ADDRESS="127.0.0.1",
        CLIMA_PAIRING_ADDRESS="127.0.0.1",
    )
    try:
        made.compose("--profile", "demo", "build")
        # Not before: that takes minutes, and somebody else may have taken the ports by then.
        made.environ |= {f"CLIMA_{name}_PORT": str(free_port()) for name in PORTS}
        yield made
    finally:
        made.remove()


@contextmanager
def playing(engine: Engine, *files: Path) -> Iterator[Station]:
    """A station that is up, with its two weather stations sending."""
    with standing(engine, *files) as made:
        made.up()
        yield made


def assert_flows(station: Station, more: int = 50) -> None:
    """Readings of both stations come to be stored."""
    for name in AGENTS.values():
        aim = station.stored(name) + more
        station.wait(f"{aim} of {name} stored", lambda n=name, a=aim: station.stored(n) >= a)  # type: ignore[misc]


def wait_until_they_pile_up(station: Station, more: int = 100) -> None:
    """Readings that nobody acknowledges are kept by an agent."""
    aim = station.waiting("demo-jfk") + more
    station.wait(f"{aim} wait for an answer", lambda: station.waiting("demo-jfk") >= aim)


def assert_complete(station: Station) -> None:
    """All that there was to be read gets stored, once."""
    station.compose("--profile", "demo", "up", "--detach", *AGENTS, TEST_SPEED="max")
    for name in AGENTS.values():
        station.wait(f"all of {name} stored", lambda n=name: station.stored(n) >= READINGS)  # type: ignore[misc]
    station.wait("nothing waits any more", lambda: 0 == _waiting(station))
    assert_all_stored(station)


def assert_all_stored(station: Station) -> None:
    """Everything, once: by the audit, and counted without it."""
    stored = {
        lane["station"]: lane["counts"]["stored"]
        for lane in _lanes(station)
        if lane["stream"] == "w"
    }
    assert dict.fromkeys(AGENTS.values(), READINGS) == stored
    for name in AGENTS.values():
        assert READINGS == station.stored(name)
        assert READINGS == station.moments(name)


def _waiting(station: Station) -> int:
    return sum(lane["counts"]["waiting"] for lane in _lanes(station))


def _lanes(station: Station) -> list[dict[str, Any]]:
    """What `clima audit` says, which has to be content."""
    audited = station.clima("audit", "--json")
    assert 0 == audited.returncode, audited.stdout + audited.stderr
    lanes: list[dict[str, Any]] = json.loads(audited.stdout)
    return lanes
