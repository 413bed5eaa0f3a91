"""By way of Logstash: what it costs to wait for Elasticsearch's word, and how long that takes.

Stations send to a real forwarder, which posts to the tests' stand-in for Logstash
(tests/logstash_standin), and that writes to a real Elasticsearch. Three things are measured:

- The forwarder's CPU per record, beside that of the same forwarder that takes Logstash's answer
  for an acknowledgement (`python -m bench.logstash`). Runs of both take turns.
- The time from a batch sent to its ACK, with the refresh that Elasticsearch has by default.
- How long it takes to ask for two thousand stations at once what of theirs is stored.

It takes an Elasticsearch, so this part runs only where it is named.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from bench.figures import Figure, MeasurementError
from bench.processes import Process, python, until
from bench.stage import free_ports, write_toml
from clima_core import keys, wire
from clima_core.configuration import Secret
from clima_core.identity import Lane, new_journal
from clima_core.keys import KeyPair
from clima_core.ranges import Ranges
from clima_forwarder.cli import main as forwarder
from clima_forwarder.outputs import elasticsearch, logstash
from clima_forwarder.outputs.base import Confirmed, Document
from clima_forwarder.outputs.elasticsearch.output import Output as Straight
from clima_forwarder.outputs.logstash.idleness import Pace
from clima_forwarder.outputs.logstash.output import Output
from clima_forwarder.stations import Stations
from tests import elasticsearch_server, logstash_standin
from tests.forwarder.client import NOON, Client, record
from tests.logstash_standin import StandIn

STATIONS, RECORDS = 20, 500  # records of a batch
PAUSE_S = (
    4.0  # about: at a pace that Elasticsearch keeps up with, or one of the two runs is the longer
)
PATIENCE_S = 300.0
Pairs = dict[str, KeyPair]


def measure(directory: Path, *, quick: bool) -> list[Figure]:
    """All three, with an Elasticsearch of its own or `CLIMA_TEST_ELASTICSEARCH_URL`."""
    server = elasticsearch_server.launch()
    if server is None:
        raise MeasurementError("no Elasticsearch: see tests/elasticsearch_server.py for how")
    try:
        for stand_in in logstash_standin.running(directory / "logstash", server.url):
            options = logstash.Options(
                url=stand_in.url,
                username=stand_in.username,
                password=Secret(stand_in.password),
                statistics_url=stand_in.statistics_url,
                elasticsearch=elasticsearch.Options(url=server.url),
            )
            return [
                *_cost(directory, stand_in, server.url, quick=quick),
                *_delay(directory, stand_in, server.url, quick=quick),
                *asyncio.run(_search(options, 50 if quick else 2000)),
            ]
    finally:
        server.stop()
    raise AssertionError


# -- CPU -----------------------------------------------------------------------------------------


def _cost(directory: Path, stand_in: StandIn, url: str, *, quick: bool) -> list[Figure]:
    batches, repeats, pause_s = (1, 1, 1.0) if quick else (6, 3, PAUSE_S)
    spent: dict[str, list[float]] = {"clima_forwarder": [], "bench.logstash": []}
    for number in range(repeats):
        for module, runs in spent.items():
            folder = directory / f"{module}-{number}"
            with _Run(folder, stand_in, url, module) as run:
                began = run.forwarder.cpu_s
                asyncio.run(run.send(batches, RECORDS, pause_s))
                runs.append(run.forwarder.cpu_s - began)
            until(lambda: _idle(stand_in), "Logstash does not become idle", patience_s=PATIENCE_S)
    confirmed, accepted = (statistics.median(runs) for runs in spent.values())
    millions = STATIONS * batches * RECORDS / 1e6
    return [
        Figure("forwarder to Logstash, accepted", accepted / millions, "CPU s/million"),
        Figure("forwarder to Logstash, confirmed", confirmed / millions, "CPU s/million"),
        Figure("confirmation: more CPU than acceptance", (confirmed / accepted - 1) * 100, "%", 15),
    ]


def _idle(stand_in: StandIn) -> bool:
    events = stand_in.statistics()["readings"]["events"]
    return bool(events["in"] == events["out"])


# -- the time until it is acknowledged -------------------------------------------------------------


def _delay(directory: Path, stand_in: StandIn, url: str, *, quick: bool) -> list[Figure]:
    with _Run(directory / "delay", stand_in, url, "clima_forwarder") as run:
        times = asyncio.run(run.send(3 if quick else 20, 3, pause_s=2.0))
    ninety = statistics.quantiles(times, n=10)[-1]
    return [
        Figure("batch sent to ACK through Logstash, median", statistics.median(times), "s", 3),
        Figure("batch sent to ACK through Logstash, 90 %", ninety, "s"),
    ]


class _Run:
    """A forwarder in a folder of its own, and the stations that send to it."""

    def __init__(self, folder: Path, stand_in: StandIn, url: str, module: str) -> None:
        folder.mkdir()
        self._folder = folder
        self._listen, feed, self._http = free_ports(3)
        self._server_key = keys.load_or_create(folder / "forwarder.key").public
        self._pairs: Pairs = {f"bench-{new_journal()}": keys.generate() for _ in range(STATIONS)}
        for name, pair in self._pairs.items():
            Stations(folder / "stations").add(name, pair.public)
        write_toml(
            folder / "forwarder.toml",
            stations={
                "listen": f"tcp://127.0.0.1:{self._listen}",
                "directory": "stations",
                "key_file": "forwarder.key",
            },
            pairing={"enabled": False},
            feed={"address": f"tcp://127.0.0.1:{feed}"},
            http={"port": self._http},
            output={
                "type": "logstash",
                "url": stand_in.url,
                "username": stand_in.username,
                "password": stand_in.password,
                "statistics_url": stand_in.statistics_url,
                "elasticsearch": {"url": url},
            },
        )
        self._command = python(module, "forward", "--config", "forwarder.toml")
        self.forwarder: Process

    def __enter__(self) -> _Run:
        self.forwarder = Process("forwarder", self._command, self._folder)
        ready = f"http://127.0.0.1:{self._http}/readyz"
        until(lambda: answers(ready), "the forwarder is not ready", self.forwarder, PATIENCE_S)
        return self

    def __exit__(self, *_: object) -> None:
        self.forwarder.stop()

    async def send(self, batches: int, size: int, pause_s: float) -> list[float]:
        """So many batches of each station; the seconds from each batch to its acknowledgement."""
        address = f"tcp://127.0.0.1:{self._listen}"
        sent = await asyncio.gather(
            *(
                _station(Client(address, self._server_key, pair, name), batches, size, pause_s)
                for name, pair in self._pairs.items()
            )
        )
        return [seconds for times in sent for seconds in times]


async def _station(client: Client, batches: int, size: int, pause_s: float) -> list[float]:
    """One station: one batch after each pause, and the next when it is acknowledged."""
    lane = Lane(new_journal(), "w")
    times = list[float]()
    async with client:
        await client.open({lane: 0})
        for number in range(batches):
            # at moments of its own, and not all stations at once
            await asyncio.sleep(random.uniform(0.5, 1.5) * pause_s)
            missing = Ranges([(number * size + 1, (number + 1) * size)])
            await client.batch(
                missing.first or 0, [_record(client, lane, n) for n in missing], lane
            )
            sent = time.monotonic()
            while missing:
                missing -= await _acknowledged(client)
            times.append(time.monotonic() - sent)
    return times


def _record(client: Client, lane: Lane, number: int) -> bytes:
    moment = NOON + timedelta(seconds=number)
    return record(client.station, number, lane=lane, moment=moment)


async def _acknowledged(client: Client) -> Ranges:
    """What the next message acknowledges; forwarder and Elasticsearch may be busy for long."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            with suppress(TimeoutError):
                message = await client.receive()
                break
    if isinstance(message, wire.Nack):
        raise MeasurementError(f"{client.station}: {message.code}: {message.message}")
    return Ranges(message.ranges) if isinstance(message, wire.Ack) else Ranges()


def answers(url: str) -> bool:
    """Whether it answers 200."""
    from urllib.request import urlopen  # noqa: PLC0415

    try:
        with urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


# -- one search for all --------------------------------------------------------------------------


async def _search(options: logstash.Options, stations: int) -> list[Figure]:
    """Everybody's last three records, stored already, are asked for at once."""
    lane = Lane(new_journal(), "w")
    names = [f"bench-{lane.journal}-{number}" for number in range(stations)]
    straight = Straight(options.elasticsearch)
    output = Output(options, Pace(poll_s=0.0))
    try:
        await straight.open()
        for start in range(0, stations, 500):
            some = names[start : start + 500]
            await straight.create([each for name in some for each in _three(name, lane)])
        await straight.find(names[0], lane, 1, 3, since=time.monotonic())  # it refreshes
        times = [await _ask(output, names, lane) for _ in range(5)]
    finally:
        await straight.close()
        await output.close()
    return [Figure(f"confirmation of {stations:,} stations", statistics.median(times), "s")]


def _three(station: str, lane: Lane) -> list[Document]:
    return [
        Document(station, lane, n, NOON, record(station, n, lane=lane, moment=NOON))
        for n in (1, 2, 3)
    ]


async def _ask(output: Output, names: Sequence[str], lane: Lane) -> float:
    began, sequences = time.monotonic(), Ranges([(1, 3)])
    found = await asyncio.gather(
        *(output.confirmed(name, lane, sequences, began) for name in names)
    )
    if set(found) != {Confirmed(sequences)}:
        raise MeasurementError("not all of what is stored was confirmed")
    return time.monotonic() - began


def main() -> None:
    """The forwarder, for which accepted is stored."""

    async def at_once(
        _output: Output, _station: str, _lane: Lane, sequences: Ranges, _since: float, /
    ) -> Confirmed:
        return Confirmed(sequences)

    setattr(Output, "confirmed", at_once)  # noqa: B010
    sys.exit(forwarder())


if __name__ == "__main__":
    main()
