"""`clima doctor`: what is wrong with the chain from the stations to the store, and what to do.

Exit code 1 when something is broken. Warnings alone are 0, unless `--strict`: a script that asks
each hour should not wake anybody for a station that is five minutes late.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections import Counter
from collections.abc import Sequence

import msgspec

from clima_core.errors import EXIT_FINDING, EXIT_OK
from clima_forwarder import config
from clima_forwarder.cli import add_config
from clima_forwarder.doctor.examination import examine
from clima_forwarder.doctor.finding import Finding, State
from clima_forwarder.doctor.site import Site
from clima_forwarder.operator import add_vault

HELP = "look at every link of the chain, and say what is wrong and what to do"

_MARKS: dict[State, tuple[str, str]] = {
    "ok": ("ok", "green"),
    "warning": ("warning", "yellow"),
    "broken": ("BROKEN", "bold red"),
    "unchecked": ("unchecked", "dim"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add_config(parser)
    parser.add_argument("--json", action="store_true", help="for scripts: one array of objects")
    parser.add_argument("--strict", action="store_true", help="warnings are exit code 1 too")
    parser.add_argument(
        "--forwarder", metavar="URL", help="where the forwarder's HTTP is (default: as configured)"
    )
    parser.add_argument(
        "--kibana",
        metavar="URL",
        default=os.environ.get("CLIMA_KIBANA_URL"),
        help="look at this Kibana too (default: $CLIMA_KIBANA_URL)",
    )
    add_vault(parser)


def run(arguments: argparse.Namespace) -> int:
    """Examine, and say what was found."""
    findings = asyncio.run(_examined(arguments))
    if arguments.json:
        sys.stdout.buffer.write(msgspec.json.encode(findings) + b"\n")
    else:
        _show(findings)
    bad = {"broken", "warning"} if arguments.strict else {"broken"}
    return EXIT_FINDING if any(each.state in bad for each in findings) else EXIT_OK


async def _examined(arguments: argparse.Namespace) -> list[Finding]:
    configured = config.load(arguments.config, os.environ)
    async with Site(
        configured,
        forwarder=arguments.forwarder,
        kibana=arguments.kibana,
        vault=arguments.vault,
    ) as site:
        return await examine(site)


def _show(findings: Sequence[Finding]) -> None:
    """One line each, in the order of the chain, however long: nothing is cut off."""
    from rich.console import Console  # noqa: PLC0415, slow
    from rich.text import Text  # noqa: PLC0415

    console = Console(highlight=False, soft_wrap=True)
    for each in findings:
        mark, style = _MARKS[each.state]
        line = Text(f"{mark:9}  ", style)
        line.append(f"{each.check}: ", "bold")
        line.append(each.text, "")
        if each.mend:
            line.append(f" -> {each.mend}", "cyan")
        console.print(line)
    counts = Counter(each.state for each in findings)
    console.print(", ".join(f"{counts[state]} {state}" for state in _MARKS if counts[state]))
