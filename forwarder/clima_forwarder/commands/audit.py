"""`clima audit`: proves from the store that nothing is lost and nothing doubled."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

from clima_core.errors import EXIT_FINDING, EXIT_OK, ConfigurationError, UnavailableError
from clima_core.identity import DATA_SETS, Stream
from clima_core.ranges import Ranges
from clima_core.wire import MAX_PAIRS
from clima_forwarder import config, operator
from clima_forwarder.audit import LaneAudit, audit, summary
from clima_forwarder.outputs import open_archive
from clima_forwarder.outputs.arguments import chosen
from clima_forwarder.outputs.base import Archive

if TYPE_CHECKING:
    from rich.table import Table

HELP = "prove that nothing is lost and nothing doubled (exit code 1: something is)"

SHOWN = 20  # ranges that are written out for people; `--json` has all
_SETS = ("stored", "doubled", "dead", "dropped", "waiting", "missing", "expired", "unclear", "gaps")
_RARE = {"missing": "missing", "unclear": "gap or expired"}  # and what people are told
_STREAMS: dict[str, Stream] = {
    "weather": "w",
    "station": "s",
    "log": "l",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    operator.add_operator(parser)
    parser.add_argument("--station", metavar="ID", help="this station alone")
    parser.add_argument("--json", action="store_true", help="for scripts: one array of objects")
    parser.add_argument(
        "--retention",
        action="append",
        default=[],
        type=_retention,
        metavar="DATA=DAYS",
        help="how long weather, station or log records are kept, in days; 0: for ever"
        " (default: what the store says)",
    )
    parser.add_argument(
        "--repair",
        action="store_true",
        help="have stations send what is missing again, and delete copies of what is stored twice",
    )
    parser.add_argument(
        "--wait",
        type=float,
        default=60,
        metavar="SECONDS",
        help="how long --repair waits for the gaps to close (default: %(default)s)",
    )
    parser.add_argument(
        "--forwarder", metavar="URL", help="where --repair asks (default: as configured)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Audit, repair if asked to, and say what was found."""
    audited = asyncio.run(_audited(arguments))
    if arguments.json:
        sys.stdout.buffer.write(msgspec.json.encode([_plain(each) for each in audited]) + b"\n")
    else:
        _show(audited)
    return EXIT_OK if all(each.sound for each in audited) else EXIT_FINDING


async def _audited(arguments: argparse.Namespace) -> list[LaneAudit]:
    archive = open_archive(chosen(arguments, os.environ))
    try:
        await archive.open()
        audited = await _look(archive, arguments)
        if arguments.station and not audited:
            raise ConfigurationError(f'--station: the store knows no "{arguments.station}"')
        if arguments.repair and any(each.doubled for each in audited):
            await _take_out(arguments, audited)
            audited = await _look(archive, arguments)
        if arguments.repair and any(each.gaps for each in audited):
            await _ask_for(arguments, audited)
            deadline = time.monotonic() + arguments.wait
            while any(each.gaps for each in audited) and time.monotonic() < deadline:
                await asyncio.sleep(1)
                audited = await _look(archive, arguments)
    finally:
        await archive.close()
    return audited


async def _look(archive: Archive, arguments: argparse.Namespace) -> list[LaneAudit]:
    retention = dict(arguments.retention)
    return await audit(archive, datetime.now(UTC), arguments.station, retention)


async def _take_out(arguments: argparse.Namespace, audited: Sequence[LaneAudit]) -> None:
    """Delete what is stored twice but for one copy, as somebody who may."""
    from clima_forwarder.outputs.elasticsearch import copies  # noqa: PLC0415, slow
    from clima_forwarder.outputs.elasticsearch.connection import Connection  # noqa: PLC0415

    store = operator.elasticsearch_of(await operator.store(arguments, os.environ))
    if store is None:
        return
    connection = Connection(store)
    try:
        for each in audited:
            removed, differing = await copies.remove(
                connection, each.station, each.lane, each.doubled
            )
            if removed:
                print(f"repair: {_who(each)}: {removed} copies deleted", file=sys.stderr)
            if differing:
                print(
                    f"repair: {_who(each)}: {_listed(differing)}: the copies do not say the same,"
                    " and are left: look at them in Kibana by station.journal and event.sequence",
                    file=sys.stderr,
                )
    finally:
        await connection.close()


async def _ask_for(arguments: argparse.Namespace, audited: Sequence[LaneAudit]) -> None:
    """Ask the forwarder for every gap; a station that is away is said, and passed over."""
    import aiohttp  # noqa: PLC0415, slow, and nothing else here needs it

    url = arguments.forwarder or config.load(arguments.config, os.environ).http.url
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(10)) as session:
        for each in audited:
            for start in range(0, len(each.gaps.pairs), MAX_PAIRS):
                asked = {
                    "station": each.station,
                    "journal": each.journal,
                    "stream": each.stream,
                    "ranges": each.gaps.pairs[start : start + MAX_PAIRS],
                }
                try:
                    async with session.post(f"{url}/repair", json=asked) as answer:
                        if answer.status != 202:
                            print(f"repair: {await answer.text()}", file=sys.stderr)
                except (aiohttp.ClientError, TimeoutError) as error:
                    raise UnavailableError(
                        f"no forwarder at {url} to repair with: {error}; is it running?"
                    ) from error


def _retention(text: str) -> tuple[Stream, timedelta | None]:
    name, _, days = text.partition("=")
    if name not in _STREAMS or not days.isdecimal():
        raise argparse.ArgumentTypeError(f'"{text}": expected weather, station or log, = and days')
    return _STREAMS[name], timedelta(days=int(days)) if int(days) else None


def _plain(each: LaneAudit) -> dict[str, object]:
    """For JSON: the sets as arrays of [first, last], and their sizes."""
    sets = {name: getattr(each, name) for name in _SETS}
    return {
        "station": each.station,
        "journal": each.journal,
        "data_set": DATA_SETS[each.stream].dataset,
        "stream": each.stream,
        "reported": each.reported,
        "ahead": each.ahead,
        "last": each.last,
        "verdict": each.verdict,
        "sound": each.sound,
        "counts": {name: len(found) for name, found in sets.items()},
        "ranges": {name: found.pairs for name, found in sets.items()},
    }


def _show(audited: Sequence[LaneAudit]) -> None:
    """A table, and below it the ranges that somebody has to look at."""
    from rich.console import Console  # noqa: PLC0415, slow

    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    if not audited:
        console.print("nothing was ever stored or reported here")
        return
    console.print(_table(audited))
    for each in audited:
        for line in _remarks(each):
            console.print(f"{_who(each)}: {line}")
    console.print(summary(audited))


def _table(audited: Sequence[LaneAudit]) -> Table:
    """A lane a line; what is rare has a column only where it occurs."""
    from rich.table import Table  # noqa: PLC0415, slow

    shown = [
        name for name in _SETS if name not in _RARE or any(getattr(each, name) for each in audited)
    ]
    table = Table()
    for name in ("station", "journal", "data"):
        table.add_column(name)
    for name in ("last", *shown):
        table.add_column(_RARE.get(name, name), justify="right")
    table.add_column("verdict")
    for each in audited:
        sizes = (str(each.last), *(str(len(getattr(each, name)) or "") for name in shown))
        colour = "red" if not each.sound else "yellow" if each.unclear else "green"
        data_set = DATA_SETS[each.stream].dataset
        verdict = f"[{colour}]{each.verdict}[/]"
        table.add_row(each.station, each.journal, data_set, *sizes, verdict)
    return table


def _remarks(each: LaneAudit) -> Iterator[str]:
    """What a person has to know of a lane beside the numbers."""
    if each.reported is None:
        yield "never reported by the station; a lost end would not show"
    elif each.ahead:
        yield (
            f"reported from the future, at {_minute(each.reported)}: the clock of the forwarder's"
            " host was, or is, wrong; what waited then is not believed"
        )
    for name in ("gaps", "doubled", "dead", "dropped"):
        if found := getattr(each, name):
            yield f"{name}: {_listed(found)}"
    if each.unclear:
        yield (
            f"gap or expired: {_listed(each.unclear)}: nothing that is left is as old as its"
            " retention, so these may be lost, or older than that"
        )
    if each.missing and each.reported and each.spoke:
        yield (
            f"missing: {_listed(each.missing)}: the card of journal {each.journal} has not spoken"
            f" since {_minute(each.reported)}, though the station has, at {_minute(each.spoke)};"
            " they are on that card, or lost"
        )


def _minute(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _who(each: LaneAudit) -> str:
    return f"{each.station} {each.journal} {DATA_SETS[each.stream].dataset}"


def _listed(ranges: Ranges) -> str:
    more = len(ranges.pairs) - SHOWN
    text = str(Ranges(ranges.pairs[:SHOWN]))
    return f"{text} and {more} more ranges (--json has all)" if more > 0 else text
