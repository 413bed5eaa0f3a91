"""`clima-agent enroll`: the station's key, and how it is let in."""

from __future__ import annotations

import argparse
import os
from typing import Any

import msgspec

from clima_agent import config, probe
from clima_agent.cli import add_config
from clima_agent.connection import Forwarder
from clima_core import keys
from clima_core.errors import EXIT_FINDING, EXIT_OK

HELP = "make the station's key, and say how it is let in"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add_config(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Exit code 1 while no configured forwarder lets the station in."""
    configured = config.load(arguments.config, os.environ)
    forwarders = [Forwarder(each.address, each.key()) for each in configured.forwarders]
    pair = keys.load_or_create(configured.identity.key_file)
    station = configured.station.id
    answers = {each.address: probe.ask(each, pair, station) for each in forwarders}
    found: dict[str, Any] = {
        "station": station,
        "public_key": keys.hexadecimal(pair.public),
        "fingerprint": keys.fingerprint(pair.public),
        "forwarders": answers,
    }
    print(msgspec.json.encode(found).decode() if arguments.json else _as_text(found))
    admitted = not answers or "welcome" in answers.values()
    return EXIT_OK if admitted else EXIT_FINDING


def _as_text(found: dict[str, Any]) -> str:
    lines = [
        f"station      {found['station']}",
        f"fingerprint  {found['fingerprint']}",
        "",
        "On the user's station, let it in with",
        f"  clima stations add {found['station']} {found['public_key']}",
        "and compare the fingerprint that it prints.",
    ]
    if found["forwarders"]:
        lines += ["", *(f"{address}: {answer}" for address, answer in found["forwarders"].items())]
    else:
        lines += ["", "No forwarder is configured yet: add a [[forwarders]] table with the address"]
        lines += ["and the public key that `clima forward` logs when it starts."]
    return "\n".join(lines)
