"""`clima backup`: the readings, the forwarder's key and the list of stations, and proof of it.

A backup is finished when its manifest is there. One that was stopped before that is listed as
unfinished, cannot be restored, and goes with the next `--keep`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path

from clima_core import files
from clima_core.errors import EXIT_OK, ConfigurationError, UnavailableError
from clima_forwarder import config, operator
from clima_forwarder.backups import database, keyring, manifest
from clima_forwarder.backups.arguments import REPOSITORY_FOLDER, add_folder, snapshots
from clima_forwarder.backups.manifest import Manifest
from clima_forwarder.backups.snapshots import Snapshots
from clima_forwarder.outputs import elasticsearch, sqlite

HELP = "save the readings, the forwarder's key and the list of stations"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add_folder(parser)
    parser.add_argument("--list", action="store_true", help="show which backups there are")
    parser.add_argument(
        "--keep",
        type=_count,
        metavar="N",
        help="then delete all backups but the N newest, and unfinished ones",
    )


def run(arguments: argparse.Namespace) -> int:
    """Make a backup, or list them."""
    if arguments.list:
        _list(arguments.folder)
        return EXIT_OK
    _make(arguments.folder / manifest.FOLDER)
    with files.alone(arguments.folder):  # `--keep` takes away what was never finished
        asyncio.run(_made(arguments))
    return EXIT_OK


async def _made(arguments: argparse.Namespace) -> None:
    root: Path = arguments.folder
    store = await operator.store(arguments, os.environ)
    now = datetime.now(UTC)
    name = manifest.new_name(now)
    folder = manifest.folder_of(root, name)
    _make(folder)
    saved = keyring.save(config.load(arguments.config, os.environ).stations, folder)
    if isinstance(store, sqlite.Options):
        documents = database.save(store.path, folder / database.FILE)
        saved[database.FILE] = manifest.digest(folder / database.FILE)
        made = Manifest(name=name, created=now, store="sqlite", documents=documents, files=saved)
        manifest.write(root, made)
        for old in _superfluous(root, arguments.keep):
            manifest.remove(root, old)
    elif isinstance(store, elasticsearch.Options):
        async with aclosing(snapshots(arguments, store)) as taking:
            made = await _snapshot(taking, name, now, saved)
            _must_be_here(arguments)
            manifest.write(root, made)
            for old in _superfluous(root, arguments.keep):
                await taking.delete(old)
                manifest.remove(root, old)
    _say(made, folder)


async def _snapshot(taking: Snapshots, name: str, now: datetime, saved: dict[str, str]) -> Manifest:
    """Count, take the snapshot, and count again: what came meanwhile may be in it or not."""
    await taking.open()
    before = await taking.counts()
    taken = await taking.take(name)
    lacking = sorted(set(before) - {*taken.data_streams, *taken.indices})
    if lacking:
        raise UnavailableError(f"snapshot {name} lacks {', '.join(lacking)}")
    return Manifest(
        name=name,
        created=now,
        store="elasticsearch",
        version=taken.version,
        documents=before,
        exact=before == await taking.counts(),
        files=saved,
    )


def _must_be_here(arguments: argparse.Namespace) -> None:
    """Whoever copies the folder away believes that the readings are in it."""
    if arguments.location is None and arguments.repository is None:
        path = arguments.folder / REPOSITORY_FOLDER
        if not (path / "index.latest").exists():
            raise ConfigurationError(
                f"Elasticsearch's snapshots are not in {path}: its path.repo is another folder, or"
                f" {path} cannot be read here; --folder is to be its path.repo, or say with"
                " --location that they lie elsewhere"
            )


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, mode=0o700, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"{folder}: cannot be made: {error.strerror}; --folder says where backups go"
        ) from error


def _superfluous(root: Path, keep: int | None) -> list[str]:
    """What goes when so many are kept."""
    if keep is None:
        return []
    finished = [name for name in manifest.names(root) if manifest.is_finished(root, name)]
    return [name for name in manifest.names(root) if name not in finished[-keep:]]


def _say(made: Manifest, folder: Path) -> None:
    stations = sum(
        name.startswith("stations/") and name.count("/") == 1 and name.endswith(".key")
        for name in made.files
    )
    print(f"{made.name}: {made.total:,} documents, {stations} stations")
    for name, count in sorted(made.documents.items()):
        print(f"  {name}  {count:,}{'' if made.exact else ' or more'}")
    if keyring.KEY in made.files:
        print(f"{folder / keyring.KEY} is secret: whoever has it can pose as your forwarder")
    print("Copy the whole folder to another disk; `clima restore` brings it back.")


def _list(root: Path) -> None:
    names = manifest.names(root)
    if not names:
        print(f"no backups in {root}; `clima backup` makes one")
    for name in names:
        print(f"{name}  {_state(root, name)}")


def _state(root: Path, name: str) -> str:
    """One line for people."""
    try:
        made = manifest.read(root, name)
    except ConfigurationError as error:
        return str(error)
    if made is None:
        return "unfinished"
    if problems := list(manifest.damaged(root, made)):
        return f"damaged: {problems[0]}"
    return f"{made.store} {made.version}".strip() + f", {made.total:,} documents"


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'"{text}": expected how many to keep, at least 1')
    return int(text)
