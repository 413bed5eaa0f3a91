"""The `clima-agent` command: everything that is done on the station."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from clima_core import commandline

DEFAULT_CONFIG = "/etc/clima/agent.toml"
COMMANDS = ("run", "check", "scan", "read", "enroll", "status", "ir", "sample-config")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    return commandline.main(
        "clima-agent",
        "The weather station: read the sensors, keep the readings, send them.",
        "clima_agent.commands",
        COMMANDS,
        argv,
    )


def add_config(parser: argparse.ArgumentParser, *, above: bool = False) -> None:
    """The `--config` option, alike in all commands that need it.

    `above`: the command has it, too, and its value holds where the action's is left out.
    """
    default = Path(os.environ.get("CLIMA_AGENT_CONFIG", DEFAULT_CONFIG))
    parser.add_argument(
        "-c",
        "--config",
        type=Path,
        metavar="FILE",
        default=argparse.SUPPRESS if above else default,
        help=f"the configuration file (default: $CLIMA_AGENT_CONFIG, or {DEFAULT_CONFIG})",
    )
