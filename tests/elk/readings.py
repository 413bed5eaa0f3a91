"""Readings of real stations, as documents, from the file that the demo replays.

Converted here by the factors themselves, so that what is expected does not come from the code
under test.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from importlib.resources import files
from typing import Any
from zoneinfo import ZoneInfo

from tests.elasticsearch_server import Server

WEATHER = "metrics-clima.weather-default"
ZONE = "America/New_York"
COLUMNS: dict[str, tuple[str, Callable[[float], float]]] = {
    "air_temperature": ("temperature_f", lambda value: (value - 32) * 5 / 9),
    "dew_point_temperature": ("dew_point_f", lambda value: (value - 32) * 5 / 9),
    "relative_humidity": ("relative_humidity_pct", lambda value: value),
    "wind_from_direction": ("wind_direction_deg", lambda value: value),
    "wind_speed": ("wind_speed_mph", lambda value: value * 0.44704),
    "wind_speed_of_gust": ("wind_gust_mph", lambda value: value * 0.44704),
    "precipitation_amount": ("precipitation_in", lambda value: value * 25.4),
    "air_pressure_at_mean_sea_level": ("sea_level_pressure_hpa", lambda value: value),
    "visibility_in_air": ("visibility_mi", lambda value: value * 1609.344),
}


def readings(airport: str, station: str, journal: str, days: int) -> Iterator[dict[str, Any]]:
    """The first days of 2013; what was not measured is absent."""
    lines = (files("clima_forwarder") / "demo" / "nyc-airports-2013.csv").read_text("utf-8")
    rows = [row for row in csv.DictReader(lines.splitlines()) if row["station"] == airport]
    for sequence, row in enumerate(rows[: days * 24], 1):
        weather = {
            name: round(convert(float(row[column])), 2)
            for name, (column, convert) in COLUMNS.items()
            if row[column]
        }
        yield document(station, journal, sequence, row["time"], weather)


def document(
    station: str, journal: str, sequence: int, time: str, weather: Mapping[str, float | None]
) -> dict[str, Any]:
    """One reading, taken at this time (RFC 3339) in New York."""
    local = datetime.fromisoformat(time).astimezone(ZoneInfo(ZONE)).date()
    return {
        "@timestamp": time,
        "data_stream": {"type": "metrics", "dataset": "clima.weather", "namespace": "default"},
        "event": {"id": f"{station}:{journal}:w:{sequence}", "sequence": sequence},
        "station": {
            "id": station,
            "journal": journal,
            "name": f"Station {station}",
            "location": {"lat": 40.6, "lon": -73.8},
            "elevation": 4.0,
            "timezone": ZONE,
            "local_date": local.isoformat(),
        },
        "weather": dict(weather),
    }


def store(server: Server, documents: Sequence[dict[str, Any]]) -> None:
    """As the forwarder does: `create` by identity."""
    for start in range(0, len(documents), 1000):
        part = documents[start : start + 1000]
        lines = "".join(
            f"{json.dumps({'create': {'_id': each['event']['id']}})}\n{json.dumps(each)}\n"
            for each in part
        )
        answer = server.request("POST", f"/{WEATHER}/_bulk", lines.encode())
        assert not answer["errors"], answer
