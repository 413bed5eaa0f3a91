"""The key directory: which stations are let in, and by which key.

One ZeroMQ certificate per station, `<station.id>.key`; what is revoked or replaced moves to
`revoked/`, where nothing is deleted. What always holds:

- A change counts from the very next message. Each look-up compares the directory's time and the
  length of `changes.log` with what was last read (two `stat` calls). Each change renames a file,
  whole, and then adds a line to that log, so that it is noticed even where two fall into one
  tick of the file system's clock; and the log says who was let in, when.
- A file that cannot be used is reported once and shuts out its own station alone; it is tried
  again now and then, for what was wrong may pass (too many open files). A key that two
  files claim is nobody's: a reading must never land under the wrong station's name.
- A directory that cannot be read lets nobody in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from clima_core import files
from clima_core.configuration import nearest
from clima_core.errors import ConfigurationError
from clima_core.identity import STATION_ID
from clima_core.keys import fingerprint, load_certificate, write_certificate

LOOK_AGAIN = timedelta(seconds=5)
_SUFFIX = ".key"


@dataclass(frozen=True)
class Station:
    """One station that is let in."""

    id: str
    public_key: str
    name: str
    added: str  # RFC 3339, or empty where the file does not say

    @property
    def fingerprint(self) -> str:
        """The short form of the key that people compare."""
        return fingerprint(self.public_key)


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Stations:
    """The stations of one directory, which need not exist yet."""

    def __init__(
        self,
        directory: Path,
        *,
        report: Callable[[str], None] = lambda _: None,
        now: Callable[[], datetime] = _utc_now,
    ) -> None:
        """`report` is told of each problem with a file, once while it lasts."""
        self.directory = directory
        self._log = directory / "changes.log"
        self._report = report
        self._now = now
        self._seen: tuple[int, int] | None = None
        self._look_again = datetime.min.replace(tzinfo=UTC)
        self._by_key: dict[str, str] = {}
        self._problems: frozenset[str] = frozenset()

    def station_of(self, public_key: str) -> str | None:
        """The id of the station whose key this is, as the directory is now."""
        seen = _modified(self.directory), _size(self._log)
        if seen != self._seen or (self._problems and self._now() >= self._look_again):
            self._look_again = self._now() + LOOK_AGAIN
            stations, problems = self.read()
            for problem in sorted(problems - self._problems):
                self._report(problem)
            self._problems = problems
            self._by_key = {station.public_key: station.id for station in stations}
            self._seen = seen
        return self._by_key.get(public_key)

    def read(self) -> tuple[list[Station], frozenset[str]]:
        """The stations that are let in, by id, and what is wrong with the other files."""
        found, problems = self._scan()
        claims = Counter(station.public_key for station in found)
        problems |= {
            f"{self._path(each.id)}: another station has this key too; neither is let in"
            for each in found
            if claims[each.public_key] > 1
        }
        return [each for each in found if claims[each.public_key] == 1], frozenset(problems)

    def check(self, station_id: str, key: str, *, replace: bool = False) -> None:
        """`ConfigurationError` where `add` would refuse to let this key in under this name."""
        self._path(station_id)
        for other in self._scan()[0]:
            if other.public_key == key and other.id != station_id:
                raise ConfigurationError(f"this key is {other.id}'s; every station has its own")
            if other.public_key != key and other.id == station_id and not replace:
                raise ConfigurationError(
                    f"{station_id} has another key, {other.fingerprint}; `--replace` puts this one"
                    " in its place"
                )

    def add(self, station_id: str, key: str, name: str = "", *, replace: bool = False) -> Station:
        """Let a station in; with `replace` its earlier key is out in the same instant."""
        self.check(station_id, key, replace=replace)
        path = self._path(station_id)
        if path.exists():
            files.write(self._kept(station_id), path.read_bytes())
        station = Station(station_id, key, name, f"{self._now():%Y-%m-%dT%H:%M:%SZ}")
        write_certificate(path, key, {"name": name, "added": station.added})
        self._note(f"added {station_id} {station.fingerprint}")
        return station

    def revoke(self, station_id: str) -> None:
        """Put a station out: its next message is not heard."""
        path = self._path(station_id)
        if not path.exists():
            known = [each.stem for each in self.directory.glob(f"*{_SUFFIX}")]
            hint = nearest(station_id, known) or "; there are no stations yet"
            raise ConfigurationError(f'no station "{station_id}"{hint}')
        path.replace(self._kept(station_id))
        files.sync_directory(self.directory)
        self._note(f"revoked {station_id}")

    def _scan(self) -> tuple[list[Station], set[str]]:
        found: list[Station] = []
        problems: set[str] = set()
        try:
            paths = sorted(self.directory.iterdir())
        except FileNotFoundError:
            return [], set()
        except OSError as error:
            return [], {f"{self.directory}: cannot be read: {error.strerror}"}
        for path in paths:
            if path.suffix == _SUFFIX and not path.name.startswith("."):
                try:
                    found.append(_station(path))
                except ConfigurationError as error:
                    problems.update(error.problems)
        return found, problems

    def _path(self, station_id: str) -> Path:
        if not STATION_ID.fullmatch(station_id):
            raise ConfigurationError(
                f'"{station_id}" is not a station id: expected a-z, 0-9 and "-", at most 63 of'
                " them, beginning with a letter or a digit"
            )
        return self.directory / f"{station_id}{_SUFFIX}"

    def _kept(self, station_id: str) -> Path:
        """Where a certificate that no longer counts is kept."""
        kept = self.directory / "revoked"
        files.make_directory(kept)
        return kept / f"{station_id}.{self._now():%Y%m%dT%H%M%S.%fZ}{_SUFFIX}"

    def _note(self, change: str) -> None:
        with self._log.open("a", encoding="utf-8") as log:
            log.write(f"{self._now():%Y-%m-%dT%H:%M:%SZ} {change}\n")
            files.hand_over(self._log, self.directory)


def _station(path: Path) -> Station:
    if not STATION_ID.fullmatch(path.stem):
        raise ConfigurationError(f"{path}: is not named after a station id")
    public, metadata, _ = load_certificate(path)
    return Station(path.stem, public, metadata.get("name", ""), metadata.get("added", ""))


def _modified(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return -1


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1
