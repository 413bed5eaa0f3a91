"""`clima-agent scan`: what is on the I2C buses and on 1-Wire, and the configuration for it."""

from __future__ import annotations

import argparse
import json
import sys

from clima_agent import settings_file
from clima_agent.cli import add_config
from clima_agent.discovery import Findings, Found, look
from clima_core.errors import EXIT_FINDING, EXIT_OK, UnavailableError

HELP = "list what is on the I2C buses and on 1-Wire, with the configuration lines for it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add_config(parser)
    parser.add_argument(
        "--write",
        action="store_true",
        help="add what is found to the configuration file, or make one",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object per line")


def run(arguments: argparse.Namespace) -> int:
    """Exit code 1 when nothing answers, 69 when there is nothing to look at."""
    findings = look()
    if not findings.found and findings.problems:
        raise UnavailableError("\n".join(findings.problems))
    for problem in findings.problems:
        print(problem, file=sys.stderr)
    for each in findings.found:
        print(json.dumps(each._asdict()) if arguments.json else _line(each))
    if arguments.write:
        added = settings_file.add(arguments.config, findings.found)
        print(f"{arguments.config}: {_added(added)}", file=sys.stderr)
    elif not arguments.json:
        print(_advice(findings), end="")
    return EXIT_OK if findings.found else EXIT_FINDING


def _line(found: Found) -> str:
    chip = found.chip or "something that Clima has no driver for"
    return f"{found.place}: {chip}"


def _advice(findings: Findings) -> str:
    if not findings.found:
        return "nothing answers; is it wired and supplied?\n"
    return settings_file.tables(findings.found)


def _added(names: list[str]) -> str:
    return f"added {', '.join(names)}" if names else "has all that was found; nothing was added"
