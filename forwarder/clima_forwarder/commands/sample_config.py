"""`clima sample-config`: a configuration to begin with."""

from __future__ import annotations

import argparse
from importlib.resources import files

from clima_core.errors import EXIT_OK

HELP = "print a configuration to begin with"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It has no options."""


def run(_: argparse.Namespace) -> int:
    """Print the example that is tested with every release."""
    print(files("clima_forwarder").joinpath("forwarder.example.toml").read_text("utf-8"), end="")
    return EXIT_OK
