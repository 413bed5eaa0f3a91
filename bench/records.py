"""The two records that figures are given for, with the noise of real chips in their values.

`short`: three values, 369 bytes. `full`: a pHAT station (HTU21D, BMP180, BH1750) just as the agent
writes it: each chip's own values, the station's, five derived ones, and their flags.
How well a batch compresses is a matter of the noise: here the deviation of single samples is
what the chips' data sheets say at their usual oversampling.
"""

from __future__ import annotations

import csv
import math
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from clima_agent import document
from clima_agent.config import Station
from clima_agent.pipeline import Pipeline, Sample
from clima_agent.sources import Measured
from clima_agent.spool import Spool
from clima_core.reading import rfc3339

Kind = Literal["short", "full"]
KINDS: tuple[Kind, ...] = ("short", "full")
START = datetime(2025, 5, 1, tzinfo=UTC)
INTERVAL = timedelta(seconds=10)
SHORT = Station(id="school-1")
FULL = Station(
    id="school-1",
    name="Escola",
    latitude=41.1496,
    longitude=-8.611,
    elevation_m=104.0,
    timezone="Europe/Lisbon",
)
_WRITTEN_AT_ONCE = 5000


def station(kind: Kind) -> Station:
    """Who the record is from."""
    return SHORT if kind == "short" else FULL


def weather(
    count: int, interval: timedelta = INTERVAL
) -> Iterator[tuple[datetime, dict[str, float]]]:
    """A spring's course of the values, a sample per interval, with noise."""
    noise = random.Random(3)  # the same in every run
    for number in range(count):
        day = number * interval / timedelta(days=1)
        cycle = math.sin(2 * math.pi * day)
        front = math.sin(2 * math.pi * day / 7.3)
        yield (
            START + number * interval,
            {
                "air_temperature": 17 + 6 * cycle + 3 * front + noise.gauss(0, 0.02),
                "relative_humidity": 65 - 15 * cycle + noise.gauss(0, 0.1),
                "air_pressure": 1003 + 9 * front + noise.gauss(0, 0.03),
                "illuminance": max(0.0, 40_000 * cycle) + abs(noise.gauss(0, 0.5)),
            },
        )


def documents(kind: Kind, count: int) -> Iterator[dict[str, Any]]:
    """Documents as the agent makes them, still without their identity."""
    pipeline = Pipeline(elevation_m=station(kind).elevation_m)
    for at, values in weather(count):
        if kind == "short":
            yield _short(at, values)
        else:
            yield document.weather(pipeline(Sample(at, said(values))), FULL, at)


def write_csv(
    path: Path, count: int, interval: timedelta = INTERVAL
) -> dict[str, dict[str, dict[str, str]]]:
    """The chips' values as a recording; what each chip has in it, as `replay` is told."""
    chips: dict[str, dict[str, dict[str, str]]] = {}
    with path.open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file)
        for at, values in weather(count, interval):
            chips_said = said(values)
            if not chips:
                chips = {
                    chip: {f"{chip} {name}": {"quantity": name} for name in measured}
                    for chip, measured in chips_said.items()
                }
                lines.writerow(["time", *(column for each in chips.values() for column in each)])
            cells = [f"{value:.2f}" for chip in chips_said.values() for value, _ in chip.values()]
            lines.writerow([rfc3339(at), *cells])
    return chips


def fill(path: Path, kind: Kind, count: int) -> str:
    """A spool that holds `count` records of the kind, all waiting; its journal."""
    spool = Spool(path, station(kind).id)
    batch: list[dict[str, Any]] = []
    for each in documents(kind, count):
        batch.append(each)
        if len(batch) == _WRITTEN_AT_ONCE:
            spool.append("w", batch)
            batch.clear()
    spool.append("w", batch)
    spool.close()
    return spool.journal


def said(values: dict[str, float]) -> dict[str, dict[str, Measured]]:
    """What each chip of a pHAT says of the weather."""

    def chip(*names: tuple[str, float, str]) -> dict[str, Measured]:
        return {name: Measured(values[name] + offset, unit) for name, offset, unit in names}

    return {
        "htu21d": chip(("air_temperature", 0, "°C"), ("relative_humidity", 0, "%")),
        "bmp180": chip(("air_pressure", 0, "hPa"), ("air_temperature", 0.4, "°C")),
        "bh1750": chip(("illuminance", 0, "lx")),
    }


def _short(at: datetime, values: dict[str, float]) -> dict[str, Any]:
    made = document.weather(Pipeline()(Sample(at, {})), SHORT, at)
    names = ("air_temperature", "relative_humidity", "air_pressure")
    made["weather"] = {name: round(values[name], 2) for name in names}
    del made["sensor"]
    return made
