"""`clima-agent ir`: learn infrared codes and send them by hand, to an air conditioner for one.

Nothing here is done by itself: there is no automation, and the daemon has no part in it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys

from clima_agent import config, ir
from clima_agent.cli import add_config
from clima_core.errors import EXIT_FINDING, EXIT_OK, ConfigurationError

HELP = "learn and send infrared codes, by hand"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The three commands; the configuration may be named before or after each."""
    add_config(parser)
    actions = parser.add_subparsers(metavar="ACTION", title="actions", required=True)
    learn = actions.add_parser("learn", help="see what a remote control sends, and keep it")
    learn.add_argument("name", metavar="NAME", help='what to call it, as "fan-on"')
    learn.add_argument("--replace", action="store_true", help="also where the name is taken")
    learn.add_argument("--wait", type=float, default=15.0, metavar="S", help="seconds (15)")
    learn.set_defaults(action=_learn)
    send = actions.add_parser("send", help="send what was learned")
    send.add_argument("name", metavar="NAME")
    send.set_defaults(action=_send)
    listed = actions.add_parser("list", help="what was learned")
    listed.add_argument("--json", action="store_true", help="one JSON object per line")
    listed.set_defaults(action=_list)
    for each in (learn, send, listed):
        add_config(each, above=True)


def run(arguments: argparse.Namespace) -> int:
    """Exit code 69 when there is no device, or nothing is seen; 78 for a code that is none."""
    return int(arguments.action(arguments, config.load(arguments.config, os.environ).ir))


def _learn(arguments: argparse.Namespace, options: config.Infrared) -> int:
    path = ir.path_of(options.directory, arguments.name)
    if path.exists() and not arguments.replace:
        raise ConfigurationError(f"{path}: the name is taken; --replace learns it anew")
    device = options.receiver or ir.device("receive")
    print("Point the remote control at the receiver and press the button once …", file=sys.stderr)
    code = ir.receive(device, arguments.wait)
    ir.keep(path, code)
    print(_line(arguments.name, code))
    return EXIT_OK


def _send(arguments: argparse.Namespace, options: config.Infrared) -> int:
    path = ir.path_of(options.directory, arguments.name)
    ir.load(path)
    ir.send(options.transmitter or ir.device("send"), path)
    return EXIT_OK


def _list(arguments: argparse.Namespace, options: config.Infrared) -> int:
    """Exit code 1 when one of them cannot be sent."""
    worst = EXIT_OK
    for path in sorted(options.directory.glob("*" + ir.SUFFIX)):
        try:
            code = ir.load(path)
        except ConfigurationError as error:
            print(error, file=sys.stderr)
            worst = EXIT_FINDING
            continue
        found = {"name": path.stem, "pulses": code.pulses, "seconds": round(code.seconds, 4)}
        print(json.dumps(found) if arguments.json else _line(path.stem, code))
    return worst


def _line(name: str, code: ir.Code) -> str:
    return f"{name}: {code.pulses} pulses, {code.seconds * 1000:.0f} ms"
