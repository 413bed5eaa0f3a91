"""An attempt to pair, kept beside the station's key until the people at both ends have answered.

So the digits may be read here and compared there at leisure, with the program ended in between. It
holds no secret. What always holds: it is of no use after its time, after a boot (what the clock
says then proves nothing of how much time has gone by), or with another key of the station.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from clima_agent.clock import Machine
from clima_agent.pairing.client import Agreed, Peer
from clima_core import files
from clima_core.errors import UnavailableError
from clima_core.pairing import LIFE_S


class Attempt(msgspec.Struct, frozen=True):
    """What was agreed with whom, and whether the person here has said that the digits agree."""

    station: str
    public_key: str  # ours, in Z85
    peer: Peer
    agreed: Agreed
    boot: str
    until: float  # seconds since that boot
    confirmed: bool = False

    def left_s(self, machine: Machine) -> float:
        """How long it holds; 0 when it does no more."""
        return max(0.0, self.until - machine.moment()) if self.boot == machine.boot else 0.0


def made(station: str, public_key: str, peer: Peer, agreed: Agreed, machine: Machine) -> Attempt:
    """One that begins now."""
    return Attempt(station, public_key, peer, agreed, machine.boot, machine.moment() + LIFE_S)


def path_for(key_file: Path) -> Path:
    """Where it is kept."""
    return key_file.with_name(f"{key_file.stem}.pairing")


def save(path: Path, attempt: Attempt) -> None:
    """Keep it; `UnavailableError` where this user may not."""
    try:
        files.write(path, msgspec.json.encode(attempt), 0o600)
    except OSError as error:
        raise UnavailableError(f"{path}: {error.strerror}; may you write here? (sudo)") from error


def load(path: Path, station: str, public_key: str, machine: Machine) -> Attempt | None:
    """The one that is kept, if it still holds for this station and this key."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Attempt)
    except (OSError, msgspec.MsgspecError):
        return None
    ours = (found.station, found.public_key) == (station, public_key)
    return found if ours and found.left_s(machine) > 0 else None


def forget(path: Path) -> None:
    """It is over."""
    path.unlink(missing_ok=True)
