"""`clima stations`: who is let in. Each change counts from the station's very next message."""

from __future__ import annotations

import json
import os
from argparse import ArgumentParser, Namespace
from pathlib import Path

from clima_core.errors import EXIT_OK, ConfigurationError
from clima_core.keys import load_certificate, public_key
from clima_forwarder import config
from clima_forwarder.cli import add_config
from clima_forwarder.stations import Station, Stations

HELP = "let stations in, list them, put them out"


def add_arguments(parser: ArgumentParser) -> None:
    """The three things one can do with a station."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)

    add = actions.add_parser("add", help="let a station in")
    add.add_argument("id", metavar="ID", help="the station.id of its agent.toml")
    add.add_argument(
        "public_key", metavar="PUBLIC_KEY", help="as `clima-agent enroll` prints it, or a key file"
    )
    add.add_argument("--name", default="", help="what people call it")
    add.add_argument("--replace", action="store_true", help="put its earlier key out")
    add.set_defaults(action=_add)

    listing = actions.add_parser("list", help="who is let in")
    listing.add_argument("--json", action="store_true", help="for scripts: one array of objects")
    listing.set_defaults(action=_list)

    revoke = actions.add_parser("revoke", help="put a station out, at once")
    revoke.add_argument("id", metavar="ID")
    revoke.set_defaults(action=_revoke)

    for action in (add, listing, revoke):
        add_config(action)


def run(args: Namespace) -> int:
    """Do it; returns the exit code."""
    directory = config.load(args.config, os.environ).stations.directory
    code: int = args.action(Stations(directory), args)
    return code


def _add(stations: Stations, args: Namespace) -> int:
    given = Path(args.public_key)
    key = (
        load_certificate(given).public
        if given.is_file()
        else public_key(args.public_key, "PUBLIC_KEY")
    )
    station = stations.add(args.id, key, args.name, replace=args.replace)
    print(f"{station.id} is let in; its key reads {station.fingerprint}")
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
