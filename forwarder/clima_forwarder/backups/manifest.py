"""What a backup holds, in a file beside it; a backup without one was never finished."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from clima_core import __version__, files
from clima_core.errors import ConfigurationError

FILE = "manifest.json"
FOLDER = "clima"
NAME = re.compile(r"clima-\d{4}\.\d\d\.\d\d-\d{6}(\.\d{6})?")


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """One backup. `documents` were there when it began; with `exact` nothing came while it ran."""

    format: Literal[1] = 1
    name: str
    created: Annotated[datetime, msgspec.Meta(tz=True)]
    clima: str = __version__
    store: Literal["elasticsearch", "sqlite"]
    version: str = ""  # of Elasticsearch
    documents: dict[str, int]
    exact: bool = True
    files: dict[str, str]  # path within the backup -> SHA-256

    @property
    def total(self) -> int:
        return sum(self.documents.values())


def new_name(now: datetime) -> str:
    """A name that sorts by time, and that Elasticsearch takes for a snapshot."""
    return f"clima-{now.astimezone(UTC):%Y.%m.%d-%H%M%S.%f}"


def folder_of(root: Path, name: str) -> Path:
    """Where a backup's own files are."""
    return root / FOLDER / name


def names(root: Path) -> list[str]:
    """All backups, finished or not, oldest first."""
    folder = root / FOLDER
    if not folder.is_dir():
        return []
    return sorted(each.name for each in folder.iterdir() if NAME.fullmatch(each.name))


def write(root: Path, manifest: Manifest) -> None:
    """Finish a backup: from here on it counts."""
    path = folder_of(root, manifest.name) / FILE
    files.write(path, msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")


def is_finished(root: Path, name: str) -> bool:
    """Whether a backup was made to its end."""
    return (folder_of(root, name) / FILE).exists()


def read(root: Path, name: str) -> Manifest | None:
    """What a backup holds; None for one that was never finished.

    Raises ConfigurationError when the file cannot be understood.
    """
    path = folder_of(root, name) / FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=Manifest)
    except FileNotFoundError:
        return None
    except msgspec.MsgspecError as error:
        raise ConfigurationError(f"{path}: is damaged, or of a newer Clima: {error}") from error


def remove(root: Path, name: str) -> None:
    """Take a backup's files away, the manifest first: what is left then counts as unfinished."""
    folder = folder_of(root, name)
    (folder / FILE).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    found = sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            found.update(block)
    return found.hexdigest()


def damaged(root: Path, manifest: Manifest) -> Iterator[str]:
    """What is wrong with a backup's files, a line each."""
    for name, expected in manifest.files.items():
        path = folder_of(root, manifest.name) / name
        if not path.is_file():
            yield f"{path}: is missing"
        elif digest(path) != expected:
            yield f"{path}: is not what was backed up"
