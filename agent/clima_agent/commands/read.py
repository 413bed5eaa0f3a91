"""`clima-agent read`: the sensors now, raw beside corrected; nothing is kept or sent."""

from __future__ import annotations

import argparse
import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec

from clima_agent import config
from clima_agent.cli import add_config
from clima_agent.pipeline import Draft, Pipeline
from clima_agent.sampler import Sampler
from clima_agent.sources import Setting, open_all
from clima_core import logs
from clima_core.errors import EXIT_FINDING, EXIT_OK, ConfigurationError
from clima_core.reading import QUANTITIES, rfc3339

HELP = "read the sensors now: raw and corrected values"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add_config(parser)
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--once", action="store_true", help="one reading, now (the default)")
    how.add_argument("--watch", action="store_true", help="go on, at the configured interval")
    parser.add_argument("--json", action="store_true", help="one JSON object per reading")


def run(arguments: argparse.Namespace) -> int:
    """Exit code 1 when a single reading has a value that failed."""
    logs.setup("warning")
    configured = config.load(arguments.config, os.environ)
    if not configured.sensors:
        raise ConfigurationError(
            f"{arguments.config}: sensors: none; `clima-agent scan` finds some"
        )
    interval_s = configured.sampling.interval_s
    sources = open_all(configured.sensors, Setting(datetime.now(UTC), interval_s))
    sampler = Sampler(
        sources,
        Pipeline(
            calibrations=configured.calibration,
            checks=configured.checks,
            elevation_m=configured.station.elevation_m,
        ),
        interval_s=interval_s,
        speed=configured.sampling.factor,
    )
    try:
        failed = False
        for draft in _drafts(sampler, watch=arguments.watch):
            print(as_json(draft) if arguments.json else as_table(draft), flush=True)
            failed = any("failed" in flags for flags in draft.quality.values())
        return EXIT_FINDING if failed else EXIT_OK
    finally:
        sampler.close()


def _drafts(sampler: Sampler, *, watch: bool) -> Iterator[Draft]:
    if watch:
        yield from map(sampler.take, sampler.times(threading.Event()))
    else:
        yield sampler.take(sampler.first())


def as_json(draft: Draft) -> str:
    """The reading with the field names of its record."""
    return msgspec.json.encode(
        {
            "@timestamp": rfc3339(draft.time),
            "weather": draft.weather,
            "sensor": draft.sensors,
            "quality": draft.quality,
        }
    ).decode()


def as_table(draft: Draft) -> str:
    """One line per quantity: the value that counts, then what each sensor said, then the flags."""
    lines = [rfc3339(draft.time)]
    for quantity, value in draft.weather.items():
        said = ", ".join(
            f"{name} {_number(values[quantity])}"
            for name, values in draft.sensors.items()
            if quantity in values
        )
        flags = " ".join(draft.quality.get(quantity, ()))
        unit = QUANTITIES[quantity].unit
        lines.append(f"  {quantity:32}{_number(value):>10} {unit:7} {said:28} {flags}".rstrip())
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:g}" if abs(value) < 1e5 else f"{value:.0f}"
