"""`clima readings`: the weather in the store, as a table, CSV or JSON lines."""

from __future__ import annotations

import argparse
import asyncio
import csv
import os
import re
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import msgspec

from clima_core.errors import EXIT_OK
from clima_core.reading import QUANTITIES, rfc3339
from clima_forwarder.outputs import open_archive
from clima_forwarder.outputs.arguments import add_store, chosen
from clima_forwarder.outputs.base import Reading

HELP = "show the weather in the store: as it was measured, or averaged"

ROWS = 500  # of one table: a longer answer is several, so that memory stays bounded
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add_store(parser)
    parser.add_argument("--station", metavar="ID", help="this station alone")
    moment = "such as 2024-05-01 or 2024-05-01T06:00; UTC unless it says otherwise"
    parser.add_argument("--from", dest="start", type=_moment, metavar="TIME", help=moment)
    parser.add_argument("--to", dest="end", type=_moment, metavar="TIME", help="and before this")
    parser.add_argument(
        "--every",
        type=_interval,
        metavar="TIME",
        help="means over 10m, 1h, 1d …; precipitation is summed, wind direction averaged as a"
        " vector",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--csv", dest="show", action="store_const", const=_csv, help="for sheets")
    form.add_argument(
        "--json", dest="show", action="store_const", const=_json, help="one object per line"
    )
    parser.set_defaults(show=_table)


def run(arguments: argparse.Namespace) -> int:
    """Ask the store, and print as the answer comes."""
    asyncio.run(_printed(arguments))
    return EXIT_OK


async def _printed(arguments: argparse.Namespace) -> None:
    archive = open_archive(chosen(arguments, os.environ))
    try:
        await archive.open()
        await arguments.show(
            archive.readings(arguments.station, arguments.start, arguments.end, arguments.every)
        )
    finally:
        await archive.close()


async def _csv(readings: AsyncIterator[Reading]) -> None:
    """Always the same columns; empty: not measured, or not usable."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["time", "station", *QUANTITIES])
    async for time, station, values in readings:
        writer.writerow([rfc3339(time), station, *(values.get(name) for name in QUANTITIES)])


async def _json(readings: AsyncIterator[Reading]) -> None:
    """Absent: not measured; null: not usable."""
    async for time, station, values in readings:
        line = {"time": rfc3339(time), "station": station, **values}
        sys.stdout.write(msgspec.json.encode(line).decode() + "\n")


async def _table(readings: AsyncIterator[Reading]) -> None:
    rows: list[Reading] = []
    async for reading in readings:
        rows.append(reading)
        if len(rows) == ROWS:
            _print_table(rows)
            rows = []
    _print_table(rows)


def _print_table(rows: list[Reading]) -> None:
    """The quantities that occur in it, each with its unit."""
    from rich.console import Console  # noqa: PLC0415, slow
    from rich.table import Table  # noqa: PLC0415

    measured = [name for name in QUANTITIES if any(name in row.values for row in rows)]
    table = Table()
    for name in ("time", "station"):
        table.add_column(name, no_wrap=True)
    for name in measured:
        label = name.replace("_", " ")
        table.add_column(f"{label}\n{QUANTITIES[name].unit}", justify="right")
    for row in rows:
        table.add_row(
            f"{row.time:%Y-%m-%d %H:%M:%S}",
            row.station,
            *(_cell(name, row.values) for name in measured),
        )
    if rows:
        Console(width=None if sys.stdout.isatty() else 200).print(table)


def _cell(name: str, values: dict[str, float | None]) -> str:
    """Empty: not measured; a dash: not usable."""
    if name not in values:
        return ""
    value = values[name]
    return "–" if value is None else f"{value:.{QUANTITIES[name].decimals}f}"


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f'"{text}": expected a time like 2024-05-01') from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _interval(text: str) -> timedelta:
    found = re.fullmatch(r"([1-9]\d{0,5})([smhd])", text)
    if not found:
        raise argparse.ArgumentTypeError(f'"{text}": expected a number with s, m, h or d')
    return timedelta(**{_UNITS[found[2]]: int(found[1])})
