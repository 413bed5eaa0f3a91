"""`clima restore`: a backup into an empty host; what is there is not overwritten unless told."""

from __future__ import annotations

import argparse
import asyncio
import os
from contextlib import aclosing
from pathlib import Path

import aiohttp

from clima_core import files
from clima_core.errors import EXIT_FINDING, EXIT_OK, ConfigurationError
from clima_elk.server import numbers
from clima_forwarder import config, operator
from clima_forwarder.backups import database, keyring, manifest
from clima_forwarder.backups.arguments import add_folder, snapshots
from clima_forwarder.backups.manifest import Manifest
from clima_forwarder.backups.snapshots import Snapshots
from clima_forwarder.config import Configuration
from clima_forwarder.outputs import elasticsearch, sqlite

HELP = "bring a backup back, into a store that is empty"

ASKED_S = 2.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add_folder(parser)
    parser.add_argument("name", nargs="?", metavar="NAME", help="which (default: the newest)")
    parser.add_argument(
        "--replace",
        action="store_true",
        help="DELETE the readings that are there now, and put the keys that are there aside",
    )


def run(arguments: argparse.Namespace) -> int:
    """Restore, compare with what was counted, and say what to do next."""
    root: Path = arguments.folder
    if not root.is_dir():
        raise ConfigurationError(f"{root}: there is no such folder; --folder says where it is")
    with files.alone(root):
        return asyncio.run(_restored(arguments))


async def _restored(arguments: argparse.Namespace) -> int:
    root: Path = arguments.folder
    configured = config.load(arguments.config, os.environ)
    store = await operator.store(arguments, os.environ)
    made = _chosen(root, arguments.name)
    folder = manifest.folder_of(root, made.name)
    kind = "sqlite" if isinstance(store, sqlite.Options) else "elasticsearch"
    if made.store != kind:
        raise ConfigurationError(
            f"{made.name} is of the output {made.store}, and here it is {kind}: set [output] type"
        )
    await _must_not_run(configured)
    if (conflicts := keyring.conflicts(configured.stations, folder)) and not arguments.replace:
        raise ConfigurationError([*conflicts, "--replace puts what is there aside"])
    if isinstance(store, sqlite.Options):
        found, notes = _sqlite(store.path, folder, arguments.replace)
    elif isinstance(store, elasticsearch.Options):
        async with aclosing(snapshots(arguments, store)) as restoring:
            found = await _elasticsearch(restoring, made, arguments.replace)
        notes = []
    notes += keyring.restore(configured.stations, folder)
    for note in notes:
        print(note)
    return _compared(made, found)


def _chosen(root: Path, name: str | None) -> Manifest:
    """The backup, finished and undamaged; ConfigurationError with what is wrong with it."""
    names = manifest.names(root)
    finished = [each for each in names if manifest.is_finished(root, each)]
    if name is None and not finished:
        raise ConfigurationError(f"{root}: there is no finished backup; --folder says where")
    if name is not None and name not in names:
        raise ConfigurationError(f'{root}: no backup "{name}"; `clima backup --list` shows all')
    made = manifest.read(root, name or finished[-1])
    if made is None:
        raise ConfigurationError(f"{name} was never finished; `clima backup --list` shows all")
    if problems := list(manifest.damaged(root, made)):
        raise ConfigurationError(problems)
    return made


async def _must_not_run(configured: Configuration) -> None:
    """A forwarder that stores meanwhile would make the data streams that are to come back."""
    url = f"{configured.http.url}/healthz"
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(ASKED_S)) as session,
            session.get(url) as answer,
        ):
            answered = answer.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return
    if answered:
        raise ConfigurationError(
            f"the forwarder at {url} runs; stop it first: docker compose stop forwarder logstash"
        )


def _sqlite(path: Path, folder: Path, replace: bool) -> tuple[dict[str, int], list[str]]:
    if (there := database.holds(path)) and not replace:
        raise ConfigurationError(
            f"{path} holds {there:,} documents; --replace puts it aside, and restores all the same"
        )
    kept = database.restore(folder / database.FILE, path)
    return database.counted(path), [f"{path} was put aside as {kept.name}"] if kept else []


async def _elasticsearch(restoring: Snapshots, made: Manifest, replace: bool) -> dict[str, int]:
    await restoring.open()
    states = {each.snapshot: each.state for each in await restoring.list()}
    if states.get(made.name) != "SUCCESS":
        raise ConfigurationError(
            f"the snapshot {made.name} is {states.get(made.name, 'not there')}: was all of the"
            " folder copied, with elasticsearch/ in it?"
        )
    there = {name: count for name, count in (await restoring.counts()).items() if count}
    if there and not replace:
        said = ", ".join(f"{name} ({count:,})" for name, count in sorted(there.items()))
        raise ConfigurationError(
            f"{restoring.url} holds documents already: {said}; restore into an empty one, or"
            " --replace DELETES these first"
        )
    if numbers(made.version) > numbers(running := await restoring.version()):
        raise ConfigurationError(
            f"{made.name} is of Elasticsearch {made.version}, and this is {running}: an older one"
            " cannot read it"
        )
    return await restoring.restore(made.name)


def _compared(made: Manifest, found: dict[str, int]) -> int:
    """Say what came back; exit code 1 when it is not what was counted."""
    code = EXIT_OK
    for name, counted in sorted(made.documents.items()):
        back = found.get(name, 0)
        right = back == counted or (back > counted and not made.exact)
        said = "" if right else f"  BUT {counted:,} WERE BACKED UP"
        print(f"  {name}  {back:,}{said}")
        code = code if right else EXIT_FINDING
    print(f"{made.name} is restored: {sum(found.values()):,} documents, and the stations' keys.")
    print("Now: clima provision (Compose: docker compose up -d), then clima audit")
    return code
