"""`clima stations`: who is let in. Each change counts from the station's very next message."""

from __future__ import annotations

import json
import os
import time
from argparse import ArgumentParser, Namespace

import msgspec

from clima_core import keys, terminal
from clima_core.errors import EXIT_FINDING, EXIT_OK, ConfigurationError
from clima_core.identity import STATION_ID
from clima_forwarder import config
from clima_forwarder.cli import add_config
from clima_forwarder.pairing.consent import Consent, table
from clima_forwarder.pairing.requests import Requests
from clima_forwarder.stations import Station, Stations

HELP = "let stations in, list them, put them out"


def add_arguments(parser: ArgumentParser) -> None:
    """What one can do with a station."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)

    add = actions.add_parser("add", help="let a station in; with no ID shows those that ask")
    add.add_argument("id", metavar="ID", nargs="?", help="the station.id of its agent.toml")
    given = add.add_mutually_exclusive_group()
    given.add_argument(
        "public_key",
        metavar="PUBLIC_KEY",
        nargs="?",
        help="instead of pairing: as `clima-agent enroll` prints it, or a key file",
    )
    given.add_argument("--digits", help="the six that the station shows; asks nothing then")
    add.add_argument("--name", default="", help="what people call it")
    add.add_argument("--replace", action="store_true", help="put its earlier key out")
    add.set_defaults(action=_add)

    pending = actions.add_parser("pending", help="who asks to be let in")
    pending.add_argument("--json", action="store_true", help="for scripts: one array of objects")
    pending.set_defaults(action=_pending)

    listing = actions.add_parser("list", help="who is let in")
    listing.add_argument("--json", action="store_true", help="for scripts: one array of objects")
    listing.set_defaults(action=_list)

    revoke = actions.add_parser("revoke", help="put a station out, at once")
    revoke.add_argument("id", metavar="ID")
    revoke.set_defaults(action=_revoke)

    for action in (add, pending, listing, revoke):
        add_config(action)


def run(args: Namespace) -> int:
    """Do it; returns the exit code."""
    directory = config.load(args.config, os.environ).stations.directory
    code: int = args.action(Stations(directory), args)
    return code


def _add(stations: Stations, args: Namespace) -> int:
    if args.public_key is None:
        return _pair(stations, args)
    key = keys.given(args.public_key, "PUBLIC_KEY")
    station = stations.add(args.id, key, args.name, replace=args.replace)
    print(f"{station.id} is let in; its key reads {station.fingerprint}")
    return EXIT_OK


def _pair(stations: Stations, args: Namespace) -> int:
    """Let in who asks, if the digits agree."""
    if args.id is not None and not STATION_ID.fullmatch(args.id):
        raise ConfigurationError(f'ID: "{args.id}" is no station id; before a PUBLIC_KEY comes one')
    requests = Requests(stations.directory)
    consent = Consent(requests, stations, say=_say, replace=args.replace, name=args.name)
    if args.digits is not None:
        if args.id is None:
            raise ConfigurationError("--digits: needs the ID of the station that shows them")
        consent.by_digits(args.id, args.digits)
        return EXIT_OK
    if not terminal.someone():
        _say(table(requests.pending(args.id), stations, time.time()))
        _say("Nobody to ask here: give ID and --digits, or PUBLIC_KEY")
        return EXIT_FINDING
    return EXIT_OK if consent.by_asking(terminal.ask, args.id) else EXIT_FINDING


def _say(text: str) -> None:
    print(text, flush=True)


def _pending(stations: Stations, args: Namespace) -> int:
    found = Requests(stations.directory).pending()
    if args.json:
        print(msgspec.json.encode(found).decode())
    elif found:
        print(table(found, stations, time.time()))
    else:
        print("no station asks; on the Pi: sudo clima-agent enroll ADDRESS-OF-THIS-HOST")
    return EXIT_OK


def _list(stations: Stations, args: Namespace) -> int:
    found, problems = stations.read()
    if args.json:
        print(json.dumps([_fields(station) for station in found], ensure_ascii=False, indent=2))
    elif found:
        width = max(len(station.id) for station in found)
        for station in found:
            columns = f"{station.id:{width}}  {station.fingerprint}  {station.added:20}"
            print(f"{columns}  {station.name}".rstrip())
    else:
        print(f"no stations in {stations.directory}; `clima stations add` lets one in")
    if problems:
        raise ConfigurationError(sorted(problems))
    return EXIT_OK


def _revoke(stations: Stations, args: Namespace) -> int:
    stations.revoke(args.id)
    print(f"{args.id} is put out; its certificate is kept in {stations.directory / 'revoked'}")
    return EXIT_OK


def _fields(station: Station) -> dict[str, str]:
    return {
        "id": station.id,
        "name": station.name,
        "public_key": station.public_key,
        "fingerprint": station.fingerprint,
        "added": station.added,
    }
