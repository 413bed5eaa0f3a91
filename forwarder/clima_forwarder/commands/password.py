"""`clima password`: the login of Kibana, for whoever asks on the user station."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from clima_core.errors import EXIT_OK
from clima_elk.vault import PERSON, Vault

HELP = "print Kibana's address, user name and password"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("--vault", type=Path, default=Path("/vault"), help="default: %(default)s")
    parser.add_argument(
        "--public-url",
        default=os.environ.get("CLIMA_PUBLIC_URL") or "http://localhost:5601",
        metavar="URL",
        help="default: $CLIMA_PUBLIC_URL, or http://localhost:5601",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the login: the one command whose output is secret."""
    password = Vault(arguments.vault).read(PERSON)
    print(f"Kibana    {arguments.public_url}")
    print(f"user      {PERSON}")
    print(f"password  {password.reveal()}")
    return EXIT_OK
