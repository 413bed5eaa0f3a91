"""`clima demo`: the whole road on one machine, and the proof that all of it arrived."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from clima_core.errors import EXIT_FINDING, EXIT_OK, ConfigurationError
from clima_forwarder import config
from clima_forwarder.audit import LaneAudit, audit
from clima_forwarder.demo import play
from clima_forwarder.demo.stage import Part, Stage, set_up
from clima_forwarder.outputs import Options, open_archive
from clima_forwarder.outputs.base import Archive

HELP = "replay two real stations through the whole road, and prove it complete"
LOOK_S = 0.5
TABLE_WIDTH = 100
PLAIN_EVERY_S = 5.0  # between lines of progress where there is no terminal

_SPEED = re.compile(r"realtime|max|\d+(\.\d+)?")


@dataclass(frozen=True)
class Arrived:
    """What one station read in this run, and what became of it.

    `read` is counted in the data itself, and not by any part that could have lost some of it.
    """

    read: int
    spooled: int
    stored: int
    lost: int
    doubled: int
    dead: int
    first: datetime | None = None
    last: datetime | None = None
    coldest: float | None = None
    warmest: float | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument(
        "--speed", type=_speed, default="max", help="realtime, how many times as fast, or max"
    )
    parser.add_argument(
        "--stations", type=int, default=0, metavar="N", help="N simulated ones instead"
    )
    parser.add_argument("--output", choices=["sqlite", "elasticsearch"], default="sqlite")
    parser.add_argument("--url", default="http://127.0.0.1:9200", help="of Elasticsearch")
    parser.add_argument("--directory", type=Path, default=Path("clima-demo"))


def run(arguments: argparse.Namespace) -> int:
    """Exit code 1 when anything is lost or doubled."""
    console = Console()
    console.width = max(console.width, TABLE_WIDTH)
    began = datetime.now(UTC)
    stage = set_up(
        arguments.directory.absolute(), _output(arguments), arguments.speed, arguments.stations
    )
    store = config.load(stage.forwarder, os.environ).output
    finished = False
    try:
        console.print(f"{len(stage.parts)} stations, each its own process, and one forwarder")
        with play.forwarder(stage):
            console.print(f"live meanwhile: clima watch --feed {stage.feed}")
            with play.agents(stage) as running:
                _see_through(console, stage, running, store, began)
        finished = True
    except KeyboardInterrupt:
        console.print("stopped early: what is not stored yet waits in the stations' spools")
    arrived = asyncio.run(_arrived(store, stage.parts, began, with_values=True))
    if finished:  # then whatever was read and is not in the store is lost, wherever that was
        arrived = {
            station: replace(one, lost=one.read - one.stored - one.dead)
            for station, one in arrived.items()
        }
    console.print(_table(stage.parts, arrived))
    console.print(_next(stage, arguments), soft_wrap=True, highlight=False)
    sound = not any(one.lost or one.doubled for one in arrived.values())
    return EXIT_OK if sound else EXIT_FINDING


def _see_through(
    console: Console,
    stage: Stage,
    running: dict[str, play.Process],
    store: Options,
    began: datetime,
) -> None:
    """Show how far each station is until all agents have ended."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("stored"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        tasks = {part.id: progress.add_task(part.id, total=part.readings) for part in stage.parts}
        said = time.monotonic()
        while play.check(stage, running):
            arrived = asyncio.run(_arrived(store, stage.parts, began))
            for station, task in tasks.items():
                progress.update(task, completed=arrived[station].stored)
            if not console.is_terminal and time.monotonic() - said >= PLAIN_EVERY_S:
                said = time.monotonic()
                counts = (f"{name} {each.stored}" for name, each in arrived.items())
                console.print(f"stored: {', '.join(counts)}")
            time.sleep(LOOK_S)
        for part in stage.parts:
            progress.update(tasks[part.id], completed=part.readings)


async def _arrived(
    store: Options, parts: Sequence[Part], began: datetime, *, with_values: bool = False
) -> dict[str, Arrived]:
    """What is in the store of each station, by the audit's count of this run's weather lanes."""
    archive = open_archive(store)
    await archive.open()
    try:
        found = {}
        for part in parts:
            lanes = await _lanes(archive, part.id, began)
            counted = Arrived(
                read=part.readings,
                spooled=sum(lane.last for lane in lanes),
                stored=sum(len(lane.stored) for lane in lanes),
                lost=sum(len(lane.gaps) for lane in lanes),
                doubled=sum(len(lane.doubled) for lane in lanes),
                dead=sum(len(lane.dead) for lane in lanes),
            )
            found[part.id] = await _valued(archive, part.id, counted) if with_values else counted
        return found
    finally:
        await archive.close()


async def _lanes(archive: Archive, station: str, began: datetime) -> list[LaneAudit]:
    own = {
        lane.lane
        for report in await archive.reports()
        for lane in report.lanes
        if report.station == station and lane.since >= began
    }
    audited = await audit(archive, datetime.now(UTC), station)
    return [lane for lane in audited if lane.lane in own and lane.stream == "w"]


async def _valued(archive: Archive, station: str, counted: Arrived) -> Arrived:
    times, temperatures = [], []
    async for reading in archive.readings(station):
        times.append(reading.time)
        if (value := reading.values.get("air_temperature")) is not None:
            temperatures.append(value)
    return replace(
        counted,
        first=min(times, default=None),
        last=max(times, default=None),
        coldest=min(temperatures, default=None),
        warmest=max(temperatures, default=None),
    )


def _table(parts: Sequence[Part], arrived: Mapping[str, Arrived]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, pad_edge=False)
    table.add_column("station", no_wrap=True)
    counted = ("read", "spooled", "stored", "lost", "doubled", "dead letters")
    for name in counted:
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("first", "last", "°C"):
        table.add_column(name, no_wrap=True)
    for part in parts:
        one = arrived[part.id]
        numbers = (one.read, one.spooled, one.stored, one.lost, one.doubled, one.dead)
        days = (f"{moment:%Y-%m-%d}" if moment else "" for moment in (one.first, one.last))
        extremes = f"{one.coldest:.1f} … {one.warmest:.1f}" if one.coldest is not None else ""
        table.add_row(part.id, *(f"{count:,}" for count in numbers), *days, extremes)
    return table


def _next(stage: Stage, arguments: argparse.Namespace) -> str:
    """Where the data lies, and what to try with it."""
    clima = _shown(Path(sys.argv[0]).absolute()) if Path(sys.argv[0]).name == "clima" else "clima"
    given = f"--config {_shown(stage.forwarder)}"
    data = f" (the data: in {arguments.url})" if arguments.output == "elasticsearch" else ", data"
    return (
        f"In {_shown(stage.folder)}: configurations, keys, logs{data}.\n"
        "Try next:\n"
        f"  {clima} audit {given}\n"
        f"  {clima} readings {given} --station {stage.parts[0].id} --every 1d\n"
        f"  {clima} demo --speed 3600   and meanwhile, in another terminal:\n"
        f"  {clima} watch {given}"
    )


def _output(arguments: argparse.Namespace) -> str:
    if arguments.output == "elasticsearch":
        return f'type = "elasticsearch"\nurl = {json.dumps(arguments.url)}\n'
    return 'type = "sqlite"\npath = "readings.sqlite"\n'


def _shown(path: Path) -> str:
    """The path as short as it can be typed here."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _speed(text: str) -> str:
    if not _SPEED.fullmatch(text):
        raise argparse.ArgumentTypeError(f'"{text}": expected realtime, max, or a number')
    if text == "0":
        raise ConfigurationError("--speed 0 would never end; expected more than 0")
    return text
