"""`clima rotate`: new passwords and a new API key, without losing a reading.

The new ones are in the vault and known to Elasticsearch when this returns; the services take
them up when they are restarted, and this says how. Older API keys work until `--finish`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
from collections.abc import Sequence
from pathlib import Path

import aiohttp

from clima_core.errors import EXIT_FINDING, EXIT_OK, ConfigurationError
from clima_elk.vault import ELASTIC, PERSON, Vault
from clima_forwarder import config, operator
from clima_forwarder.outputs import logstash
from clima_forwarder.outputs.arguments import chosen
from clima_forwarder.provisioning import KEY_FILE
from clima_forwarder.rotation import API_KEY, PASSWORDS, Rotation, readers

HELP = "renew the passwords and the forwarder's API key"

ANSWER_S = 5.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"what to renew: {', '.join((API_KEY, *PASSWORDS))} (default: all)",
    )
    operator.add_operator(parser)
    parser.add_argument(
        "--key-file",
        type=Path,
        metavar="FILE",
        default=KEY_FILE,
        help="where the forwarder's API key lies (default: %(default)s)",
    )
    parser.add_argument(
        "--users",
        choices=("native", "file"),
        default=os.environ.get("CLIMA_USERS") or "native",
        help="whether Elasticsearch keeps users itself or in files (default: $CLIMA_USERS)",
    )
    parser.add_argument(
        "--finish",
        action="store_true",
        help="afterwards, when the services run with the new ones: put the old API keys out",
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="with --finish: without asking the forwarder which key it has",
    )


def run(arguments: argparse.Namespace) -> int:
    """Renew, or finish; exit code 1 when the forwarder still needs the old key, or may."""
    rotation = _rotation(arguments)
    with operator.alone(arguments.vault, arguments.key_file):
        if arguments.finish:
            return asyncio.run(_finished(rotation, arguments))
        names = _names(arguments, rotation)
        asyncio.run(_renewed(rotation, names))
    _say(names, arguments.users)
    return EXIT_OK


def _rotation(arguments: argparse.Namespace) -> Rotation:
    store = operator.elasticsearch_of(chosen(arguments, os.environ))
    if store is None:
        raise ConfigurationError("the output is not Elasticsearch: there is nothing to renew")
    configured = config.load(arguments.config, os.environ).output
    straight = arguments.url or not isinstance(configured, logstash.Options)
    return Rotation(
        Vault(arguments.vault),
        store,
        arguments.key_file,
        "elasticsearch" if straight else "logstash",
        arguments.users,
    )


def _names(arguments: argparse.Namespace, rotation: Rotation) -> list[str]:
    """In the right order; ConfigurationError for what cannot be renewed here."""
    known = [API_KEY, *PASSWORDS] if arguments.users == "native" else list(PASSWORDS)
    if not rotation.vault.has(ELASTIC):
        known = [API_KEY]
    unknown = [name for name in arguments.names if name not in known]
    if unknown:
        raise ConfigurationError(f"{unknown[0]}: cannot be renewed here; {', '.join(known)} can")
    return [name for name in known if name in arguments.names or not arguments.names]


async def _renewed(rotation: Rotation, names: Sequence[str]) -> None:
    connection = await rotation.connect()
    try:
        for name in names:
            await rotation.renew(connection, name)
            print(f"{name}: renewed")
    finally:
        await connection.close()


def _say(names: Sequence[str], kind: str) -> None:
    """What is left to do: until then services go on with what they have, as far as they can."""
    services = readers(names, kind)
    if services or kind == "file":
        print("\nNow, for the services to take them up (nothing is lost meanwhile):")
        print("  docker compose up init")
        if kind == "file":
            print("  docker compose up -d --no-deps --force-recreate elasticsearch")
        if services:
            print(f"  docker compose restart {' '.join(services)}")
    if API_KEY in names:
        print("  docker compose run --rm cli rotate --finish   # puts the old API key out")
    if PERSON in names:
        print("\nKibana's login is a new one: `clima password` shows it. Alert rules go on with")
        print("the API keys of who made them; sessions end.")
    if ELASTIC in names and kind == "native":
        print("\nThe password of `elastic` is in the vault alone: what Elasticsearch was started")
        print("with (ELASTIC_PASSWORD) counted at its first start only.")


async def _finished(rotation: Rotation, arguments: argparse.Namespace) -> int:
    url = config.load(arguments.config, os.environ).http.url
    written = rotation.written()
    if not arguments.force and (reason := await _needs_the_old_key(url, written)):
        print(f"the forwarder at {url} {reason}; no key is put out")
        return EXIT_FINDING
    connection = await rotation.connect()
    try:
        ids = await rotation.finish(connection)
    finally:
        await connection.close()
    print(f"{len(ids)} older API keys are put out" if ids else "there was no older API key")
    return EXIT_OK


async def _needs_the_old_key(url: str, written: float) -> str | None:
    """Why the forwarder may still have another key than the file, which it reads when it starts."""
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(ANSWER_S)) as session,
            session.get(f"{url}/metrics") as answer,
        ):
            found = re.search(r"^clima_start_time_seconds (\S+)", await answer.text(), re.MULTILINE)
    except (aiohttp.ClientError, TimeoutError):
        return (
            "does not answer, and may have the old key: docker compose up -d forwarder, or --force"
            " where there is none"
        )
    if not found or float(found[1]) < written:
        return "still has the old key: docker compose restart forwarder"
    return None
