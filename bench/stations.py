"""2,000 connected stations at a reading per 10 s: what that costs one forwarder.

The stations are a lean load (`python -m bench.stations FOLDER …`): the protocol of docs/protocol.md
with a key and a DEALER socket each, but no spool. Each sends a LIVE message per reading, a BATCH
of three per commit window and a PING per heartbeat, as the agent does by default, at moments of
its own. CPU is the forwarder's over the steady state, from its account; every record that was
sent has to arrive in the sink once.
"""

from __future__ import annotations

import heapq
import random
import resource
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import zmq

from bench import records
from bench.figures import Figure, MeasurementError
from bench.processes import Process, python, until
from bench.stage import Stage, forwarder
from clima_core import keys, wire
from clima_core.configuration import Secret
from clima_core.identity import DATA_SETS, Lane, event_id, new_journal
from clima_core.keys import KeyPair
from clima_core.reading import rfc3339

PROCESSES = 2
INTERVAL_S, WINDOW_S, HEARTBEAT_S = 10.0, 30.0, 15.0
CONNECT_S = 20.0  # in which all connect, one after another; all divided by `pace`
PER_BATCH = int(WINDOW_S / INTERVAL_S)


def measure(directory: Path, *, quick: bool) -> list[Figure]:
    """CPU and memory of the forwarder while all are connected."""
    count, seconds, pace = (40, 5.0, 10.0) if quick else (2000, 40.0, 1.0)
    with forwarder(directory / "stage", HEARTBEAT_S / pace) as stage:
        loads = []
        for number in range(PROCESSES):
            folder = directory / f"load-{number}"
            folder.mkdir()
            _admit(stage, folder, count // PROCESSES, number)
            arguments = (str(folder), str(stage.port), stage.keys.public, str(pace))
            loads.append(Process("load", python("bench.stations", *arguments), folder))
        for load in loads:
            load.wait_for("all welcome", 6 * CONNECT_S)
        time.sleep(WINDOW_S / pace / 3)  # past the wave of HELLOs
        before, began = stage.forwarder.cpu_s, time.monotonic()
        time.sleep(seconds)
        share = (stage.forwarder.cpu_s - before) / (time.monotonic() - began)
        resident = stage.forwarder.memory()
        for load in loads:
            load.stop()
        sent = sum(int(load.log.read_text().split()[-1]) for load in loads)
        until(lambda: stage.counts().given >= sent, f"not all of {sent} arrived")
        stage.expect(sent)
    if not sent:
        raise MeasurementError("nothing was sent")
    return [
        Figure(f"{count:,} stations: CPU", share * 100, "% of a core", 25),
        Figure(f"{count:,} stations: RSS", resident, "MB", 200),
    ]


def _admit(stage: Stage, folder: Path, count: int, number: int) -> None:
    """Let stations in by their files: `add` looks at all others each time, as it should."""
    pairs = {}
    for index in range(count):
        name, pair = f"station-{number}-{index}", keys.generate()
        keys.write_certificate(stage.directory / "stations" / f"{name}.key", pair.public, {})
        pairs[name] = (pair.public, pair.secret.reveal())
    (folder / "keys.json").write_bytes(msgspec.json.encode(pairs))


# -- the process that is a thousand stations ---------------------------------------------------


class _Station:
    """One station: what it sends when, by its own schedule."""

    def __init__(self, name: str, pair: KeyPair, reading: dict[str, object]) -> None:
        self.name = name
        self.pair = pair
        self.lane = Lane(new_journal(), "w")
        self.sent = 0
        self.socket: zmq.Socket[bytes]
        self._reading = reading
        self._bodies: list[bytes] = []

    def connect(self, context: zmq.Context[zmq.Socket[bytes]], port: int, server: str) -> None:
        self.socket = context.socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.curve_serverkey = server.encode()
        self.socket.curve_publickey = self.pair.public.encode()
        self.socket.curve_secretkey = self.pair.secret.reveal().encode()
        self.socket.connect(f"tcp://127.0.0.1:{port}")
        hello = wire.Hello([1], "bench", self.name, datetime.now(UTC), [self._report()])
        self.socket.send_multipart(wire.encode(hello))

    def read(self, packer: wire.Packer) -> None:
        """Take a reading: LIVE, and with every third a BATCH."""
        number = self.sent + len(self._bodies) + 1
        body = msgspec.json.encode(
            {
                **self._reading,
                "@timestamp": rfc3339(datetime.now(UTC)),
                "data_stream": DATA_SETS["w"]._asdict(),
                "event": {"id": event_id(self.name, self.lane, number), "sequence": number},
                "station": {"id": self.name, "journal": self.lane.journal},
            }
        )
        self.socket.send_multipart(wire.encode(wire.Live(), body))
        self._bodies.append(body)
        if len(self._bodies) == PER_BATCH:
            frames = packer.pack(self.lane, self.sent + 1, self._bodies)
            self.socket.send_multipart(frames)
            self.sent += len(self._bodies)
            self._bodies = []

    def ping(self) -> None:
        ping = wire.Ping(datetime.now(UTC), [self._report()])
        self.socket.send_multipart(wire.encode(ping))

    def _report(self) -> wire.LaneReport:
        return wire.LaneReport(*self.lane, first=1, last=self.sent, since=records.START)


class _Load:
    """All stations of one process, and what each has to do when."""

    def __init__(self, stations: list[_Station], port: int, server: str, pace: float) -> None:
        self._stations = stations
        self._port = port
        self._server = server
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._context.max_sockets = 3 * len(stations) + 10
        self._poller = zmq.Poller()
        self._by_socket: dict[zmq.Socket[bytes], int] = {}
        self._packer = wire.Packer()
        self._chance = random.Random(3)
        self._every = {"read": INTERVAL_S / pace, "ping": HEARTBEAT_S / pace}
        self._welcome = 0
        pause, now = CONNECT_S / pace / len(stations), time.monotonic()
        self._due = [(now + pause * index, index, "connect") for index in range(len(stations))]

    def step(self) -> None:
        """Wait for what comes first, an answer or something that is due, and do it."""
        first = self._due[0][0] if self._due else time.monotonic() + 1.0
        for socket, _ in self._poller.poll(int(max(0.0, first - time.monotonic()) * 1000)):
            while socket.poll(0):
                message = wire.decode_from_forwarder(socket.recv_multipart())
                if isinstance(message, wire.Welcome):
                    self._begin(self._by_socket[socket])
        while self._due and self._due[0][0] <= time.monotonic():
            self._act(*heapq.heappop(self._due))

    def _begin(self, index: int) -> None:
        for what, every in self._every.items():
            moment = time.monotonic() + self._chance.uniform(0, every)
            heapq.heappush(self._due, (moment, index, what))
        self._welcome += 1
        if self._welcome == len(self._stations):
            print("all welcome", flush=True)

    def _act(self, moment: float, index: int, what: str) -> None:
        station = self._stations[index]
        if what == "connect":
            station.connect(self._context, self._port, self._server)
            self._poller.register(station.socket, zmq.POLLIN)
            self._by_socket[station.socket] = index
            return
        if what == "read":
            station.read(self._packer)
        else:
            station.ping()
        heapq.heappush(self._due, (moment + self._every[what], index, what))


def load(folder: Path, port: int, server: str, pace: float) -> None:
    """Be all the stations of the folder until asked to end; then say how much was sent."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 20_000)), hard))
    pairs = msgspec.json.decode((folder / "keys.json").read_bytes(), type=dict[str, list[str]])
    reading = next(records.documents("full", 1))
    stations = [
        _Station(name, KeyPair(public, Secret(secret)), reading)
        for name, (public, secret) in pairs.items()
    ]
    everybody = _Load(stations, port, server, pace)
    ended = _ended_by_signal()
    while not ended:
        everybody.step()
    time.sleep(3.0)  # for what is on its way
    print(sum(station.sent for station in stations), flush=True)


def _ended_by_signal() -> list[int]:
    """Empty until the process is asked to end."""
    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: ended.append(number))
    return ended


if __name__ == "__main__":
    load(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], float(sys.argv[4]))
