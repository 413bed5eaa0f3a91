"""A forwarder with the null sink behind it, in a folder of their own, and agents beside them."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import msgspec

from bench.figures import MeasurementError
from bench.processes import Process, python, until
from bench.sink import Counts
from clima_core import keys
from clima_core.identity import DATA_SETS
from clima_core.keys import KeyPair
from clima_forwarder.stations import Stations


class Stage:
    """The running forwarder, and what has arrived behind it."""

    def __init__(self, directory: Path, sink_port: int) -> None:
        self.directory = directory
        self.port, self.feed_port, self.http_port = free_ports(3)
        self._sink_port = sink_port
        self.keys = keys.load_or_create(directory / "forwarder.key")
        self.forwarder: Process  # once it runs

    def command(self, heartbeat_s: float) -> list[str]:
        """Write the configuration; what starts the forwarder with it."""
        write_toml(
            self.directory / "forwarder.toml",
            stations={
                "listen": f"tcp://127.0.0.1:{self.port}",
                "directory": "stations",
                "key_file": "forwarder.key",
                "heartbeat_s": heartbeat_s,
            },
            pairing={"enabled": False},
            feed={"address": f"tcp://127.0.0.1:{self.feed_port}"},
            http={"port": self.http_port},
            output={"type": "elasticsearch", "url": f"http://127.0.0.1:{self._sink_port}"},
        )
        return python("clima_forwarder", "forward", "--config", "forwarder.toml")

    def admit(self, station: str, pair: KeyPair | None = None) -> KeyPair:
        """Let a station in; its key pair, a new one unless given."""
        pair = pair or keys.generate()
        Stations(self.directory / "stations").add(station, pair.public)
        return pair

    def ready(self) -> bool:
        """Whether the forwarder says so itself."""
        try:
            with urlopen(f"http://127.0.0.1:{self.http_port}/readyz") as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def counts(self) -> Counts:
        """What the sink has of the weather."""
        with urlopen(f"http://127.0.0.1:{self._sink_port}/_counts") as answer:
            counts = msgspec.json.decode(answer.read(), type=dict[str, Counts])
        return counts.get(DATA_SETS["w"].name, Counts())

    def expect(self, count: int) -> None:
        """MeasurementError unless each of `count` readings was given to the sink once."""
        if self.counts() != Counts(count, count):
            raise MeasurementError(f"{count} readings became {self.counts()} in the sink")


@contextmanager
def forwarder(directory: Path, heartbeat_s: float = 15.0) -> Iterator[Stage]:
    """A stage in a new folder, its forwarder ready to take readings."""
    directory.mkdir()
    with Process("sink", python("bench.sink", "0"), directory) as sink:
        sink.wait_for("listening")
        stage = Stage(directory, int(sink.log.read_text().split()[1]))
        with Process("forwarder", stage.command(heartbeat_s), directory) as stage.forwarder:
            until(stage.ready, "the forwarder is not ready", stage.forwarder)
            yield stage


def agent_command(
    directory: Path, **tables: Mapping[str, Any] | list[Mapping[str, Any]]
) -> list[str]:
    """Write the configuration of an agent that believes its clock; what starts it."""
    write_toml(directory / "agent.toml", clock={"trust": "system"}, **tables)
    return python("clima_agent", "run", "--config", "agent.toml")


def unit_environ() -> dict[str, str]:
    """What the agent's systemd unit puts into its environment."""
    unit = Path(__file__).parents[1] / "agent/systemd/clima-agent.service"
    lines = [line for line in unit.read_text("utf-8").splitlines() if "=" in line]
    given = " ".join(line.partition("=")[2] for line in lines if line.startswith("Environment="))
    pairs = (pair.partition("=") for pair in given.split())
    return {name: value for name, _, value in pairs if name != "CLIMA_AGENT_CONFIG"}


def replayed(chips: Mapping[str, Mapping[str, Mapping[str, str]]]) -> list[Mapping[str, Any]]:
    """Sensors that play `weather.csv`, one for each chip."""
    return [
        {
            "driver": "replay",
            "name": "replay" if number == 1 else f"replay-{number}",
            "path": "weather.csv",
            "columns": columns,
        }
        for number, columns in enumerate(chips.values(), 1)
    ]


def write_toml(path: Path, **tables: Mapping[str, Any] | list[Mapping[str, Any]]) -> None:
    """Tables of plain values, and lists of such tables."""
    lines = []
    for name, table in tables.items():
        for each in table if isinstance(table, list) else [table]:
            lines.append(f"[[{name}]]" if isinstance(table, list) else f"[{name}]")
            lines += [f"{key} = {_toml(value)}" for key, value in each.items()]
    path.write_text("\n".join(lines) + "\n", "utf-8")


def _toml(value: object) -> str:
    """A value on one line; a table becomes an inline one."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f'"{key}" = {_toml(item)}' for key, item in value.items()) + "}"
    return msgspec.json.encode(value).decode()


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens at."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
