"""`clima watch`: the readings as they come in, from the forwarder's live feed.

What is shown is fresh and unpromised: a reading appears before it is stored, and one that this
terminal is too slow for is left out. What is stored is for `clima readings` to say.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import zmq
from rich.console import Console
from rich.live import Live
from rich.table import Table

from clima_core.errors import EXIT_OK
from clima_core.reading import QUANTITIES
from clima_forwarder import config
from clima_forwarder.cli import add_config
from clima_forwarder.feed import TOPIC

HELP = "watch the readings come in"
HINT_AFTER_S = 15

Reading = Mapping[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add_config(parser)
    parser.add_argument("--feed", metavar="ADDRESS", help="default: feed.address of the config")
    parser.add_argument("--station", default="", help="only the station of this id")
    parser.add_argument("--count", type=int, default=0, metavar="N", help="end after N readings")
    parser.add_argument("--json", action="store_true", help="one JSON object per reading")


def run(arguments: argparse.Namespace) -> int:
    """Watch until interrupted, or until `--count` readings have come."""
    address = arguments.feed or config.load(arguments.config, os.environ).feed.address
    console = Console()
    readings = _readings(address.replace("*", "127.0.0.1"), arguments.station, arguments.count)
    if arguments.json or not console.is_terminal:
        for reading in readings:
            print(msgspec.json.encode(reading).decode() if arguments.json else line(reading))
    else:
        _watch(console, readings)
    return EXIT_OK


def _readings(address: str, station: str, count: int) -> Iterator[Reading]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
    with context.socket(zmq.SUB) as socket:
        socket.linger = 0
        socket.connect(address)
        socket.subscribe(TOPIC + station.encode())
        if not socket.poll(HINT_AFTER_S * 1000):
            Console(stderr=True).print(
                f"nothing on {address} for {HINT_AFTER_S} s: is the forwarder running, and a"
                " station connected?"
            )
        seen = 0
        while not count or seen < count:
            topic, body = socket.recv_multipart()
            if station and topic != TOPIC + station.encode():
                continue  # a subscription is to a prefix: "roof" hears "roof-2" too
            seen += 1
            yield msgspec.json.decode(body)


def _watch(console: Console, readings: Iterator[Reading]) -> None:
    latest: dict[str, Reading] = {}
    with Live(console=console, auto_refresh=False) as live:
        for reading in readings:
            latest[reading["station"]["id"]] = reading
            live.update(table(latest), refresh=True)


def table(latest: Mapping[str, Reading]) -> Table:
    """A row per station; a column per quantity that any of them measures."""
    measured = [
        name
        for name in QUANTITIES
        if any(name in each.get("weather", {}) for each in latest.values())
    ]
    view = Table(title="Clima: live", title_justify="left")
    view.add_column("station")
    view.add_column("time (UTC)")
    for name in measured:
        view.add_column(f"{name.replace('_', ' ')}\n{QUANTITIES[name].unit}", justify="right")
    for station in sorted(latest):
        cells = [_value(latest[station], name) for name in measured]
        view.add_row(station, _time(latest[station]), *cells)
    return view


def line(reading: Reading) -> str:
    """A reading on one line, for a log."""
    values = (
        f"{name}={_value(reading, name)}{QUANTITIES[name].unit}"
        for name in QUANTITIES
        if name in reading.get("weather", {})
    )
    return f"{_time(reading)} {reading['station']['id']} {' '.join(values)}"


def _time(reading: Reading) -> str:
    return str(reading["@timestamp"])[:19].replace("T", " ")


def _value(reading: Reading, name: str) -> str:
    """The value with its decimals; `-` for unusable; flagged ones are marked."""
    weather = reading.get("weather", {})
    if name not in weather:
        return ""
    if (value := weather[name]) is None:
        return "-"
    flags = set(reading.get("quality", {}).get(name, ())) - {"derived"}
    return f"{value:.{QUANTITIES[name].decimals}f}{'!' if flags else ''}"
