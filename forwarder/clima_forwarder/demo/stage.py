"""Sets the stage of the demo: a folder with the configuration and keys of every part.

Each file is one that a user could have written, so the folder is an example to look at.
"""

from __future__ import annotations

import csv
import json
import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.resources import as_file, files
from pathlib import Path

from clima_core import keys
from clima_core.errors import ConfigurationError
from clima_forwarder.stations import Stations

MARKER = ".clima-demo"
RECORDING = "nyc-airports-2013.csv"
SIMULATED_DAYS, SIMULATED_STEP_S = 30, 600

_COLUMNS = """\
columns.temperature_f = { quantity = "air_temperature", unit = "degF" }
columns.dew_point_f = { quantity = "dew_point_temperature", unit = "degF" }
columns.relative_humidity_pct = { quantity = "relative_humidity", unit = "%" }
columns.wind_direction_deg = { quantity = "wind_from_direction", unit = "deg" }
columns.wind_speed_mph = { quantity = "wind_speed", unit = "mph" }
columns.wind_gust_mph = { quantity = "wind_speed_of_gust", unit = "mph" }
columns.precipitation_in = { quantity = "precipitation_amount", unit = "in" }
columns.sea_level_pressure_hpa = { quantity = "air_pressure_at_mean_sea_level", unit = "hPa" }
columns.visibility_mi = { quantity = "visibility_in_air", unit = "mi" }
"""


@dataclass(frozen=True)
class Part:
    """A station of the demo: its id, what its configuration says, and how much it will read."""

    id: str
    config: Path
    readings: int


@dataclass(frozen=True)
class Stage:
    """Everything that is to be started, and where it lies."""

    folder: Path
    forwarder: Path
    feed: str
    health_url: str
    parts: tuple[Part, ...]


def airports(folder: Path) -> Iterator[tuple[str, str, int]]:
    """JFK and LaGuardia in 2013: id, configuration, number of readings."""
    with as_file(files(__package__).joinpath(RECORDING)) as recording:
        shutil.copyfile(recording, folder / RECORDING)
    with (folder / RECORDING).open(encoding="utf-8", newline="") as lines:
        recorded = [row["station"] for row in csv.DictReader(lines)]
    places = {
        "JFK": ("John F. Kennedy Airport", 40.6398, -73.7789, 4),
        "LGA": ("LaGuardia Airport", 40.7772, -73.8726, 7),
    }
    for code, (name, latitude, longitude, elevation_m) in places.items():
        station = _station(code.lower(), name, latitude, longitude, elevation_m, "America/New_York")
        sensor = f'[[sensors]]\ndriver = "replay"\npath = "{RECORDING}"\nstation = "{code}"\n'
        yield code.lower(), f"{station}\n{sensor}{_COLUMNS}", recorded.count(code)


def simulated(count: int, now: datetime) -> Iterator[tuple[str, str, int]]:
    """Made-up stations and the weather of their last weeks: id, configuration, readings."""
    end = now.replace(minute=0, second=0, microsecond=0)
    start = end - timedelta(days=SIMULATED_DAYS)
    readings = SIMULATED_DAYS * 86400 // SIMULATED_STEP_S + 1
    for number in range(1, count + 1):
        latitude = 38.0 + number % 10
        station = _station(f"simulated-{number}", f"Station {number}", latitude, -8.5, 100, "UTC")
        sensor = (
            f'[[sensors]]\ndriver = "simulated"\nseed = {number}\nlatitude = {latitude}\n'
            f"elevation_m = 100\nstart = {start.isoformat()}\nend = {end.isoformat()}\n"
        )
        yield f"simulated-{number}", f"{station}\n{sensor}", readings


def set_up(folder: Path, output: str, speed: str, simulated_stations: int) -> Stage:
    """Make the folder anew; one that is not of an earlier demo is left alone and refused."""
    _clear(folder)
    parts = simulated(simulated_stations, datetime.now(UTC)) if simulated_stations else None
    listen, feed, http = (_free_port() for _ in range(3))
    pair = keys.load_or_create(folder / "forwarder.key")
    forwarder = folder / "forwarder.toml"
    forwarder.write_text(
        f'[stations]\nlisten = "tcp://127.0.0.1:{listen}"\ndirectory = "stations"\n'
        f'key_file = "forwarder.key"\nheartbeat_s = 2.0\n\n[output]\n{output}\n'
        "[pairing]\nenabled = false\n\n"
        f'[feed]\naddress = "tcp://127.0.0.1:{feed}"\n\n[http]\nport = {http}\n',
        "utf-8",
    )
    stations = Stations(folder / "stations")
    made = []
    for station, config, readings in parts or airports(folder):
        key = keys.load_or_create(folder / station / "agent.key")
        stations.add(station, key.public)
        path = folder / f"{station}.toml"
        path.write_text(
            f"{config}\n[sampling]\nspeed = {_speed(speed)}\ninterval_s = {SIMULATED_STEP_S}\n\n"
            '[clock]\ntrust = "system"\n\n'
            f'[spool]\ndirectory = "{station}"\n\n[identity]\nkey_file = "{station}/agent.key"\n\n'
            f'[[forwarders]]\naddress = "tcp://127.0.0.1:{listen}"\n'
            f"public_key = {json.dumps(pair.public)}\n",
            "utf-8",
        )
        made.append(Part(station, path, readings))
    return Stage(
        folder, forwarder, f"tcp://127.0.0.1:{feed}", f"http://127.0.0.1:{http}", tuple(made)
    )


def _station(
    station: str, name: str, latitude: float, longitude: float, elevation_m: float, timezone: str
) -> str:
    return (
        f'[station]\nid = "{station}"\nname = "{name}"\nlatitude = {latitude}\n'
        f'longitude = {longitude}\nelevation_m = {elevation_m}\ntimezone = "{timezone}"\n'
    )


def _speed(speed: str) -> str:
    return speed if speed.replace(".", "", 1).isdigit() else json.dumps(speed)


def _clear(folder: Path) -> None:
    if folder.exists():
        if any(folder.iterdir()) and not (folder / MARKER).exists():
            raise ConfigurationError(
                f"{folder}: is not a folder of the demo; give another with --directory"
            )
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    (folder / MARKER).touch()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
