"""Whose station a card holds: its key and its journal belong to one board.

A school makes one station and flashes its card ten times. Ten stations with one key would send
under one name. So key and spool are *bound* to the serial number of the board that they were first
used on, in a small file beside each. What always holds:

- On another board nothing of what the card holds is sent, or touched. That board has a folder of
  its own in the spool's, `boards/BOARD/`, with another key, another spool and so another journal;
  and, until it is configured under another id, the old one with four digits of its own added.
- Back on its own board, the card goes on where it was.
- Only a person says that a board was replaced (`clima-agent enroll --moved`). Then both files
  change, each in one step, and what the new board has recorded meanwhile goes into the card's
  spool. Cut short between the two files the card is neither board's, and it is to be said again.
- A board that cannot be told (a PC; a serial number that cannot be read) is never taken for
  another one: then all goes on as it is, as two devices with one key raise an alarm anyway.
- The id that a spool was last used under stands beside it on any machine. A station that has
  another one now takes along, in a new journal, what nobody was sent.

The serial number itself is written nowhere, only what it hashes to.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import structlog

from clima_agent.config import Configuration
from clima_agent.spool import Spool, SpoolDamagedError, recover, take_over, was_sent
from clima_core import files
from clima_core.errors import ClimaError, ConfigurationError, UnavailableError

log = structlog.get_logger("clima_agent.board")

DEVICE_TREE = Path("proc/device-tree/serial-number")
CPUINFO = Path("proc/cpuinfo")  # a container has no device tree
BINDING = "board"
FOLDER = "boards"
KEY = "board.key"  # never the name of a credential, which was made for the other board
SUFFIX = 4  # digits of the board in the id of a station that has none of its own yet
LONGEST_ID = 63
MEND = (
    "a station of its own: `clima-agent enroll` says how it is let in;"
    " the old one on a new board: `clima-agent enroll --moved`"
)
_CREDIBLE = re.compile(r"[!-~]{4,64}")
_CPUINFO = re.compile(r"^Serial\s*:\s*(\S+)\s*$", re.MULTILINE)


class Bound(msgspec.Struct, frozen=True):
    """The board that something is of, where one can be told, and the station's id there."""

    board: str | None
    station: str


class Place(NamedTuple):
    """Who this station is on this board.

    `config` has the id, the spool and the key that hold here. `board` is None where it cannot be
    told; `other` is whose the card is, where it is another board's.
    """

    config: Configuration
    configured: Configuration
    board: str | None
    other: Bound | None


def place(configured: Configuration, board: str | None = None) -> Place:
    """Look, and change nothing. `board` is this one unless it is given."""
    board = board or this_board(configured.identity.serial_file)
    bindings = filter(None, map(bound, _files(configured)))
    others = [each for each in bindings if each.board not in (None, board)]
    if board is None or not others:
        return Place(configured, configured, board, None)
    id_, folder = configured.station.id, folder_of(configured, board)
    if id_ in {each.station for each in others}:  # else somebody has chosen it for this board
        id_ = f"{id_[: LONGEST_ID - SUFFIX - 1]}-{board[:SUFFIX]}"
    config = msgspec.structs.replace(
        configured,
        station=msgspec.structs.replace(configured.station, id=id_),
        spool=msgspec.structs.replace(configured.spool, directory=folder),
        identity=msgspec.structs.replace(configured.identity, key_file=folder / KEY),
    )
    return Place(config, configured, board, others[-1])


def moved(here: Place) -> None:
    """A person has said that this board is in the place of the card's: the card is this one's now.

    ConfigurationError where the configuration names another station than the card's.
    """
    if here.other and here.configured.station.id != here.other.station:
        raise ConfigurationError(
            f'station.id: "{here.configured.station.id}"; what the card holds is of'
            f' "{here.other.station}": give it that id again, and then say that it has moved'
        )
    bind(Place(here.configured, here.configured, here.board, None))


def settle(here: Place, spool: Spool) -> None:
    """Have this board's key and spool bound to it, and in the spool what is this station's.

    To be called with the spool's lock held, before anything is recorded.
    """
    station = here.config.station.id
    path = here.config.spool.directory / BINDING
    before = bound(path)
    renamed = before is not None and before.station != station
    if before and renamed:  # what nobody was sent may still change its name
        journal = spool.begin_journal(spool.never_sent())
        log.warning("station_renamed", before=before.station, station=station, journal=journal)
    try:
        if before is None and here.board is None:
            _write(path, Bound(None, station))
        bind(here, renamed=renamed)
    except UnavailableError as error:
        log.warning("not_bound_to_board", reason=str(error))
    if here.board and not (before and before.board):
        log.info("bound_to_board", station=station, board=here.board)
    if here.board and not here.other:
        _take_over(folder_of(here.configured, here.board), spool)
    if here.other:
        tell = log.info if was_sent(spool) else log.error  # let in as what it is here, all is well
        tell("card_of_another_board", station=station, card_of=here.other.station, mend=MEND)


def _take_over(folder: Path, spool: Spool) -> None:
    """What this board has recorded while it was not known that the station is here now."""
    path, provisional = folder / "spool.db", bound(folder / BINDING)
    if not provisional or not any(folder.glob("spool.db*")):
        return
    try:
        count = _taken(path, provisional.station, spool)
    except ClimaError as error:  # a full disk, say: the next start tries again
        log.error("records_not_taken_over", folder=str(folder), reason=str(error))
        return
    if count is None:
        log.warning("records_left", station=provisional.station, folder=str(folder))
        return
    log.info("records_taken_over", station=provisional.station, count=count)
    _tidy_up(folder)


def _tidy_up(folder: Path) -> None:
    """Delete what was taken over; what cannot go does no harm, as it is taken only once."""
    try:
        for each in sorted(folder.iterdir(), key=lambda each: each.is_dir()):
            if ".damaged-" not in each.name:  # that was put aside, and is a person's to delete
                each.unlink()
        files.sync_directory(folder)
    except OSError as error:
        log.warning("not_tidied_up", folder=str(folder), reason=str(error))


def _taken(path: Path, station: str, spool: Spool) -> int | None:
    """How many records were taken over from the spool of that station; None where none may be."""
    try:
        other = Spool(path, station, spool.limits, now=spool.now, report=log.error)
    except SpoolDamagedError:
        other = recover(path, station, spool.limits, now=spool.now, report=log.error)
    try:
        return None if was_sent(other) else take_over(spool, other)
    finally:
        other.close()


def bind(here: Place, *, renamed: bool = False) -> None:
    """Have it written down that key and spool are this board's; UnavailableError if it cannot.

    Where they are already, only a station that was `renamed` is written down.
    """
    for path in _files(here.config):
        now = bound(path)
        of = here.board or (now.board if now else None)
        if now is None and of is None:
            continue
        binding = Bound(of, here.config.station.id)
        if now and now.board in (None, of):
            if not _writable(path):
                continue
            binding = binding if renamed else Bound(of, now.station)
        if binding != now:
            _write(path, binding)


def _write(path: Path, binding: Bound) -> None:
    try:
        files.write(path, msgspec.json.encode(binding) + b"\n")
    except OSError as error:
        raise UnavailableError(f"{path}: {error.strerror}; may clima-agent write here?") from error


def bound(path: Path) -> Bound | None:
    """What a file says; None where there is none, or where it is damaged."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Bound)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None


def folder_of(configured: Configuration, board: str) -> Path:
    """Where another board than the card's has its spool and its key."""
    return configured.spool.directory / FOLDER / board


def this_board(serial_file: Path | None = None, root: Path = Path("/")) -> str | None:
    """The name of this board, 16 hexadecimal digits; None where it has no serial number."""
    found = next(_serials(serial_file, root), None)
    return found and hashlib.sha256(f"clima board {found}".encode()).hexdigest()[:16]


def _serials(serial_file: Path | None, root: Path) -> Iterator[str]:
    """What the board says of itself, if it can be true; the surest first."""
    for path in [serial_file] if serial_file else [root / DEVICE_TREE, root / CPUINFO]:
        try:
            text = path.read_bytes().decode("ascii")
        except (OSError, UnicodeDecodeError):
            continue
        if path == root / CPUINFO:
            text = "".join(_CPUINFO.findall(text))
        serial = text.strip("\0 \r\n\t").lower()
        if _CREDIBLE.fullmatch(serial) and len(set(serial)) > 1:  # 0000…, ffff…: not programmed
            yield serial.lstrip("0")  # one place has leading zeros, another has not


def _files(configured: Configuration) -> Iterator[Path]:
    """What says whose the key is, and whose the spool: a disk may be taken to another board."""
    key_file = configured.identity.key_file
    beside = key_file.with_name(key_file.name + ".board")
    if _writable(beside) or os.access(beside, os.F_OK):  # or the key is root's: the spool's will do
        yield beside
    yield configured.spool.directory / BINDING


def _writable(path: Path) -> bool:
    """Whether this user can put a file there."""
    return os.access(next(each for each in path.parents if os.access(each, os.F_OK)), os.W_OK)
