"""Whom an operator's command acts as, where the forwarder's own credentials are not enough.

In Compose that is the user `elastic`, whose password lies in the vault; elsewhere it is whoever
the configuration or the environment names.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import msgspec

from clima_core.errors import ConfigurationError
from clima_elk.vault import ELASTIC, Vault
from clima_forwarder.outputs import Options, elasticsearch, logstash
from clima_forwarder.outputs.arguments import add_store, chosen

VAULT = Path("/vault")


def add_operator(parser: argparse.ArgumentParser) -> None:
    """The store's options, and where the password of `elastic` is."""
    add_store(parser)
    add_vault(parser)


def add_vault(parser: argparse.ArgumentParser) -> None:
    """`--vault`, alike in all commands that need it."""
    parser.add_argument(
        "--vault",
        type=Path,
        metavar="FOLDER",
        default=VAULT,
        help="where the password of `elastic` lies (default: %(default)s; without one: as"
        " configured)",
    )


def store(arguments: argparse.Namespace, environ: Mapping[str, str]) -> Options:
    """The store that the command line or the configuration names, as the operator."""
    options = chosen(arguments, environ)
    if arguments.url:
        return options
    found = elasticsearch_of(options)
    return options if found is None else as_operator(found, arguments.vault)


def elasticsearch_of(options: Options) -> elasticsearch.Options | None:
    """Where the readings end up, if that is Elasticsearch."""
    if isinstance(options, logstash.Options):
        return options.elasticsearch
    return options if isinstance(options, elasticsearch.Options) else None


def as_operator(options: elasticsearch.Options, folder: Path) -> elasticsearch.Options:
    """The same server as `elastic`, where the vault has its password; else as it was."""
    try:
        password = Vault(folder).read(ELASTIC)
    except ConfigurationError:
        return options
    return msgspec.structs.replace(options, api_key=None, username=ELASTIC, password=password)
