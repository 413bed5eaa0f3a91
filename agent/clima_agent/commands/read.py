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
from clima_agent.discovery import open_configured_or_found
from clima_agent.pipeline import Draft, Pipeline
from clima_agent.sampler import Sampler
from clima_agent.sources import Setting
from clima_agent.units import BESIDE, KNOWN
from clima_core import logs
from clima_core.errors import EXIT_FINDING, EXIT_OK
from clima_core.reading import rfc3339

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
    interval_s = configured.sampling.interval_s
    setting = Setting(datetime.now(UTC), interval_s)
    sources = open_configured_or_found(configured.sensors, setting)
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
    """The reading with the field names of its record, and what each sensor says corrected."""
    return msgspec.json.encode(
        {
            "@timestamp": rfc3339(draft.time),
            "weather": draft.weather,
            "sensor": draft.sensors,
            "corrected": draft.corrected,
            "quality": draft.quality,
        }
    ).decode()


def as_table(draft: Draft) -> str:
    """One line per quantity: the value that counts, then what each sensor said, then the flags.

    Where a calibration changes what a sensor said, both are shown: `htu21d 22.41 → 21.9`.
    """
    beside = {name: None for values in draft.sensors.values() for name in values if name in BESIDE}
    lines = [rfc3339(draft.time)]
    for quantity, value in (draft.weather | beside).items():
        said = ", ".join(
            f"{name} {_said(values[quantity], draft.corrected[name][quantity])}"
            for name, values in draft.sensors.items()
            if quantity in values
        )
        flags = " ".join(draft.quality.get(quantity, ()))
        unit = KNOWN[quantity].unit
        lines.append(f"  {quantity:32}{_number(value):>10} {unit:7} {said:28} {flags}".rstrip())
    return "\n".join(lines)


def _said(raw: float | None, corrected: float | None) -> str:
    return _number(raw) + (f" → {_number(corrected)}" if corrected != raw else "")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:g}" if abs(value) < 1e5 else f"{value:.0f}"
