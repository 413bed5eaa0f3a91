"""The `clima` command: everything that is done on the user station."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from clima_core import commandline

COMMANDS = (
    "demo",
    "forward",
    "stations",
    "watch",
    "readings",
    "audit",
    "doctor",
    "provision",
    "backup",
    "restore",
    "rotate",
    "sample-config",
    "dashboards",
    "init",
    "password",
    "demo-stations",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    return commandline.main(
        "clima",
        "Weather stations: take in, keep and show their readings.",
        "clima_forwarder.commands",
        COMMANDS,
        argv,
    )


def add_config(parser: argparse.ArgumentParser) -> None:
    """The `--config` option, alike in all commands that need it."""
    usual = Path.home() / ".clima" / "forwarder.toml"
    given = os.environ.get("CLIMA_CONFIG")
    parser.add_argument(
        "-c",
        "--config",
        type=Path,
        metavar="FILE",
        default=Path(given) if given else usual if usual.exists() else None,
        help=f"the configuration file (default: $CLIMA_CONFIG, or {usual}, or defaults)",
    )
