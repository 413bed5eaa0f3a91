"""The frame of both command lines: which command, and how whatever goes wrong is said.

A command is a module with HELP, `add_arguments(parser)` and `run(args) -> exit code`; only the
one that is called is imported. What always holds: anything that a person can mend is said in one
message on standard error, with the exit code of its kind (docs/operations.md); a traceback means
a fault in Clima itself, and exit code 70, never the 1 of a command that found bad news.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module

from clima_core import __version__
from clima_core.configuration import nearest
from clima_core.errors import EXIT_SOFTWARE, EXIT_UNAVAILABLE, EXIT_USAGE, ClimaError

EXIT_INTERRUPTED = 130  # as a shell says it: 128 + SIGINT
EXIT_BROKEN_PIPE = 141  # 128 + SIGPIPE


def main(
    program: str,
    description: str,
    package: str,
    commands: Sequence[str],
    argv: Sequence[str] | None = None,
) -> int:
    """Run one of the commands, each a module of the package; returns its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    args = _parser(program, description, package, commands, arguments).parse_args(arguments)
    try:
        code = int(args.run(args))
        sys.stdout.flush()
    except ClimaError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # `clima readings | head`; what is buffered has nowhere to go
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_BROKEN_PIPE
    except OSError as error:
        print(f"{error.filename or program}: {error.strerror or error}", file=sys.stderr)
        return EXIT_UNAVAILABLE
    except Exception:  # noqa: BLE001, the last place to say anything at all
        traceback.print_exc()
        print(
            f"{program} {__version__}: this is a fault in Clima; please report it", file=sys.stderr
        )
        return EXIT_SOFTWARE
    return code


def _parser(
    program: str, description: str, package: str, commands: Sequence[str], arguments: list[str]
) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(program, description=description, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"{program} {__version__}")
    choices = parser.add_subparsers(metavar="COMMAND", title="commands")
    first = arguments[0] if arguments else ""
    for name in [first] if first in commands else commands:
        module = import_module(f"{package}.{name.replace('-', '_')}")
        command = choices.add_parser(
            name, help=module.HELP, description=module.HELP, allow_abbrev=False
        )
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    if not first:
        parser.print_help(sys.stderr)
        parser.exit(EXIT_USAGE)
    if first not in commands and not first.startswith("-"):
        parser.error(f'no command "{first}"{nearest(first, commands)}')
    return parser
