"""The write-ahead log: rot costs what it has hit, and a tail that a power cut has torn is none."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from clima_agent.document import dated
from clima_agent.spool import Spool, SpoolDamagedError, Start, Undated, recover, wal
from clima_core.errors import UnavailableError
from clima_core.identity import Lane
from clima_core.reading import rfc3339
from tests.agent.spool.stock import (
    STATION,
    Told,
    assert_accounted,
    assert_whole,
    document,
    documents,
    number_of,
    waiting,
)

HEADER, FRAME = 32, 24 + wal.PAGE_BYTES
IN_FILE, SYNCS, EACH = 10, 20, 5
COUNT = IN_FILE + SYNCS * EACH
Files = Mapping[str, bytes]


@pytest.fixture
def lived(tmp_path: Path) -> tuple[Files, Lane]:
    """What a killed process leaves: some records in the file, the others, synced, in the log."""
    spool = Spool(tmp_path / "lived.db", STATION)
    spool.append("w", documents(IN_FILE))
    spool.sync()
    spool.file.checkpoint()
    for number in range(IN_FILE + 1, COUNT, EACH):
        spool.append("w", documents(EACH, first=number, padding=500))
        spool.sync()
    files = taken(spool)
    lane = Lane(spool.journal, "w")
    spool.close()
    return files, lane


def taken(spool: Spool) -> Files:
    return {suffix: Path(f"{spool.file.path}{suffix}").read_bytes() for suffix in ("", "-wal")}


def lay(files: Files, folder: Path) -> Path:
    """Put the files into a folder of their own."""
    path = folder / f"{len(list(folder.iterdir()))}" / "spool.db"
    path.parent.mkdir()
    for suffix, content in files.items():
        Path(f"{path}{suffix}").write_bytes(content)
    return path


def flipped(files: Files, place: int) -> Files:
    log = bytearray(files["-wal"])
    log[place] ^= 0x11
    return {**files, "-wal": bytes(log)}


def opened(path: Path, told: Told | None = None) -> Spool:
    """As the agent does."""
    try:
        return Spool(path, STATION, report=told or Told())
    except SpoolDamagedError:
        return recover(path, STATION, None, report=told or Told())


def commits(log: bytes) -> list[int]:
    """Where the frames are that end a transaction."""
    frames = range(HEADER, len(log) - FRAME + 1, FRAME)
    return [at for at in frames if struct.unpack_from(">I", log, at + 4)[0]]


@pytest.mark.parametrize("share", [0.0, 0.003, 0.1, 0.3, 0.5, 0.7, 0.9])
@pytest.mark.parametrize("inside", [0, 5, 9, 20, 30, 700])  # a frame's header, and its image
def test_rot_in_the_log_costs_what_it_has_hit(
    lived: tuple[Files, Lane], tmp_path: Path, share: float, inside: int
) -> None:
    """And is said; what SQLite would throw away behind it was synced, and may have been sent."""
    files, lane = lived
    frame = HEADER + int(share * (len(files["-wal"]) - HEADER) / FRAME) * FRAME
    told = Told()
    spool = opened(lay(flipped(files, frame + inside), tmp_path), told)
    found = waiting(spool, lane)
    assert len(found) >= COUNT - 2
    assert_whole(lane, found)
    assert_accounted(spool)
    assert spool.ledgers[lane].last == COUNT
    assert 1 == len(told.fields("spool_salvaged"))
    spool.close()


@pytest.mark.parametrize("place", range(HEADER))
def test_rot_in_the_log_s_header_costs_nothing(
    lived: tuple[Files, Lane], tmp_path: Path, place: int
) -> None:
    """Whichever of its bytes it is."""
    files, lane = lived
    spool = opened(lay(flipped(files, place), tmp_path))
    assert list(range(1, COUNT + 1)) == list(waiting(spool, lane))
    spool.close()


def test_a_log_that_is_whole_or_torn_at_its_end_is_no_damage(
    lived: tuple[Files, Lane], tmp_path: Path
) -> None:
    """Torn anywhere behind the last sync, also where later frames of the tail have survived."""
    files, lane = lived
    path = lay(files, tmp_path)
    spool = Spool(path, STATION)
    for number in range(COUNT + 1, COUNT + 21):
        spool.append("w", documents(1, first=number, padding=500))
    log = taken(spool)["-wal"]
    spool.close()
    synced = len(files["-wal"])
    assert not wal.is_rotten(Path(f"{lay(files, tmp_path)}-wal"))
    for place in range(synced, len(log), 997):
        torn = log[:place] + bytes(300) + log[place + 300 :]
        for left in (log[:place], torn):
            path = lay({**files, "-wal": left}, tmp_path)
            assert not wal.is_rotten(Path(f"{path}-wal"))
            spool = Spool(path, STATION)
            assert set(range(1, COUNT + 1)) <= waiting(spool, lane).keys()
            spool.close()


def test_a_sync_that_was_torn_is_no_damage(lived: tuple[Files, Lane], tmp_path: Path) -> None:
    """The power goes during it: its own frames are there, and of what it should sync some not."""
    files, lane = lived
    log = files["-wal"]
    before = commits(log)[-3]  # that of the last sync but one
    for place in range(before + FRAME, commits(log)[-1], 211):
        torn = log[:place] + bytes(97) + log[place + 97 :]
        path = lay({**files, "-wal": torn}, tmp_path)
        assert not wal.is_rotten(Path(f"{path}-wal"))
        spool = Spool(path, STATION)
        assert set(range(1, COUNT - EACH + 1)) <= waiting(spool, lane).keys()
        spool.close()


def test_what_an_earlier_life_of_the_log_left_behind_is_no_damage(tmp_path: Path) -> None:
    """It begins anew at its head when all is in the file, and old frames lie behind the new."""
    spool = Spool(tmp_path / "spool.db", STATION)
    for number in range(1, 1500):
        spool.append("w", documents(1, first=number, padding=500))
        if number % 50 == 0:
            spool.sync()
        if number % 10 == 0:
            assert not wal.is_rotten(Path(f"{spool.file.path}-wal"))
    log = taken(spool)["-wal"]
    with Path(f"{spool.file.path}-wal").open("rb") as file:
        assert len(list(wal.frames(file))) < len(log) // FRAME
    spool.close()


@pytest.mark.parametrize("inside", [0, 9, 124])  # the page's number, a salt, the image
def test_what_was_dated_in_a_rotten_log_does_not_come_back_without_a_date(
    tmp_path: Path, inside: int
) -> None:
    """In the file it has none yet: adopted too, it would be stored twice, with other times."""
    spool = Spool(tmp_path / "lived.db", STATION)
    spool.keep_undated([Undated("boot", float(n), "w", document(n)) for n in range(1, 31)])
    spool.sync()
    spool.file.checkpoint()
    spool.date(Start("boot", 1.8e9, known_at=500.0), dating)
    for number in range(31, 34):
        spool.append("w", [{**document(number), "@timestamp": rfc3339(datetime.now(UTC))}])
        spool.sync()
    files, lane = taken(spool), Lane(spool.journal, "w")
    spool.close()
    for frame in range(HEADER, commits(files["-wal"])[-3], 2 * FRAME):
        spool = opened(lay(flipped(files, frame + inside), tmp_path))
        assert spool.date(Start("boot", 1.9e9, known_at=500.0), dating) == 0
        spool.sync()
        found = [number_of(body) for at in spool.ledgers for body in bodies(spool, at)]
        assert len(found) == len(set(found))
        assert len(found) >= 33 - 2
        assert lane in spool.ledgers
        spool.close()


@pytest.mark.parametrize("rotten", ["lane", "sqlite_autoindex_lane_1"])
def test_a_damaged_file_leaves_its_log_to_the_salvage(
    lived: tuple[Files, Lane], tmp_path: Path, rotten: str
) -> None:
    """Though rot in it is not proven: closing the file would throw away what SQLite cannot read."""
    files, lane = lived
    with closing(sqlite3.connect(lay({"": files[""]}, tmp_path))) as connection:
        roots = dict(connection.execute("SELECT name, rootpage FROM sqlite_schema"))
    start = (roots[rotten] - 1) * wal.PAGE_BYTES
    file = bytearray(files[""])
    file[start : start + 200] = bytes(200)
    last = commits(files["-wal"])[-2]  # what it ends is not known to be synced
    path = lay(flipped({**files, "": bytes(file)}, last + 100), tmp_path)
    assert not wal.is_rotten(Path(f"{path}-wal"))
    log = Path(f"{path}-wal").read_bytes()
    with pytest.raises(SpoolDamagedError):
        Spool(path, STATION)
    assert bytes(file) == path.read_bytes()
    assert log == Path(f"{path}-wal").read_bytes()
    spool = opened(path)
    assert len(waiting(spool, lane)) >= COUNT - 4
    spool.close()


def bodies(spool: Spool, lane: Lane) -> list[bytes]:
    return list(waiting(spool, lane).values()) if lane.stream == "w" else []


def dating(record: Undated, start: Start) -> Mapping[str, Any]:
    return dated(record.document, record.stream, *start.at(record.moment))


def test_a_log_that_cannot_be_opened_is_sqlite_s_to_complain_of(tmp_path: Path) -> None:
    """It knows why, and an agent that may not write there says so instead of a stack trace."""
    Spool(tmp_path / "spool.db", STATION).close()
    (tmp_path / "spool.db-wal").mkdir()
    with pytest.raises(UnavailableError):
        Spool(tmp_path / "spool.db", STATION)


def test_a_newer_format_with_a_rotten_log_is_refused(
    lived: tuple[Files, Lane], tmp_path: Path
) -> None:
    """And left as it is, log and all."""
    files, _ = lived
    file = bytearray(files[""])
    struct.pack_into(">I", file, 60, 2)
    rotten = flipped({**files, "": bytes(file)}, HEADER + 30)
    path = lay(rotten, tmp_path)
    with pytest.raises(UnavailableError, match="newer"):
        Spool(path, STATION)
    assert rotten == {suffix: Path(f"{path}{suffix}").read_bytes() for suffix in ("", "-wal")}
