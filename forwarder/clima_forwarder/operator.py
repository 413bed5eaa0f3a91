"""Whom an operator's command acts as, where the forwarder's own credentials are not enough.

In Compose that is the user `elastic`, whose password lies in the vault; elsewhere it is whoever
the configuration or the environment names.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import msgspec

from clima_core import files
from clima_core.errors import ConfigurationError, UnavailableError
from clima_elk.vault import ELASTIC, Vault
from clima_forwarder.outputs import Options, elasticsearch, logstash
from clima_forwarder.outputs.arguments import add_store, chosen

VAULT = Path("/vault")
LOOK_S = 1.0
PATIENCE_S = 120.0  # for another command that changes secrets; none takes long over it


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


def alone(vault: Path, key_file: Path | None = None) -> AbstractContextManager[None]:
    """Hold the secrets: two at once would each tell the server another one, and keep one."""
    folder = vault if vault.is_dir() else key_file.parent if key_file else None
    return files.alone(folder, PATIENCE_S) if folder else nullcontext()


async def store(
    arguments: argparse.Namespace, environ: Mapping[str, str], patience_s: float = 0.0
) -> Options:
    """The store that the command line or the configuration names, as the operator."""
    options = chosen(arguments, environ)
    if arguments.url:
        return options
    found = elasticsearch_of(options)
    return options if found is None else await acting(found, arguments.vault, patience_s)


async def acting(
    options: elasticsearch.Options, folder: Path, patience_s: float = 0.0
) -> elasticsearch.Options:
    """`as_operator`, by whichever password the server takes after a renewal that was stopped.

    One that has only just started may take none, and is given a while.
    """
    try:
        proposed, current = Vault(folder).proposed(ELASTIC), as_operator(options, folder)
    except ConfigurationError:
        return options
    if proposed is None:
        return current
    deadline = time.monotonic() + patience_s
    while True:
        for each in (current, msgspec.structs.replace(current, password=proposed)):
            if await _takes(each):
                return each
        if time.monotonic() >= deadline:
            return current
        await asyncio.sleep(LOOK_S)


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


def locked_out(folder: Path) -> ConfigurationError:
    """Elasticsearch takes neither the vault's password of `elastic` nor one that was proposed."""
    return ConfigurationError(
        f"{folder / ELASTIC}: Elasticsearch takes another password: one of the volumes is of"
        " another installation, or somebody changed it. `docker compose exec elasticsearch cat"
        " config/clima/elastic` shows the vault's; have Elasticsearch take that one with"
        " `docker compose exec elasticsearch bin/elasticsearch-reset-password -u elastic -i`"
    )


async def _takes(options: elasticsearch.Options) -> bool:
    from clima_forwarder.outputs.elasticsearch.connection import Connection  # noqa: PLC0415, slow

    connection = Connection(options)
    try:
        status, _ = await connection.exchange("GET", "/_security/_authenticate")
    except UnavailableError:
        return False
    finally:
        await connection.close()
    return status == 200
