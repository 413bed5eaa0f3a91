"""The forwarder's key and the list of stations: without them no station is heard."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from clima_core import files
from clima_forwarder.backups.manifest import digest
from clima_forwarder.config import Stations as Configured
from clima_forwarder.pairing.requests import PAIRING

KEY = "forwarder.key"
STATIONS = "stations"


def save(configured: Configured, folder: Path) -> dict[str, str]:
    """Copy what there is into a backup's folder; returns name and SHA-256 of each file."""
    found: dict[str, str] = {}
    for source, name in _sources(configured):
        _copy(source, folder / name)
        found[name] = digest(folder / name)
    return found


def conflicts(configured: Configured, folder: Path) -> list[str]:
    """What a restore would overwrite, a line each; not what is the same, or of no use."""
    found = []
    for name, target in _targets(configured, folder):
        if target.suffix != ".key" or not _differs(folder / name, target):
            continue
        if name == KEY and not any(configured.directory.glob("*.key")):
            continue  # made at the first start of a forwarder that no station knows yet
        found.append(f"{target}: is there already, and another one")
    return found


def restore(configured: Configured, folder: Path) -> list[str]:
    """Put the files where the forwarder looks for them; returns what is worth knowing of it.

    Stations that are let in here and are not in the backup stay. Whoever was put out, here or by
    the time of the backup, stays out.
    """
    notes: list[str] = []
    put_out = {digest(path) for path in configured.directory.glob("revoked/*.key")}
    for name, target in _targets(configured, folder):
        if target.suffix == ".log":  # from here on they count
            notes += _put_out(configured, folder)
        if digest(folder / name) in put_out and target.parent == configured.directory:
            notes.append(f"{target.stem} was put out here, and stays out")
            continue
        if _differs(folder / name, target):
            notes.append(f"{target} was put aside as {_put_aside(target).name}")
        _copy(folder / name, target)
    return notes


def _put_out(configured: Configured, folder: Path) -> Iterator[str]:
    """Take out the stations that are in here alone, with a certificate among those put out."""
    out = {digest(path) for path in configured.directory.glob("revoked/*.key")}
    for path in sorted(configured.directory.glob("*.key")):
        if digest(path) in out and not (folder / STATIONS / path.name).exists():
            path.unlink()
            yield f"{path.stem} had been put out when the backup was made, and is out"


def _differs(saved: Path, target: Path) -> bool:
    return target.exists() and digest(target) != digest(saved)


def _sources(configured: Configured) -> Iterator[tuple[Path, str]]:
    if configured.key_file.is_file():
        yield configured.key_file, KEY
    for path in sorted(configured.directory.rglob("*")):
        asks = path.parent.name == PAIRING  # over in ten minutes
        if path.is_file() and not path.name.startswith(".") and not asks:
            yield path, f"{STATIONS}/{path.relative_to(configured.directory).as_posix()}"


def _targets(configured: Configured, folder: Path) -> Iterator[tuple[str, Path]]:
    """Name in the backup, and where it belongs; the stations' log last, which makes them count."""
    if (folder / KEY).is_file():
        yield KEY, configured.key_file
    stations = folder / STATIONS
    paths = sorted(stations.rglob("*"), key=lambda path: (path.suffix == ".log", str(path)))
    for path in paths:
        if path.is_file():
            name = path.relative_to(stations)
            yield f"{STATIONS}/{name.as_posix()}", configured.directory / name


def _copy(source: Path, target: Path) -> None:
    """Whole or not at all, readable by its owner alone, and on disk before this returns."""
    files.write(target, source.read_bytes(), 0o600)


def _put_aside(path: Path) -> Path:
    kept = path.with_name(f"{path.name}.replaced-{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
    path.replace(kept)
    return kept
