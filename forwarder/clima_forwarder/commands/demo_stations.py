"""`clima demo-stations`: two real stations to look at, for agents in containers of their own.

Makes a folder for each with its configuration, its key and what was recorded there in 2013, and
lets it in. Compose runs this for the profile `demo`; a key that is there is kept.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
from pathlib import Path

from clima_core import keys
from clima_core.errors import EXIT_OK
from clima_forwarder import config
from clima_forwarder.cli import add_config
from clima_forwarder.demo.stage import RECORDING, airports
from clima_forwarder.stations import Stations

HELP = "make two demo stations, let in, for agents elsewhere (Compose's profile `demo` runs this)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add_config(parser)
    parser.add_argument(
        "--directory", type=Path, default=Path("/demo"), help="default: %(default)s"
    )
    parser.add_argument(
        "--forwarder",
        default="tcp://forwarder:5570",
        metavar="ADDRESS",
        help="where the stations find it (default: %(default)s)",
    )


def run(arguments: argparse.Namespace) -> int:
    """A folder for each station, with all that its agent needs."""
    configured = config.load(arguments.config, os.environ).stations
    forwarder = keys.load_or_create(configured.key_file).public
    stations = Stations(configured.directory)
    known = {each.id: each.public_key for each in stations.read()[0]}
    with tempfile.TemporaryDirectory() as scratch:
        for station, text, _ in airports(Path(scratch)):
            folder = arguments.directory / station
            key = keys.load_or_create(folder / "agent.key")
            shutil.copyfile(Path(scratch) / RECORDING, folder / RECORDING)
            (folder / "agent.toml").write_text(
                _configuration(text, arguments.forwarder, forwarder), "utf-8"
            )
            if known.get(station) != key.public:
                stations.add(station, key.public, "demo", replace=True)
            print(f"{station} is let in; its agent finds all it needs in {folder}")
    return EXIT_OK


def _configuration(station: str, address: str, public_key: str) -> str:
    """A week of the recording at once, then each reading when its time has come."""
    return (
        f'{station}times = "repeated"\n\n[sampling]\nspeed = "max"\n\n'
        '[clock]\ntrust = "system"\n\n'
        '[spool]\ndirectory = "spool"\ncommit_window_s = 2\n\n'
        '[identity]\nkey_file = "agent.key"\n\n'
        f"[[forwarders]]\naddress = {json.dumps(address)}\npublic_key = {json.dumps(public_key)}\n"
    )
