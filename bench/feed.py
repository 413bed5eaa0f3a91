"""From a reading taken to seen on the live feed: 100 stations, a reading per second each.

Real agents (sampler, pipeline, spool on disk, sender) share a few processes; each has threads, a
key and a connection of its own, and a wall clock of its own, and they begin one after another:
a hundred Pis would not press through two cores, or sync to one disk, at one instant. A reading is
taken when its source returns, and seen when a subscriber's `recv` returns; both processes read
the same monotonic clock. The process that plays stations is `python -m bench.feed FOLDER`.
"""

from __future__ import annotations

import statistics
import sys
import threading
import time
from collections.abc import Collection, Mapping
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import msgspec
import zmq

from bench.figures import Figure, MeasurementError
from bench.processes import Process, python
from bench.stage import Stage, forwarder, write_toml
from clima_agent import config
from clima_agent.agent import Agent, open_spool
from clima_agent.clock import Keeper, System
from clima_agent.connection import Forwarder
from clima_agent.inbox import Inbox
from clima_agent.pipeline import Pipeline
from clima_agent.sampler import KeptClock, Sampler
from clima_agent.sender import Sender
from clima_agent.sources import Measured, Setting
from clima_agent.sources.simulated import Simulated, SimulatedSource
from clima_core import keys
from clima_core.reading import rfc3339

PROCESSES = 2
BEGIN_S = 20.0  # in which all begin, one after another
SETTLE_S = 5.0  # until the last is connected
LOOK_MS = 100  # without a reading, before it looks whether there will be more
Taken = dict[str, float]  # station and @timestamp -> monotonic seconds


class _Seen(NamedTuple):
    station: str
    time: str
    at: float


def measure(directory: Path, *, quick: bool) -> list[Figure]:
    """The latency's median and its 99th percentile."""
    stations, seconds, begin_s = (10, 3.0, 1.0) if quick else (100, 30.0, BEGIN_S)
    with forwarder(directory / "stage") as stage:
        folders = [directory / f"process-{number}" for number in range(PROCESSES)]
        for folder in folders:
            folder.mkdir()
        for number in range(stations):
            _configure(stage, folders[number % PROCESSES], f"station-{number}")
        duration = begin_s + SETTLE_S + seconds
        players = [
            Process(
                "stations", python("bench.feed", str(folder), str(begin_s), str(duration)), folder
            )
            for folder in folders
        ]
        try:
            seen = _watch(stage, players)
        finally:
            for player in players:
                player.wait_for("played")
                player.stop()
    taken: Taken = {}
    for folder in folders:
        taken |= msgspec.json.decode((folder / "taken.json").read_bytes(), type=Taken)
    return _figures(taken, seen)


def _figures(taken: Taken, seen: list[_Seen]) -> list[Figure]:
    began: Taken = {}
    for key, moment in taken.items():
        station = key.partition(" ")[0]
        began[station] = min(moment, began.get(station, moment))
    begin, end = max(began.values()) + SETTLE_S, max(taken.values()) - 1.0
    at = {f"{each.station} {each.time}": each.at for each in seen}
    steady = {key: moment for key, moment in taken.items() if begin <= moment <= end}
    latencies = [(at[key] - moment) * 1000 for key, moment in steady.items() if key in at]
    if len(latencies) < 0.99 * len(steady) or not steady:
        raise MeasurementError(f"{len(latencies)} of {len(steady)} readings were seen live")
    hundredths = statistics.quantiles(latencies, n=100)
    return [
        Figure("live feed, p50", hundredths[49], "ms", 10),
        Figure("live feed, p99", hundredths[98], "ms", 50),
    ]


def _configure(stage: Stage, folder: Path, station: str) -> None:
    """A folder for the station, let in, with its configuration."""
    own = folder / station
    own.mkdir()
    stage.admit(station, keys.load_or_create(own / "agent.key"))
    write_toml(
        own / "agent.toml",
        station={"id": station, "elevation_m": 104},
        sampling={"interval_s": 1},
        spool={"directory": str(own)},
        identity={"key_file": str(own / "agent.key")},
        forwarders=[{"address": f"tcp://127.0.0.1:{stage.port}", "public_key": stage.keys.public}],
    )


class _Live(msgspec.Struct):
    timestamp: str = msgspec.field(name="@timestamp")


def _watch(stage: Stage, players: list[Process]) -> list[_Seen]:
    """What a subscriber sees until the last player has ended."""
    seen: list[_Seen] = []
    live = msgspec.json.Decoder(_Live)
    with zmq.Context() as context, context.socket(zmq.SUB) as socket:
        socket.linger = 0
        socket.connect(f"tcp://127.0.0.1:{stage.feed_port}")
        socket.subscribe(b"")
        while any(player.running for player in players):
            while socket.poll(LOOK_MS):
                topic, reading = socket.recv_multipart()
                at = time.monotonic()
                name = topic.decode().partition(".")[2]
                seen.append(_Seen(name, live.decode(reading).timestamp, at))
    return seen


# -- the process that plays stations -----------------------------------------------------------


class _Machine(System):
    """A station's clock, some part of a second ahead."""

    def __init__(self, ahead_s: float) -> None:
        super().__init__()
        self._ahead_s = ahead_s

    def wall(self) -> float:
        return time.time() + self._ahead_s


class _Timed:
    """A source that notes when each reading was taken."""

    def __init__(self, source: SimulatedSource, station: str, taken: Taken) -> None:
        self._source = source
        self._station = station
        self._taken = taken

    @property
    def quantities(self) -> Collection[str]:
        return self._source.quantities

    def read(self, at: datetime, /) -> Mapping[str, Measured]:
        said = self._source.read(at)
        self._taken[f"{self._station} {rfc3339(at)}"] = time.monotonic()
        return said

    def close(self) -> None:
        self._source.close()


def _play(folder: Path, ahead_s: float, taken: Taken, stop: threading.Event) -> None:
    """One station, in the thread that owns its spool and its socket."""
    configured = config.load(folder / "agent.toml", {})
    clock = Keeper("system", machine=_Machine(ahead_s))
    simulated = Simulated(seed=int(folder.name.rpartition("-")[2])).open(Setting(clock.now(), 1.0))
    sampler = Sampler(
        {"simulated": _Timed(simulated, configured.station.id, taken)},
        Pipeline(elevation_m=configured.station.elevation_m),
        interval_s=configured.sampling.interval_s,
        clock=KeptClock(clock),
    )
    spool = open_spool(configured, clock.now)
    with zmq.Context() as context:
        sender = Sender(
            spool,
            [Forwarder(each.address, each.key()) for each in configured.forwarders],
            keys.load(configured.identity.key_file),
            monotonic=time.monotonic,
            now=clock.now,
            context=context,
        )
        agent = Agent(configured, sampler, spool, sender, Inbox(), clock)
        threading.Thread(target=_end, args=(agent, stop), daemon=True).start()
        agent.run()


def _end(agent: Agent, stop: threading.Event) -> None:
    stop.wait()
    agent.wake()


def play(folder: Path, begin_s: float, seconds: float) -> None:
    """Run every station of the folder until so long has passed; then write down what was taken."""
    taken: Taken = {}
    stop = threading.Event()
    stations = sorted(each for each in folder.iterdir() if each.is_dir())
    threads = [
        threading.Thread(target=_play, args=(station, number / len(stations), taken, stop))
        for number, station in enumerate(stations)
    ]
    end = time.monotonic() + seconds
    for thread in threads:
        thread.start()
        time.sleep(begin_s / len(threads))
    time.sleep(end - time.monotonic())
    stop.set()
    for thread in threads:
        thread.join()
    (folder / "taken.json").write_bytes(msgspec.json.encode(taken))
    print("played", flush=True)


if __name__ == "__main__":
    play(Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]))
