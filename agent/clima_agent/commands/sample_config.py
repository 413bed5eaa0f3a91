"""`clima-agent sample-config`: a file to begin with, in which every option stands explained."""

from __future__ import annotations

import argparse
from importlib.resources import files

from clima_core.errors import EXIT_OK

HELP = "print a configuration file to begin with"


def add_arguments(_: argparse.ArgumentParser) -> None:
    """It has none."""


def run(_: argparse.Namespace) -> int:
    """Print it."""
    print(text(), end="")
    return EXIT_OK


def text() -> str:
    """The file as it lies in the package; its commented values are the defaults (tested)."""
    return (files("clima_agent") / "agent.example.toml").read_text("utf-8")
