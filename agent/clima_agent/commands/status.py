"""`clima-agent status`: what the spool holds, and what became of what it held.

Looks only: it may run beside the agent, and when the agent does not.
"""

from __future__ import annotations

import argparse
import os
from typing import Any

import msgspec

from clima_agent import config
from clima_agent.cli import add_config
from clima_agent.lock import exclusive
from clima_agent.spool.file import SpoolFile
from clima_agent.spool.ledger import Ledger, ledgers_in
from clima_core import keys
from clima_core.errors import EXIT_OK, UnavailableError

HELP = "what the spool holds: waiting, acknowledged, given up"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add_config(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Print the state of the station."""
    configured = config.load(arguments.config, os.environ)
    found = _status(configured)
    print(msgspec.json.encode(found).decode() if arguments.json else _as_text(found))
    return EXIT_OK


def _status(configured: config.Configuration) -> dict[str, Any]:
    path = configured.spool.directory / "spool.db"
    if not path.exists():
        raise UnavailableError(f"{path}: there is no spool yet; `clima-agent run` makes it")
    file = SpoolFile(path, read_only=True)
    try:
        lanes = [_lane(ledger) for ledger in ledgers_in(file).values()]
        used = file.used_bytes
    finally:
        file.close()
    key_file = configured.identity.key_file
    return {
        "station": configured.station.id,
        "running": _running(configured),
        "key": keys.fingerprint(keys.load(key_file).public) if key_file.exists() else None,
        "spool_bytes": used,
        "waiting": sum(lane["waiting"] for lane in lanes),
        "lanes": lanes,
    }


def _lane(ledger: Ledger) -> dict[str, Any]:
    return {
        "journal": ledger.lane.journal,
        "stream": ledger.lane.stream,
        "since": ledger.since,
        "last": ledger.last,
        "waiting": len(ledger.waiting),
        "acknowledged": len(ledger.acknowledged),
        "dropped": {reason: len(ranges) for reason, ranges in ledger.dropped.items()},
    }


def _running(configured: config.Configuration) -> bool:
    try:
        with exclusive(configured.spool.directory / "spool.lock"):
            return False
    except UnavailableError:
        return True


def _as_text(found: dict[str, Any]) -> str:
    lines = [
        f"station   {found['station']}  ({'running' if found['running'] else 'not running'})",
        f"key       {found['key'] or 'none yet; clima-agent enroll makes it'}",
        f"spool     {found['spool_bytes'] / 1e6:.1f} MB, {found['waiting']} records waiting",
        "",
        f"{'journal':14}{'data':10}{'assigned':>10}{'acknowledged':>14}{'waiting':>10}  given up",
    ]
    names = {"w": "weather", "s": "station", "l": "log"}
    for lane in found["lanes"]:
        dropped = ", ".join(f"{count} {reason}" for reason, count in lane["dropped"].items())
        lines.append(
            f"{lane['journal']:14}{names[lane['stream']]:10}{lane['last']:>10}"
            f"{lane['acknowledged']:>14}{lane['waiting']:>10}  {dropped}".rstrip()
        )
    return "\n".join(lines)
