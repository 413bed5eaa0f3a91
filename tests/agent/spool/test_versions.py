"""Up by a version and down again: the spool, what it holds, and who the station is stay."""

from __future__ import annotations

import io
import json
import shutil
import sqlite3
import subprocess
import sys
import tarfile
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from clima_agent import board
from clima_agent.document import dated
from clima_agent.spool import Spool, Start
from clima_agent.spool.file import FORMAT, MAJOR, SpoolFile
from clima_agent.spool.ledger import ledgers_in
from clima_core import keys
from clima_core.errors import UnavailableError
from clima_core.identity import Lane
from clima_core.ranges import Ranges
from tests.agent.spool.stock import assert_accounted, assert_whole, number_of, waiting
from tests.agent.test_board import Card
from tests.conftest import missing

OLDER = Path(__file__).parent / "older"
ROOT = Path(__file__).parents[3]
SPOOLS = sorted(OLDER.glob("*.db"))
VERSION_BEFORE = "f06f2df"

LOOK = """
import json, sys
from pathlib import Path
from clima_agent.spool import Spool
spool = Spool(Path(sys.argv[1]), "roof")
found = {
    "journal": spool.journal,
    "lanes": {
        lane.stream: [str(each.acknowledged), str(each.waiting), str(each.dropped["spool_full"])]
        for lane, each in spool.ledgers.items()
        if lane.stream == "w"
    },
}
spool.append("w", [{"@timestamp": "2026-03-01T13:00:00.000Z", "weather": {"air_temperature": 9.9}}])
spool.close()
print(json.dumps(found))
"""


@pytest.fixture(params=SPOOLS, ids=lambda path: path.stem)
def card(request: pytest.FixtureRequest, tmp_path: Path) -> Card:
    """A station as an older agent left it: with its key, and bound to no board."""
    card = Card(tmp_path / "card")
    (card.folder / "spool").mkdir()
    shutil.copy(request.param, card.folder / "spool/spool.db")
    keys.load_or_create(card.folder / "agent.key")
    return card


def test_an_upgrade_keeps_spool_and_identity(card: Card) -> None:
    """Journal, key, and what became of each record."""
    key = keys.load(card.folder / "agent.key").public
    with closing(SpoolFile(card.folder / "spool/spool.db", read_only=True)) as file:
        (before,) = {lane.journal for lane in ledgers_in(file)}

    spool, public = card.boot()

    lane = Lane(before, "w")
    weather = spool.ledgers[lane]
    assert (before, key) == (spool.journal, public)
    assert (Ranges([(1, 10)]), {"spool_full": Ranges([(11, 12)])}) == (
        weather.acknowledged,
        weather.dropped,
    )
    found = waiting(spool, lane)
    assert_whole(lane, found)
    assert list(range(13, 31)) == [number_of(body) for body in found.values()]
    assert 3 == len(waiting(spool, Lane(before, "s")))
    assert 31 == spool.ledgers[lane].never_sent_from
    assert_accounted(spool)
    spool.close()
    assert card.place.other is None
    assert board.Bound(card.place.board or "", "roof") == board.bound(card.folder / "spool/board")


def test_a_record_without_a_date_is_dated_after_the_upgrade(tmp_path: Path) -> None:
    """By the boots that it knows of; in order, and flagged where it is an estimate."""
    path = tmp_path / "spool.db"
    shutil.copy(OLDER / "before-boards.db", path)
    with closing(Spool(path, "roof")) as spool:
        assert 3 == spool.undated
        start = 1_772_400_000.0  # of the boot "two"; the last dated record is of the day before

        spool.date(
            Start("two", start),
            lambda record, begun: dated(
                record.document,
                record.stream,
                datetime.fromtimestamp(begun.start + record.moment, UTC),
                ["estimated"] if begun.estimated else [],
            ),
        )
        spool.sync()
        lane = Lane(spool.journal, "w")
        bodies = spool.read(lane, 31, 33, 2**20)

    said = [msgspec.json.decode(body) for body in bodies]
    assert [41, 42, 43] == [number_of(body) for body in bodies]
    assert [True, True, False] == ["quality" in each for each in said]
    assert "2026-03-01T21:20:43.000Z" == said[2]["@timestamp"]
    assert sorted(each["@timestamp"] for each in said) == [each["@timestamp"] for each in said]


def test_a_downgrade_by_one_version_works(tmp_path: Path) -> None:
    """The agent before this one, with its own code, finds it all, and so do we afterwards."""
    done = subprocess.run(
        ["git", "archive", VERSION_BEFORE, "agent", "core"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        missing("history", f"{VERSION_BEFORE} is not in this checkout's history")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(tmp_path / "older", filter="data")
    path = tmp_path / "spool.db"
    shutil.copy(OLDER / "before-boards.db", path)
    with closing(Spool(path, "roof")) as spool:  # the upgrade
        journal = spool.journal
        spool.append("w", [{"weather": {"air_temperature": 3.1}}])

    before = subprocess.run(
        [sys.executable, "-c", LOOK, str(path)],
        env={"PYTHONPATH": f"{tmp_path}/older/agent:{tmp_path}/older/core"},
        capture_output=True,
        text=True,
        check=True,
    )

    found = json.loads(before.stdout)
    assert journal == found["journal"]
    assert ["1-10", "13-31", "11-12"] == found["lanes"]["w"]
    with closing(Spool(path, "roof")) as spool:
        assert 32 == spool.ledgers[Lane(journal, "w")].last
        assert 3 == spool.undated  # which the one before did not know, and left alone
        assert_accounted(spool)


def test_the_tables_are_those_of_the_format(tmp_path: Path) -> None:
    """Whoever changes one sees here that it is another format, and what that asks for."""
    Spool(tmp_path / "spool.db", "roof").close()
    schemas = []
    for path in (tmp_path / "spool.db", OLDER / "before-boards.db"):
        with closing(sqlite3.connect(path)) as connection:
            tables = connection.execute("SELECT name, sql FROM sqlite_schema ORDER BY name")
            schemas.append(
                (*tables.fetchall(), connection.execute("PRAGMA user_version").fetchone())
            )
    assert schemas[1] == schemas[0]


@pytest.fixture
def newer(tmp_path: Path) -> Path:
    """A spool of the next minor: with a table, and a word, that nobody here knows."""
    path = tmp_path / "spool.db"
    with closing(Spool(path, "roof")) as spool:
        spool.append("w", [{"weather": {"air_temperature": 1.0}}] * 3)
        spool.drop(spool.ledgers[Lane(spool.journal, "w")], Ranges([(1, 1)]), "eaten_by_a_goat")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE weather_of_tomorrow (day TEXT)")
        connection.execute("INSERT INTO weather_of_tomorrow VALUES ('fine')")
        connection.execute(f"PRAGMA user_version = {FORMAT + (1 << 8)}")
    return path


def test_a_newer_minor_is_used_and_left_as_it_is(newer: Path) -> None:
    """Its records, its word for what was given up; and its table is there afterwards."""
    with closing(Spool(newer, "roof")) as spool:
        lane = Lane(spool.journal, "w")
        spool.append("w", [{"weather": {"air_temperature": 4.0}}])
        spool.sync()
        assert {2, 3, 4} == set(waiting(spool, lane))
        assert {"eaten_by_a_goat": Ranges([(1, 1)])} == spool.ledgers[lane].dropped

    with closing(sqlite3.connect(newer)) as connection:
        assert [("fine",)] == connection.execute("SELECT * FROM weather_of_tomorrow").fetchall()
        assert [(FORMAT + (1 << 8),)] == connection.execute("PRAGMA user_version").fetchall()


@pytest.mark.parametrize("read_only", [False, True])
def test_a_newer_major_is_refused_and_not_touched(newer: Path, *, read_only: bool) -> None:
    """Also by who only wants to look; with what to do."""
    with closing(sqlite3.connect(newer, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA user_version = {MAJOR + 1 | 3 << 8}")
        connection.execute("PRAGMA journal_mode = DELETE")
    before = newer.read_bytes()

    with pytest.raises(
        UnavailableError, match=r"newer clima-agent \(format 2\.3, .* 1\.0\): go on"
    ):
        SpoolFile(newer, read_only=read_only)

    assert before == newer.read_bytes()
    assert [newer] == [each for each in newer.parent.iterdir() if "ballast" not in each.name]
