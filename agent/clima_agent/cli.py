"""The command line of `clima-agent`: finds the command, imports it alone, and says what went wrong.

Only the module of the command that was asked for is imported, so that `run` holds nothing in
memory that it does not need. Whatever Clima raises on purpose ends as one message per problem
and the exit code of its class, never as a traceback.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType

from clima_core import __version__
from clima_core.errors import EXIT_OK, ClimaError, ConfigurationError

COMMANDS = {
    "run": "take readings, keep them, send them",
    "check": "check the configuration and what it needs of this machine",
    "scan": "list what is on the I2C buses, with the configuration lines for it",
    "read": "read the sensors now and show raw and corrected values",
    "enroll": "make this station's keys and show what the forwarder needs to know",
    "status": "show how the agent on this machine is doing",
    "sample-config": "print a configuration file to begin with",
}
EXIT_CODES = """exit codes: 0 all is well; 1 the command worked and found something wrong;
2 wrong usage; 69 something outside is not there; 70 a fault of the agent; 78 wrong configuration"""
EXIT_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is its answer."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    chosen = next((each for each in arguments if each in COMMANDS), None)
    module = _module(chosen) if chosen else None
    parsed = _parser(chosen, module).parse_args(arguments)
    try:
        return int(_module(parsed.command).run(parsed))
    except ClimaError as error:
        problems = error.problems if isinstance(error, ConfigurationError) else [str(error)]
        for problem in problems:
            sys.stderr.write(f"clima-agent: {problem}\n")
        return error.exit_code
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # `clima-agent read | head`: nobody listens any more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK


def add_config(parser: argparse.ArgumentParser) -> None:
    """The `--config` option, alike in all commands that need it; `configuration` reads it."""
    parser.add_argument(
        "-c",
        "--config",
        type=Path,
        metavar="FILE",
        default=os.environ.get("CLIMA_AGENT_CONFIG", "/etc/clima/agent.toml"),
        help="the configuration file (default: $CLIMA_AGENT_CONFIG, or /etc/clima/agent.toml)",
    )


def _parser(chosen: str | None, module: ModuleType | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="clima-agent", description="Clima's weather station.", epilog=EXIT_CODES
    )
    parser.add_argument("--version", action="version", version=f"clima-agent {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, text in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text.capitalize() + ".")
        if name == chosen and module:
            module.add_arguments(command)
    return parser


def _module(name: str) -> ModuleType:
    return import_module(f"clima_agent.commands.{name.replace('-', '_')}")
