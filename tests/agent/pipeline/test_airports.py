"""The year of two airports through the whole pipeline, against the file itself."""

from __future__ import annotations

import csv
import threading
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from statistics import median

import pytest

from clima_agent.pipeline import Draft, Pipeline
from clima_agent.pipeline.formulas import dew_point
from clima_agent.sampler import Sampler
from clima_agent.sources import Setting
from clima_agent.sources.replay import Column, Replay

FILE = Path(str(files("clima_forwarder") / "demo" / "nyc-airports-2013.csv"))
COLUMNS = {
    "temperature_f": ("air_temperature", "degF"),
    "dew_point_f": ("dew_point_temperature", "degF"),
    "relative_humidity_pct": ("relative_humidity", "%"),
    "wind_direction_deg": ("wind_from_direction", "deg"),
    "wind_speed_mph": ("wind_speed", "mph"),
    "wind_gust_mph": ("wind_speed_of_gust", "mph"),
    "precipitation_in": ("precipitation_amount", "in"),
    "sea_level_pressure_hpa": ("air_pressure_at_mean_sea_level", "hPa"),
    "visibility_mi": ("visibility_in_air", "mi"),
}
FORMULAS: dict[str, Callable[[float], float]] = {
    "temperature_f": lambda x: (x - 32) / 1.8,
    "dew_point_f": lambda x: (x - 32) / 1.8,
    "wind_speed_mph": lambda x: x * 1609.344 / 3600,
    "wind_gust_mph": lambda x: x * 1609.344 / 3600,
    "precipitation_in": lambda x: x * 25.4,
    "visibility_mi": lambda x: x * 1609.344,
}


def lines(station: str) -> list[dict[str, str]]:
    with FILE.open(encoding="utf-8", newline="") as file:
        return [line for line in csv.DictReader(file) if line["station"] == station]


def time_of(line: dict[str, str]) -> datetime:
    return datetime.strptime(line["time"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


def replayed(station: str) -> list[Draft]:
    columns = {name: Column(quantity=q, unit=unit) for name, (q, unit) in COLUMNS.items()}
    source = Replay(path=FILE, station=station, columns=columns).open(
        Setting(datetime(2024, 1, 1, tzinfo=UTC), 10)
    )
    sampler = Sampler(
        {"replay": source}, Pipeline(elevation_m=4), interval_s=10, speed=float("inf")
    )
    drafts: list[Draft] = []
    sampler.run(lambda draft, _: drafts.append(draft), threading.Event())
    sampler.close()
    return drafts


@pytest.mark.parametrize("station", ["JFK", "LGA"])
def test_every_line_becomes_one_reading(station: str) -> None:
    """Counts, times and values as the csv module finds them; missing stays missing."""
    expected, got = lines(station), replayed(station)

    assert len(expected) == len(got) == 8706
    assert [time_of(line) for line in expected] == [draft.time for draft in got]
    for column, (quantity, _) in COLUMNS.items():
        formula = FORMULAS.get(column, float)
        for line, draft in zip(expected, got, strict=True):
            value = draft.weather.get(quantity)
            if line[column]:
                right = formula(float(line[column]))
                assert value is not None
                assert abs(right - value) <= (0.5000001 if "visib" in column else 0.0050001)
                assert draft.sensors["replay"][quantity] == value
            else:
                assert quantity not in draft.weather


def test_tendency_is_derived_where_the_file_allows() -> None:
    """From the pressure at sea level, the only one there is; nothing else is derived or null."""
    pressures = {
        time_of(line): float(line["sea_level_pressure_hpa"])
        for line in lines("JFK")
        if line["sea_level_pressure_hpa"]
    }
    expected = {
        at: round(now - pressures[at - timedelta(hours=3)], 2)
        for at, now in pressures.items()
        if at - timedelta(hours=3) in pressures
    }

    drafts = replayed("JFK")

    got = {
        draft.time: draft.weather["tendency_of_air_pressure"]
        for draft in drafts
        if "tendency_of_air_pressure" in draft.weather
    }
    assert expected == got
    flags = Counter(
        (quantity, flag)
        for draft in drafts
        for quantity, flags in draft.quality.items()
        for flag in flags
    )
    of_moist_air = {  # derived wherever the file has temperature and humidity
        "mass_concentration_of_water_vapor_in_air",
        "wet_bulb_temperature",
        "heat_index_of_air_temperature",
    }
    assert {("tendency_of_air_pressure", "derived"): len(expected)} == {
        key: count for key, count in flags.items() if key[0] not in of_moist_air
    }
    assert {"derived"} == {flag for _, flag in flags}


def test_dew_point_agrees_with_the_airports_own() -> None:
    """Worked out from their temperature and humidity, above freezing, where no ice differs.

    Half of it to the last digit; the rest as far as whole degrees in some of the lines allow.
    """
    errors = [
        abs((dew_point(value, humidity) or 0) - (draft.weather["dew_point_temperature"] or 0))
        for draft in replayed("LGA")
        if (value := draft.weather["air_temperature"] or 0) > 0
        and (humidity := draft.weather["relative_humidity"] or 0)
    ]

    assert median(errors) < 0.02
    assert sum(error < 1.0 for error in errors) > 0.9 * len(errors)
