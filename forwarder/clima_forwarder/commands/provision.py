"""`clima provision`: all that Clima needs in Elasticsearch and Kibana, put there or taken away."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path

from clima_core.errors import EXIT_FINDING, EXIT_OK, ConfigurationError
from clima_dashboards.kibana import Kibana
from clima_elk import provision, removal, retention
from clima_elk.elasticsearch import InstallError
from clima_elk.installed import State
from clima_elk.server import Server
from clima_elk.steps import Order, Step
from clima_elk.vault import ELASTIC, Vault
from clima_forwarder import operator, painel
from clima_forwarder.outputs import elasticsearch
from clima_forwarder.outputs.elasticsearch.connection import Connection, LoginError
from clima_forwarder.provisioning import (
    KEY_FILE,
    UNKNOWN_S,
    Access,
    check_privileges,
    done,
    ready,
    refused,
    without_key,
)

HELP = "set up Elasticsearch (templates, retention, summaries, roles) and Kibana; or take it away"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    operator.add_operator(parser)
    painel.add_kibana(parser)
    parser.add_argument("--dry-run", action="store_true", help="only say what would change")
    parser.add_argument(
        "--retention",
        action="append",
        default=[],
        type=_retention,
        metavar="DATA=DAYS",
        help="how long weather, station, log or deadletter records are kept: station=365d, or"
        " =forever; stays until another is given (at first: weather and dead letters for ever,"
        " station=90d log=30d)",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="also what a person has changed since"
    )
    parser.add_argument(
        "--no-roles",
        dest="roles",
        action="store_false",
        help="leave roles, users and API keys alone: needs no manage_security",
    )
    parser.add_argument(
        "--key-file",
        type=Path,
        metavar="FILE",
        default=KEY_FILE if KEY_FILE.parent.is_dir() else None,
        help="make the forwarder's API key, and write it there (default: only in Compose)",
    )
    parser.add_argument(
        "--output",
        choices=("logstash", "elasticsearch"),
        default=os.environ.get("CLIMA_OUTPUT") or "elasticsearch",
        help="who writes the readings: Logstash, or the forwarder itself, which needs a privilege"
        " more for it (default: $CLIMA_OUTPUT, or elasticsearch)",
    )
    parser.add_argument(
        "--users",
        choices=("native", "file"),
        default=os.environ.get("CLIMA_USERS") or "native",
        help="whether Elasticsearch keeps users itself or in files (default: $CLIMA_USERS)",
    )
    parser.add_argument(
        "--wait",
        type=float,
        metavar="SECONDS",
        help="for a server that is still starting (default: 60 in Compose, else 0)",
    )
    parser.add_argument(
        "--strict", action="store_true", help="exit code 1 when anything had to be left out"
    )
    parser.add_argument("--remove", action="store_true", help="take all of it away; data stays")
    parser.add_argument(
        "--delete-data",
        action="append",
        default=[],
        metavar="NAME",
        help="with --remove: delete this data stream or index too, and all that is in it; all:"
        " every one of Clima's",
    )


def run(arguments: argparse.Namespace) -> int:
    """Provision, or remove, or say what that would do."""
    if arguments.delete_data and not arguments.remove:
        raise ConfigurationError("--delete-data goes with --remove")
    return asyncio.run(_run(arguments))


async def _run(arguments: argparse.Namespace) -> int:
    wait_s = _wait_s(arguments)
    options = await _options(arguments, min(wait_s, UNKNOWN_S))
    connection = Connection(options)
    kibana = painel.given(arguments, options)
    waiting = partial(_say_waiting, wait_s)
    try:
        try:
            server = await ready(connection, wait_s, waiting)
        except LoginError as error:
            vaulted = not arguments.url and options.username == ELASTIC
            raise operator.locked_out(arguments.vault) if vaulted else error from error
        native = arguments.roles and server.users and arguments.users == "native"
        await check_privileges(connection, server, roles=native)
        order = Order(
            connection.exchange,
            server,
            dict(arguments.retention),
            overwrite=arguments.overwrite,
            roles=native,
        )
        if kibana:
            await painel.ready(kibana, wait_s, waiting)
        with operator.alone(arguments.vault, arguments.key_file):
            steps = await _planned(arguments, order, connection, options, kibana)
            if arguments.dry_run:
                _show(steps)
            else:
                await _do(connection, steps)
    except InstallError as error:
        raise refused(connection, error) from error
    finally:
        await connection.close()
    left = _left_out(server, steps, arguments)
    return EXIT_FINDING if left and arguments.strict else EXIT_OK


async def _options(arguments: argparse.Namespace, patience_s: float) -> elasticsearch.Options:
    environ = without_key(arguments.config, os.environ)
    store = await operator.store(arguments, environ, patience_s)
    if not isinstance(store, elasticsearch.Options):
        raise ConfigurationError(
            "the output is not Elasticsearch: give --url, or configure it in [output]"
        )
    return store


def _wait_s(arguments: argparse.Namespace) -> float:
    """Only in Compose is it likely that the server is just starting; who only asks never waits."""
    if arguments.wait is not None:
        return float(arguments.wait)
    return 60.0 if arguments.vault.is_dir() and not arguments.dry_run else 0.0


def _say_waiting(wait_s: float, url: str) -> None:
    print(f"waiting up to {wait_s:g} s for {url} (--wait)", file=sys.stderr, flush=True)


async def _planned(
    arguments: argparse.Namespace,
    order: Order,
    connection: Connection,
    options: elasticsearch.Options,
    kibana: Kibana | None,
) -> list[Step]:
    if arguments.remove:
        panels = await painel.removal(kibana) if kibana else []
        try:
            return [*panels, *await removal.plan(order, arguments.delete_data)]
        except ValueError as error:
            raise ConfigurationError(f"--delete-data: {error}") from error
    steps = await provision.plan(order)
    if order.roles:
        vault = Vault(arguments.vault)
        access = Access(connection, options, vault, arguments.key_file, arguments.output)
        steps += await access.steps()
    if kibana:
        steps += await painel.steps(kibana, arguments.language, overwrite=arguments.overwrite)
    return steps


async def _do(connection: Connection, steps: Sequence[Step]) -> None:
    count = 0
    async for step, said in done(connection, steps):
        count += step.changes
        note = f" ({step.note})" if step.note else ""
        print(f"{step.what} {step.name}: {said}{note}", flush=True)
    print(f"{count} of {len(steps)} changed")


def _show(steps: Sequence[Step]) -> None:
    for step in steps:
        action = "  *" if step.changes else ""
        note = f"  {step.note}" if step.note else ""
        print(f"{step.what:18} {step.name:32} {step.state}{note}{action}".rstrip())
    print(f"{sum(step.changes for step in steps)} of {len(steps)} would be changed (*)")


def _left_out(server: Server, steps: Sequence[Step], arguments: argparse.Namespace) -> bool:
    """Say what this server lacks, and what is not as Clima brings it."""
    if arguments.remove:
        return False
    lacking = list(server.lacking())
    for each in lacking:
        print(f"this server: {each}", file=sys.stderr)
    kept = [
        step
        for step in steps
        if step.do is None
        and (step.state == State.CHANGED or (step.state == State.UNKNOWN and step.note))
    ]
    for step in kept:
        print(f"{step.what} {step.name}: {step.state}; {step.note}", file=sys.stderr)
    return bool(lacking or kept)


def _retention(text: str) -> tuple[str, timedelta | None]:
    try:
        return retention.parsed(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
