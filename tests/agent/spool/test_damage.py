"""A damaged file: nothing wrong comes out, nothing whole is lost, nothing is unaccounted for."""

from __future__ import annotations

import re
import sqlite3
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from clima_agent.spool import Spool, SpoolDamagedError, recover, salvage
from clima_agent.spool.file import PAGE_BYTES, SHIFT
from clima_core.errors import UnavailableError
from clima_core.identity import Lane
from clima_core.ranges import Ranges
from tests.agent.spool.stock import (
    STATION,
    Told,
    assert_accounted,
    assert_whole,
    documents,
    number_of,
    waiting,
)

COUNT, ACKNOWLEDGED, LOGGED = 300, 100, 40


class Files(dict[str, bytes]):
    """What lies in the folder, by what follows the spool's name."""

    def __repr__(self) -> str:
        return f"Files({ {suffix: len(content) for suffix, content in self.items()} })"

    def but(self, **changed: bytes) -> Files:
        """With another `file` or `log`."""
        return Files(self | {{"file": "", "log": "-wal"}[name]: changed[name] for name in changed})

    @property
    def journal(self) -> str:
        start = self[""].find(b'"journal":"') + 11
        return self[""][start : start + 12].decode()


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """A spool as a killed process leaves it: most of it in the file, the rest in the log.

    Every tenth record is longer than a page; the first hundred are acknowledged.
    """
    path = tmp_path_factory.mktemp("healthy") / "spool.db"
    script = """
import os, sys
from pathlib import Path
from tests.agent.spool.test_damage import make
make(Path(sys.argv[1]))
os.kill(os.getpid(), 9)
"""
    root = Path(__file__).parents[3]
    subprocess.run([sys.executable, "-c", script, str(path)], cwd=root, check=False)
    files = Files((suffix, Path(f"{path}{suffix}").read_bytes()) for suffix in ("", "-wal"))
    assert len(files["-wal"]) > LOGGED * PAGE_BYTES
    return files


def make(path: Path) -> Spool:
    spool = Spool(path, STATION)
    spool.mark_sending()
    for number in range(1, COUNT - LOGGED + 1):
        spool.append("w", documents(1, first=number, padding=4000 if number % 10 == 0 else 300))
    spool.sync()
    spool.acknowledge(Lane(spool.journal, "w"), Ranges([(1, ACKNOWLEDGED)]))
    spool.sync()
    spool.file.checkpoint()
    for number in range(COUNT - LOGGED + 1, COUNT + 1):
        spool.append("w", documents(1, first=number, padding=4000 if number % 10 == 0 else 300))
    spool.sync()
    return spool


def lay(files: Files, folder: Path) -> Path:
    """Put the files into a folder of their own."""
    path = folder / f"{len(list(folder.iterdir()))}" / "spool.db"
    path.parent.mkdir()
    for suffix, content in files.items():
        Path(f"{path}{suffix}").write_bytes(content)
    return path


def open_or_recover(path: Path, told: Told) -> Spool:
    try:
        return Spool(path, STATION, report=told)
    except SpoolDamagedError:
        return recover(path, STATION, None, report=told)


def check(path: Path, healthy: Files) -> tuple[Spool, dict[int, bytes]]:
    """Open what is left, and check all that must hold; the spool and what waits of the lane."""
    told = Told()
    spool = open_or_recover(path, told)
    lane = Lane(healthy.journal, "w")
    found: dict[int, bytes] = {}
    if lane in spool.ledgers:
        found = waiting(spool, lane)
        assert_whole(lane, found)
        assert list(found) == [number_of(body) for body in found.values()]
        assert spool.ledgers[lane].last <= COUNT + 1
        assert not spool.ledgers[lane].acknowledged - Ranges([(1, ACKNOWLEDGED)])
    assert_accounted(spool)
    assert {"damaged"} >= {why for each in spool.ledgers.values() for why in each.dropped}
    fresh = spool.ledgers[Lane(spool.journal, "w")].last
    spool.append("w", documents(1, first=fresh + 1))
    spool.sync()
    assert fresh + 1 == number_of(waiting(spool, Lane(spool.journal, "w"))[fresh + 1])
    return spool, found


def aside(path: Path) -> Path:
    """The damaged file where it was put."""
    (found,) = path.parent.glob("spool.damaged-*.db")
    return found


def test_the_damaged_file_stays_as_it_was(healthy: Files, tmp_path: Path) -> None:
    """Byte for byte: someone may know better how to read it."""
    damaged = Files({"": torn(healthy)[""]})
    path = lay(damaged, tmp_path)
    spool, _ = check(path, healthy)
    assert damaged[""] == aside(path).read_bytes()
    assert spool.journal != healthy.journal
    spool.close()


def test_what_was_acknowledged_need_not_be_sent_again(healthy: Files, tmp_path: Path) -> None:
    """Where the account can be read, though records cannot."""
    spool, found = check(lay(torn(healthy), tmp_path), healthy)
    ledger = spool.ledgers[Lane(healthy.journal, "w")]
    assert Ranges([(1, ACKNOWLEDGED)]) == ledger.acknowledged
    assert COUNT == ledger.last
    lost = ledger.dropped["damaged"]
    assert 155 in lost
    assert len(lost) <= 3
    assert set(range(ACKNOWLEDGED + 1, COUNT + 1)) - set(lost) == found.keys()
    spool.close()


def test_a_flipped_byte_in_a_body_costs_that_record_alone(healthy: Files, tmp_path: Path) -> None:
    """SQLite does not see it; the checksum does, and the neighbours are sent."""
    place = healthy[""].find(f'"id":"{STATION}:{healthy.journal}:w:155"'.encode())
    path = lay(healthy.but(file=flipped(healthy[""], place + 8)), tmp_path)
    spool, found = check(path, healthy)
    assert [] == list(path.parent.glob("*damaged*"))
    assert set(range(ACKNOWLEDGED + 1, COUNT + 1)) - {155} == found.keys()
    dropped = spool.ledgers[Lane(spool.journal, "w")].dropped
    assert {"damaged": Ranges([(155, 155)])} == dropped
    spool.close()


@pytest.mark.parametrize("suffix", ["", "-wal"])
def test_a_record_of_several_pages_is_salvaged(healthy: Files, tmp_path: Path, suffix: str) -> None:
    """From the file and from the log."""
    left = Files({suffix: torn(healthy)[suffix]})
    spool, found = check(lay(left, tmp_path), healthy)
    long = {number for number, body in found.items() if len(body) > PAGE_BYTES}
    expected = range(ACKNOWLEDGED + 10, COUNT - LOGGED, 10) if suffix == "" else range(270, 301, 10)
    assert set(expected) <= long
    spool.close()


def test_a_log_without_its_file_is_not_thrown_away(healthy: Files, tmp_path: Path) -> None:
    """SQLite would begin a new file and delete the log, with the newest records in it."""
    log = Files({"-wal": healthy["-wal"]})
    for left in (log, log.but(file=b"")):
        spool, found = check(lay(left, tmp_path), healthy)
        assert set(range(COUNT - LOGGED + 1, COUNT + 1)) <= found.keys()
        spool.close()


@pytest.mark.parametrize("by", [None, b"", b"another"])
def test_a_file_that_is_taken_away_in_use_is_noticed(tmp_path: Path, by: bytes | None) -> None:
    """At the next sync, and with all that its log still has; else it would fill up unseen."""
    path = tmp_path / "spool.db"
    spool = Spool(path, STATION)
    spool.append("w", documents(20))
    spool.sync()
    lane = Lane(spool.journal, "w")
    path.unlink()
    if by is not None:
        path.write_bytes(by)
    spool.append("w", documents(10))
    with pytest.raises(SpoolDamagedError, match="was taken away or replaced while it was in use"):
        spool.sync()
    spool.file.close()
    other = recover(path, STATION, None)
    assert 30 == len(waiting(other, lane))
    assert_accounted(other)
    other.close()


def test_without_its_log_the_file_is_older_and_whole(healthy: Files, tmp_path: Path) -> None:
    """That it is behind what was sent, only the forwarder can tell (`was_rolled_back`)."""
    spool, found = check(lay(Files({"": healthy[""]}), tmp_path), healthy)
    assert list(range(ACKNOWLEDGED + 1, COUNT - LOGGED + 1)) == list(found)
    assert spool.ledgers[Lane(healthy.journal, "w")].was_rolled_back(COUNT)
    spool.close()


@pytest.mark.parametrize("table", ["lane", "settled"])
def test_a_rotten_account_is_not_believed(healthy: Files, tmp_path: Path, table: str) -> None:
    """It might say of records that nobody was sent that they are stored."""
    path = lay(healthy, tmp_path)
    connection = sqlite3.connect(path)
    change = {
        "lane": "UPDATE lane SET journal = 'ffffffffffff' WHERE stream = 'w'",
        "settled": "UPDATE settled SET last = last | 128 WHERE how = 'acknowledged'",
    }
    connection.execute(change[table])
    connection.commit()
    connection.close()
    spool, found = check(path, healthy)
    assert list(range(1, COUNT + 1)) == list(found)
    assert len(list(path.parent.glob("*damaged*.db"))) == 1
    spool.close()


def test_rows_that_nobody_can_have_written_stop_nothing(healthy: Files, tmp_path: Path) -> None:
    """Times without a checksum: none is believed that would break a calendar."""
    path = lay(healthy, tmp_path)
    connection = sqlite3.connect(path)
    connection.execute("UPDATE record SET recorded = 1 << 62 WHERE id % 2")
    connection.execute("UPDATE record SET recorded = -1 << 62 WHERE id % 2 = 0")
    connection.commit()
    connection.close()
    spool, _ = check(path, healthy)
    assert spool.oldest_waiting() is None
    spool.close()
    path.write_bytes(torn(Files({"": path.read_bytes()}))[""])
    spool, found = check(path, healthy)
    assert COUNT - ACKNOWLEDGED - 2 <= len(found)
    spool.close()


def test_a_format_from_the_future_is_told_from_damage(healthy: Files, tmp_path: Path) -> None:
    """One is refused and left alone, the other is recovered from."""
    for version, outcome in [(2, UnavailableError), (2**24, SpoolDamagedError), (0, None)]:
        file = bytearray(healthy[""])
        struct.pack_into(">I", file, 60, version)
        path = lay(Files({"": bytes(file)}), tmp_path)
        if outcome:
            with pytest.raises(outcome):
                Spool(path, STATION)
        else:
            spool, found = check(path, healthy)
            assert set(range(ACKNOWLEDGED + 1, COUNT - LOGGED + 1)) <= found.keys()
            spool.close()


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["", "-wal"]), st.floats(0, 1))
@example("", 0.0)
@example("-wal", 0.0)
@example("", 0.001)
@example("-wal", 0.0001)
def test_truncated_anywhere(healthy: Files, tmp_path: Path, suffix: str, share: float) -> None:
    """What lies before the cut is there, but for the pages that the cut took out of the tree."""
    size = int(len(healthy[suffix]) * share)
    damaged = Files(healthy | {suffix: healthy[suffix][:size]})
    spool, found = check(lay(damaged, tmp_path), healthy)
    if suffix == "":
        assert set(range(COUNT - LOGGED + 1, COUNT + 1)) <= found.keys()
    else:
        assert set(range(ACKNOWLEDGED + 1, COUNT - LOGGED + 1)) <= found.keys()
    spool.close()


def test_a_text_that_is_none_any_more(healthy: Files, tmp_path: Path) -> None:
    """SQLite gives such bytes out; it is Python that cannot read them."""
    damaged = {
        suffix: re.sub(rb"(20\d\d-\d\d-\d\d)T(\d\d:\d\d:\d\d\.\d{6}\+)", b"\\1\x80\\2", content)
        for suffix, content in healthy.items()
    }
    assert damaged != healthy
    spool, _ = check(lay(Files(damaged), tmp_path), healthy)
    spool.close()


@settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.sampled_from(["", "-wal"]), st.floats(0, 0.999), st.binary(min_size=1)),
        min_size=1,
        max_size=4,
    )
)
@example([("", 0.0, bytes(100))])
@example([("", 0.0, bytes(2 * PAGE_BYTES))])
@example([("", 0.1, bytes(10 * PAGE_BYTES))])
@example([("-wal", 0.0, bytes(32))])
def test_overwritten_in_places(
    healthy: Files, tmp_path: Path, places: list[tuple[str, float, bytes]]
) -> None:
    """Whatever is written over it: what comes out is true, and what does not is accounted for."""
    damaged = {suffix: bytearray(content) for suffix, content in healthy.items()}
    for suffix, share, garbage in places:
        start = int(len(damaged[suffix]) * share)
        damaged[suffix][start : start + len(garbage)] = garbage
    laid = Files((suffix, bytes(content)) for suffix, content in damaged.items())
    try:
        spool, found = check(lay(laid, tmp_path), healthy)
    except UnavailableError:  # made by a newer one, it says
        assert healthy[""][60:64] != laid[""][60:64]
        return
    if not any(suffix == "-wal" for suffix, _, _ in places):
        touched = sum(len(garbage) // PAGE_BYTES + 2 for _, _, garbage in places)
        missing = set(range(ACKNOWLEDGED + 1, COUNT + 1)) - found.keys()
        assert len(missing) <= 3 * touched
    spool.close()


def test_a_recovery_that_is_cut_short_is_finished_or_begins_again(
    healthy: Files, tmp_path: Path
) -> None:
    """At each rename: the next to open it finds all there is, once."""
    damaged = torn(healthy)
    whole = set(range(ACKNOWLEDGED + 1, COUNT + 1))
    for step in range(4):
        path = lay(damaged, tmp_path)
        building = salvage.begin(path)
        spool = recover(path, STATION, None)
        whole -= set(spool.ledgers[Lane(healthy.journal, "w")].dropped["damaged"])
        spool.close()
        lying = aside(path)
        path.rename(building if step == 0 else f"{path}.rebuilt")
        if step < 3:
            lying.rename(path)
        if step < 2:
            Path(f"{lying}-wal").rename(f"{path}-wal")
        spool, found = check(path, healthy)
        assert whole == found.keys()
        assert not list(path.parent.glob("*build*.db"))
        spool.close()


def test_damage_upon_damage(healthy: Files, tmp_path: Path) -> None:
    """What was salvaged once is salvaged again, under the journal that it has always had."""
    path = lay(torn(healthy), tmp_path)
    spool, first = check(path, healthy)
    second = spool.journal
    spool.close()
    path.write_bytes(torn(Files({"": path.read_bytes()}), 222, healthy.journal)[""])
    spool, found = check(path, healthy)
    assert 1 <= len(first.keys() - found.keys()) <= 3
    assert [1] == [number_of(body) for body in waiting(spool, Lane(second, "w")).values()]
    spool.close()


def test_records_of_another_station_are_not_adopted(healthy: Files, tmp_path: Path) -> None:
    """They could not be sent with this station's key."""
    spool = recover(lay(torn(healthy), tmp_path), "cellar", None)
    assert not [lane for lane, ledger in spool.ledgers.items() if ledger.waiting]
    assert 0 == spool.file.held(4).last or not spool.file.held(4)
    spool.close()


def torn(files: Files, sequence: int = 155, journal: str = "") -> Files:
    """Without the pages that name one record, which SQLite notices."""
    name = f'"id":"{STATION}:{journal or files.journal}:w:{sequence}"'.encode()
    pages = [files[""][at : at + PAGE_BYTES] for at in range(0, len(files[""]), PAGE_BYTES)]
    return files.but(file=b"".join(bytes(PAGE_BYTES) if name in page else page for page in pages))


def flipped(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 0x11]) + content[place + 1 :]


def test_the_checksum_covers_the_whole_number(tmp_path: Path) -> None:
    """A body under the number of another lane does not pass."""
    spool = Spool(tmp_path / "spool.db", STATION)
    spool.append("w", documents(1))
    spool.sync()
    with spool.file.transaction():
        spool.file._all("UPDATE record SET id = ?", (2 << SHIFT | 1,))
    assert [] == list(spool.file.bodies(2, 1, 1))
    spool.close()
