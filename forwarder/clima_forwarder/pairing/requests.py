"""The stations that ask to be let in: files that daemon and command share.

Below the key directory, in `pairing/`: `ATTEMPT.json`, what was asked, and beside it an empty file
for each thing that has happened since. The daemon makes `.confirmed` (the person at the station
says that the digits agree) and `.withdrawn` (says that they do not), the command `.accepted` and
`.refused`. What always holds:

- Each file is made once, whole, by one of the two, and never changed: so there is no lock, and
  either may be killed at any moment. Nothing here is worth an fsync; after a power cut one begins
  anew.
- An attempt whose digits were computed *counts* until a person here has decided on it, or it has
  expired, whatever its station says or does: somebody in between who does not like the digits
  cannot throw them away for others. So he has as many chances as there is room, and no more.
- An attempt that is withdrawn or too old is shown to nobody.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal

import msgspec

from clima_core.errors import ClimaError
from clima_core.keys import fingerprint, public_key
from clima_core.pairing import LIFE_S, AttemptId, Octets, Printable, StationId

PAIRING = "pairing"
MOST = 16  # attempts at once
MOST_OF_ONE = 4  # under one name
FUTURE_S = 60.0  # a clock that was set back by more: nobody knows how old it is

Mark = Literal["confirmed", "withdrawn", "accepted", "refused"]


class Pending(msgspec.Struct, frozen=True):
    """What a station has asked, with the digits that it shows if nobody is in between."""

    attempt: AttemptId
    station: StationId
    board: Printable
    public_key: Octets
    address: str
    asked: float  # seconds since 1970
    digits: str

    @property
    def key(self) -> str:
        """The station's public key in Z85."""
        return public_key(self.public_key, "pairing")

    @property
    def fingerprint(self) -> str:
        """The short form of the key."""
        return fingerprint(self.key)


class NoRoomError(ClimaError):
    """Too many ask at once; `code` is what the station is told."""

    def __init__(self, code: Literal["busy", "busy_name"]) -> None:
        super().__init__(code)
        self.code = code


class Requests:
    """The attempts of one forwarder; the folder need not exist yet."""

    def __init__(self, directory: Path, now: Callable[[], float] = time.time) -> None:
        """`directory` is the key directory."""
        self._folder = directory / PAIRING
        self._now = now

    def check_room(self, station: str) -> None:
        """`NoRoomError` when another attempt, or one more under this name, would be too many."""
        counted = [each for each in self._live() if not self._decided(each.attempt)]
        if len(counted) >= MOST:
            raise NoRoomError("busy")
        if sum(each.station == station for each in counted) >= MOST_OF_ONE:
            raise NoRoomError("busy_name")

    def add(self, pending: Pending) -> None:
        """Keep what a station asks, before its digits can be known to anybody; `NoRoomError`."""
        self.clean()
        self.check_room(pending.station)
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = self._folder / f".{pending.attempt}"
        fresh.touch(0o600, exist_ok=False)
        fresh.write_bytes(msgspec.json.encode(pending))
        fresh.replace(self._folder / f"{pending.attempt}.json")

    def pending(self, station: str | None = None) -> list[Pending]:
        """Those that a person can decide on, the newest first; of one name, or all."""
        found = (
            each
            for each in self._live()
            if not self._decided(each.attempt) and not self.has(each.attempt, "withdrawn")
        )
        named = [each for each in found if station in (None, each.station)]
        return sorted(named, key=lambda each: each.asked, reverse=True)

    def find(self, attempt: str) -> Pending | None:
        """An attempt that has not expired."""
        return self._read(self._folder / f"{attempt}.json")

    def has(self, attempt: str, mark: Mark) -> bool:
        """Whether this has happened to it."""
        return (self._folder / f"{attempt}.{mark}").exists()

    def mark(self, attempt: str, mark: Mark) -> None:
        """This has happened to it; a second time changes nothing."""
        (self._folder / f"{attempt}.{mark}").touch(0o600)

    def clean(self) -> None:
        """Delete what has expired."""
        for path in self._paths():
            if path.suffix == ".json" and self._read(path) is None:
                path.unlink(missing_ok=True)
        for path in self._paths():
            if not path.with_suffix(".json").exists():
                path.unlink(missing_ok=True)

    def _decided(self, attempt: str) -> bool:
        return self.has(attempt, "accepted") or self.has(attempt, "refused")

    def _live(self) -> Iterator[Pending]:
        for path in self._paths():
            if path.suffix == ".json" and (found := self._read(path)):
                yield found

    def _read(self, path: Path) -> Pending | None:
        with suppress(OSError, msgspec.MsgspecError):
            found = msgspec.json.decode(path.read_bytes(), type=Pending)
            if -FUTURE_S <= self._now() - found.asked < LIFE_S:
                return found
        return None

    def _paths(self) -> list[Path]:
        try:
            return sorted(self._folder.iterdir())
        except OSError:
            return []
