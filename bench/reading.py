"""From a reading taken to a reading spooled: CPU per reading.

Two ways. `taken to spooled` is the road of the reading itself, driven one reading at a time in
this process: sampler, pipeline, document, a transaction of its own, its share of a sync every
commit window. `the whole agent` is everything that a real agent does meanwhile: a recording of
three chips is played at a hundred times its pace, with the commit window and the interval of
health reports shortened alike. It waits in between as in life, so caches are cold, and waking
threads, the health report and the loop are in it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from pathlib import Path

from bench import records
from bench.figures import Figure, MeasurementError
from bench.processes import Process
from bench.stage import agent_command, replayed
from clima_agent import config as options
from clima_agent import document
from clima_agent.config import Configuration
from clima_agent.pipeline import Pipeline
from clima_agent.sampler import Sampler
from clima_agent.sources import Measured
from clima_agent.spool import Spool
from clima_agent.spool.file import SpoolFile
from clima_agent.spool.ledger import ledgers_in

SPEED = 100
PATIENCE_S = 180.0


def compressed(speed: float = SPEED) -> tuple[dict[str, float], dict[str, float]]:
    """The tables `sampling` and `spool`: the defaults at so many times their pace."""
    usual, window_s = options.Sampling(), options.Spool().commit_window_s
    sampling = {"speed": speed, "health_interval_s": usual.health_interval_s / speed}
    return sampling, {"commit_window_s": window_s / speed}


def measure(directory: Path, *, quick: bool) -> list[Figure]:
    """CPU per reading, both ways."""
    road = statistics.median(
        _road(directory / f"{run}.db", 200 if quick else 3000) for run in range(1 if quick else 3)
    )
    agent = _agent(directory, 30 if quick else 300)
    return [
        Figure("reading taken to spooled", road, "CPU ms", 0.3),
        Figure("the whole agent, per reading", agent, "CPU ms"),
    ]


def _road(path: Path, count: int) -> float:
    """Milliseconds of CPU per reading, all threads."""
    config = Configuration(station=records.FULL)
    per_window = round(config.spool.commit_window_s / config.sampling.interval_s)
    spool = Spool(path, config.station.id)
    readings = _Readings(count)
    sampler = Sampler({"phat": readings}, Pipeline(elevation_m=104.0), interval_s=10.0)
    began = time.process_time()
    for number, at in enumerate(readings.times(), 1):
        draft = sampler.take(at)
        spool.append("w", [document.weather(draft, config.station, at)])
        if number % per_window == 0:
            spool.sync()
    taken_s = time.process_time() - began
    spool.close()
    return taken_s / count * 1000


class _Readings:
    """A source that has its readings ready, so that they cost nothing."""

    def __init__(self, count: int) -> None:
        self._said = {at: records.said(values) for at, values in records.weather(count)}

    @property
    def quantities(self) -> Collection[str]:
        return ()

    def times(self) -> Iterator[datetime]:
        return iter(self._said)

    def read(self, at: datetime, /) -> Mapping[str, Measured]:
        return self._said[at]["htu21d"] | self._said[at]["bmp180"] | self._said[at]["bh1750"]

    def close(self) -> None:
        self._said.clear()


def _agent(directory: Path, count: int) -> float:
    sampling, spool = compressed()
    command = agent_command(
        directory,
        station={"id": "school-1", "elevation_m": 104},
        sampling=sampling,
        spool={"directory": "spool", **spool},
        identity={"key_file": "agent.key"},
        sensors=replayed(records.write_csv(directory / "weather.csv", count)),
    )
    with Process("agent", command, directory) as agent:
        agent.wait_for("agent_started")
        before = agent.cpu_s
        agent.wait_for("agent_stopped", PATIENCE_S)
        usage = agent.stop()
    spooled = readings_in(directory / "spool" / "spool.db")
    if spooled != count:
        raise MeasurementError(f"{spooled} of {count} readings were spooled")
    return (usage.ru_utime + usage.ru_stime - before) / count * 1000


def readings_in(path: Path) -> int:
    """How many readings a spool has numbered."""
    file = SpoolFile(path, read_only=True)
    count = sum(ledger.last for lane, ledger in ledgers_in(file).items() if lane.stream == "w")
    file.close()
    return count
