"""A whole station at its own pace, with all sensors: CPU, memory, the size of what it records.

`bench/wired.py` is the station: a reading per 10 s, every other interval at its default, readings
acknowledged by a forwarder, as in life; nothing is pressed together, so that the waking up between
readings counts. Only what `clima[agent]` brings can be imported, as on a Pi. CPU is that of all
threads, from the first reading on. What a record takes in the spool is measured in one that is
filled with copies of the last one, as its tree would have it after days.
"""

from __future__ import annotations

import time
from pathlib import Path

import msgspec

from bench.figures import Figure, MeasurementError
from bench.memory import absent
from bench.processes import Process, until
from bench.reading import readings_in
from bench.stage import Stage, agent_command, forwarder, unit_environ
from bench.wired import SENSORS
from clima_agent.spool import Spool
from clima_core import keys

STATION = "school-1"
DAY_S = 86_400
COPIES = 5000
LINES = {"rain_gauge": {"line": 5}, "anemometer": {"line": 6}}


def measure(directory: Path, *, quick: bool) -> list[Figure]:
    """At one reading per 10 s."""
    seconds = 30 if quick else 300
    with forwarder(directory / "stage") as stage:
        stage.admit(STATION, keys.load_or_create(stage.directory / "agent.key"))
        share, memory = _run(stage, seconds)
        path = stage.directory / "spool" / "spool.db"
        reading, health = _last(path, "w"), _last(path, "s")
    per_day = _in_spool(directory / "w.db", reading) * DAY_S / 10
    per_day += _in_spool(directory / "s.db", health) * DAY_S / 60
    return [
        Figure("station with all sensors, of a core", share * 100, "%", 0.5),
        Figure("station with all sensors, RSS", memory, "MB", 40),
        Figure("its record", len(reading), "bytes"),
        Figure("its backlog per GB, a reading per 10 s", 1e9 / per_day, "days"),
    ]


def _run(stage: Stage, seconds: float) -> tuple[float, float]:
    """Its share of a core, and its memory in the end."""
    command = agent_command(
        stage.directory,
        station={
            "id": STATION,
            "name": "Escola",
            "elevation_m": 104,
            "latitude": 41.1496,
            "longitude": -8.611,
            "timezone": "Europe/Lisbon",
        },
        spool={"directory": "spool"},
        identity={"key_file": "agent.key"},
        forwarders=[{"address": f"tcp://127.0.0.1:{stage.port}", "public_key": stage.keys.public}],
        sensors=[{"driver": name, **LINES.get(name, {})} for name in SENSORS],
    )
    program = (
        f"import sys; sys.modules.update(dict.fromkeys({sorted(absent())!r}))\n"
        "sys.argv[1:] = ['agent.toml', 'wires']\nfrom bench.wired import main; main()"
    )
    with Process("agent", [command[0], "-c", program], stage.directory, unit_environ()) as agent:
        agent.wait_for("agent_started")
        path = stage.directory / "spool" / "spool.db"
        until(lambda: path.exists() and readings_in(path) > 0, "no reading", agent)
        before_s, began, before = agent.cpu_s, time.monotonic(), readings_in(path)
        time.sleep(seconds)
        used_s, passed_s = agent.cpu_s - before_s, time.monotonic() - began
        memory, count = agent.memory(), readings_in(path) - before
    expected = seconds / 10
    if abs(count - expected) > 1:
        raise MeasurementError(f"{count} readings in {seconds:g} s, not {expected:g}")
    return used_s / passed_s, memory


def _last(path: Path, stream: str) -> bytes:
    """The last record of a stream; of a reading, one in which nothing has failed."""
    spool = Spool(path, STATION)
    bodies = spool.recent(stream, 2)  # type: ignore[arg-type]
    spool.close()
    if not bodies or b"null" in bodies[-1]:
        raise MeasurementError(f"a sensor has failed: {bodies[-1:]!r}")
    return bodies[-1]


def _in_spool(path: Path, body: bytes) -> float:
    """Bytes that a record of this size takes in a spool that holds many."""
    document = msgspec.json.decode(body)
    spool = Spool(path, STATION)
    before = spool.file.used_bytes
    for _ in range(COPIES // 200):
        spool.append("w", [document] * 200)
    used = spool.file.used_bytes - before
    spool.close()
    return used / COPIES
