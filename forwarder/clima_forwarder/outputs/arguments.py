"""Which store a command reads: the forwarder's own, or one named on the command line."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from clima_forwarder import config
from clima_forwarder.cli import add_config
from clima_forwarder.outputs import Options


def add_store(parser: argparse.ArgumentParser) -> None:
    """`--config`, or one of `--url` and `--database`."""
    add_config(parser)
    store = parser.add_mutually_exclusive_group()
    store.add_argument(
        "--url",
        help="an Elasticsearch instead of the configured output; credentials by"
        " CLIMA_FORWARDER_OUTPUT__API_KEY, or CLIMA_FORWARDER_OUTPUT__USERNAME and"
        " CLIMA_FORWARDER_OUTPUT__PASSWORD",
    )
    store.add_argument("--database", type=Path, metavar="FILE", help="an SQLite file instead of it")


def chosen(arguments: argparse.Namespace, environ: Mapping[str, str]) -> Options:
    """The store's options; ConfigurationError with all that is wrong with them."""
    prefix = f"{config.ENVIRONMENT_PREFIX}_OUTPUT__"
    if arguments.url:
        named = {f"{prefix}TYPE": "elasticsearch", f"{prefix}URL": arguments.url}
    elif arguments.database:
        named = {f"{prefix}TYPE": "sqlite", f"{prefix}PATH": str(arguments.database)}
    else:
        return config.load(arguments.config, environ).output
    return config.load(None, {**environ, **named}).output
