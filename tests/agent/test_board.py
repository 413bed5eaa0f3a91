"""A card in its own board, in another one, and back: who the station is, and what becomes of it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from clima_agent import board, config
from clima_agent.agent import open_spool
from clima_agent.cli import main
from clima_agent.clock import Keeper
from clima_agent.commands.run import _key as station_key
from clima_agent.spool import Spool, Start, Undated
from clima_core import keys
from clima_core.errors import ConfigurationError, UnavailableError
from clima_core.identity import Lane
from tests.agent.spool.stock import documents, number_of, waiting
from tests.agent.test_agent import break_tree
from tests.agent.test_permissions import NOBODY, nobody

A, B, C = "10000000aaaa1111", "10000000bbbb2222", "10000000cccc3333"


class Card:
    """A station's files, in whichever board; `boot` is what an agent does first."""

    def __init__(self, folder: Path, serial: str = A, id_: str = "roof") -> None:
        self.folder = folder
        self.serial = folder.parent / f"serial-of-{folder.name}"
        self.id = id_
        folder.mkdir(exist_ok=True)
        self.put_into(serial)

    def put_into(self, serial: str) -> None:
        self.serial.write_bytes(serial.encode("latin-1") + b"\0")

    @property
    def configured(self) -> config.Configuration:
        return config.Configuration(
            station=config.Station(id=self.id),
            spool=config.Spool(directory=self.folder / "spool"),
            identity=config.Identity(key_file=self.folder / "agent.key", serial_file=self.serial),
        )

    @property
    def place(self) -> board.Place:
        return board.place(self.configured)

    def boot(self) -> tuple[Spool, str]:
        """The open spool and the public key."""
        here = self.place
        pair = keys.load_or_create(here.config.identity.key_file)
        here.config.spool.directory.mkdir(parents=True, exist_ok=True)
        spool = open_spool(here.config, Keeper("system").now)
        board.settle(here, spool)
        return spool, pair.public

    def record(self, *numbers: int) -> None:
        """Boot, keep these, and lose power after the next sync."""
        spool, _ = self.boot()
        for number in numbers:
            spool.append("w", dated(number))
        spool.close()

    def clone(self, serial: str) -> Card:
        copy = Card(self.folder.with_name(f"clone-{serial}"), serial, self.id)
        shutil.copytree(self.folder, copy.folder, dirs_exist_ok=True)
        return copy

    def held(self) -> dict[str, list[int]]:
        """Of each station that some waiting record names, the numbers, in order."""
        spool, _ = self.boot()
        found: dict[str, list[int]] = {}
        for lane in spool.ledgers:
            for body in waiting(spool, lane).values():
                said = msgspec.json.decode(body)
                assert said["event"]["id"].startswith(f"{said['station']['id']}:{lane.journal}:")
                found.setdefault(said["station"]["id"], []).append(number_of(body))
        spool.close()
        return found

    def files(self) -> dict[str, bytes]:
        """All that is on the card for its own board."""
        paths = (each for each in self.folder.rglob("*") if each.is_file())
        names = {each.relative_to(self.folder).as_posix(): each for each in paths}
        return {name: path.read_bytes() for name, path in names.items() if "boards" not in name}


@pytest.fixture
def card(tmp_path: Path) -> Card:
    return Card(tmp_path / "card")


def dated(number: int) -> list[dict[str, Any]]:
    return [documents(1, number)[0] | {"@timestamp": "2026-01-01T00:00:00.000Z"}]


def undated(number: int) -> Undated:
    """A record of which nobody knows the time yet."""
    return Undated("boot", float(number), "w", dated(number)[0])


def digits(serial: str, folder: Path) -> str:
    (folder / "asked").write_text(serial)
    return (board.this_board(folder / "asked") or "")[:4]


# -- which board ---------------------------------------------------------------------------


def test_a_board_is_known_by_its_serial_number_wherever_that_is_said(tmp_path: Path) -> None:
    """The device tree's, with its zero byte, is the one that /proc/cpuinfo says."""
    tree, container = tmp_path / "tree", tmp_path / "container"
    (tree / "proc/device-tree").mkdir(parents=True)
    (tree / board.DEVICE_TREE).write_bytes(b"00000000C0FFEE01\0")
    (container / "proc").mkdir(parents=True)
    (container / board.CPUINFO).write_text(
        "processor\t: 0\nHardware\t: BCM2835\nSerial\t\t: 00000000c0ffee01\nModel\t\t: Pi 3\n"
    )

    name = board.this_board(root=tree)

    assert name is not None
    assert 16 == len(name)
    assert "c0ffee" not in name
    assert name == board.this_board(root=container)
    assert board.this_board(root=tmp_path) is None


@pytest.mark.parametrize("said", ["", "0000000000000000", "ffffffff", "no\x07se", "\xff\xfe", "1"])
def test_what_cannot_be_a_serial_number_is_none(tmp_path: Path, said: str) -> None:
    """Not programmed, or damaged."""
    (tmp_path / "serial").write_bytes(said.encode("latin-1") + b"\0")
    assert board.this_board(tmp_path / "serial") is None


# -- its own board -------------------------------------------------------------------------


def test_an_installation_from_before_is_bound_to_the_board_it_is_in(card: Card) -> None:
    """Once, and nothing else changes; from then on it is that board's."""
    key = keys.load_or_create(card.folder / "agent.key").public
    (card.folder / "spool").mkdir()
    old = Spool(card.folder / "spool" / "spool.db", "roof")
    old.append("w", documents(3))
    journal = old.journal
    old.close()

    spool, public = card.boot()
    spool.close()

    assert (key, journal, {"roof": [1, 2, 3]}) == (public, spool.journal, card.held())
    assert card.clone(B).place.other == board.Bound(card.place.board or "", "roof")


@pytest.mark.parametrize("damage", ["", "00000000", "\xff\x00\x07"])
def test_a_board_that_cannot_be_told_goes_on(card: Card, damage: str) -> None:
    """To fall silent for a number that cannot be read would be the worse mistake."""
    spool, key = card.boot()
    spool.close()
    card.put_into(damage)

    again, same_key = card.boot()
    again.close()

    assert card.place.board is None
    assert (spool.journal, key, "roof") == (again.journal, same_key, again.station)


def test_a_damaged_binding_is_written_anew(card: Card) -> None:
    """On the board that the other one of the two still names; a torn file stops no station."""
    card.record(1)
    for name in ("agent.key.board", "spool/board"):
        (card.folder / name).write_bytes(b'{"board": "\xff')
        assert card.place.other is None
        card.record(2)
        assert board.bound(card.folder / name) == board.Bound(card.place.board or "", "roof")


def test_where_no_binding_can_be_written_the_station_goes_on(card: Card) -> None:
    """On a full disk, say."""
    (card.folder / "spool" / "board").mkdir(parents=True)
    card.record(1)
    assert {"roof": [1]} == card.held()


@pytest.mark.parametrize("serial", ["", A])
def test_a_new_id_takes_along_what_nobody_was_sent(card: Card, serial: str) -> None:
    """On a machine without a serial number as well; what may have been sent keeps its name."""
    card.put_into(serial)
    spool, _ = card.boot()
    spool.append("w", documents(1, 1))
    spool.sync()
    spool.mark_sending()
    spool.append("w", documents(1, 2))
    spool.close()
    card.record(3)
    card.id = "attic"
    card.record(4)

    assert {"roof": [1, 2], "attic": [3, 4]} == card.held()


def test_a_new_id_is_noticed_when_the_board_can_be_told_again(card: Card) -> None:
    """`enroll` binds key and spool to it, and must not hide that the spool is the old name's."""
    card.put_into("")
    card.record(1)
    card.put_into(A)
    card.id = "attic"
    board.bind(card.place)

    assert {"attic": [1]} == card.held()
    assert board.Bound(card.place.board, "attic") == board.bound(card.folder / "spool/board")


# -- another board -------------------------------------------------------------------------


def test_on_another_board_it_is_another_station(card: Card) -> None:
    """Other key, other journal, another id; what the card holds is left as it is to the byte."""
    card.record(1, 2)
    clone = card.clone(B)
    before = clone.files()

    clone.record(3)
    spool, key = clone.boot()
    spool.close()

    assert f"roof-{digits(B, card.folder)}" == spool.station
    assert {spool.station: [3]} == clone.held()
    assert key != keys.load(clone.folder / "agent.key").public
    assert before == clone.files()
    assert {"roof": [1, 2]} == card.held()


def test_ten_clones_are_ten_stations(card: Card) -> None:
    """Each with its own id and key."""
    card.record(1)
    clones = [card.clone(f"10000000{number:08x}") for number in range(1, 11)]
    booted = [clone.boot() for clone in clones]

    assert 10 == len({spool.station for spool, _ in booted})
    assert 10 == len({key for _, key in booted})
    assert 10 == len({spool.journal for spool, _ in booted})


def test_there_and_back_again(card: Card) -> None:
    """Each board goes on where it was, however often the card goes to and fro."""
    seen: dict[str, set[tuple[str, str, str]]] = {A: set(), B: set()}
    for number, serial in enumerate([A, B, A, B, A]):
        card.put_into(serial)
        spool, key = card.boot()
        spool.append("w", documents(1, number))
        seen[serial].add((spool.station, spool.journal, key))
        spool.close()

    assert [1, 1] == [len(each) for each in seen.values()]
    assert {"roof": [0, 2, 4]} == card.held()
    card.put_into(B)
    assert [1, 3] == next(iter(card.held().values()))


def test_a_long_id_leaves_room_for_the_digits(card: Card) -> None:
    """What comes out is an id."""
    card.id = "x" * 63
    card.record(1)
    station = card.clone(B).place.config.station.id

    assert msgspec.convert({"id": station}, config.Station).id == station
    assert 63 == len(station)


def test_an_id_of_its_own_is_used_as_it_is(card: Card) -> None:
    """And what was recorded under the provisional one, and nobody was sent, gets it."""
    card.record(1)
    clone = card.clone(B)
    clone.record(2, 3)
    spool, _ = clone.boot()
    spool.keep_undated([undated(4)])
    spool.close()

    clone.id = "classroom-7"
    spool, _ = clone.boot()
    spool.date(Start("boot", 1e9), lambda record, start: record.document)
    spool.close()

    assert {"classroom-7": [2, 3, 4]} == clone.held()


@pytest.mark.parametrize("left", ["agent.key.board", "spool/board"])
def test_key_and_spool_are_bound_each_for_itself(card: Card, left: str) -> None:
    """The spool may be on a disk of its own: one of the two tells that this is another board."""
    card.record(1)
    clone = card.clone(B)
    for name in {"agent.key.board", "spool/board"} - {left}:
        (clone.folder / name).unlink()
    assert clone.place.other == board.Bound(card.place.board or "", "roof")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can be another")
@pytest.mark.usefixtures("public_path")
def test_a_key_where_the_agent_cannot_write(card: Card) -> None:
    """As root's in /etc: the spool's own binding does, and the other board has its own key."""
    spool = card.folder / "spool"
    spool.mkdir()
    os.chown(spool, NOBODY, NOBODY)
    with nobody():
        here = card.place
        board.bind(here)
    card.put_into(B)
    with nobody():
        there = card.place

    assert here.other is None
    assert ["board"] == [each.name for each in spool.iterdir()]
    assert there.other == board.Bound(here.board or "", "roof")
    assert spool in there.config.identity.key_file.parents


def test_a_credential_is_its_own_boards(card: Card, tmp_path: Path) -> None:
    """On another one the key that systemd hands over is the original's, and is not used."""
    handed = keys.load_or_create(tmp_path / "credentials/agent.key").public
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path / "credentials")}
    card.record(1)
    own = station_key(card.place.config, environ).public
    card.put_into(B)
    other = station_key(card.place.config, environ).public

    assert handed == own
    assert handed != other
    assert other == keys.load(card.place.config.identity.key_file).public


def test_it_is_said_until_the_clone_was_let_in(card: Card) -> None:
    """From then on it is a station like any other, and nothing for anybody to do."""
    card.record(1)
    card.put_into(B)
    with capture_logs() as log:
        spool, _ = card.boot()
        spool.append("w", dated(2))
        spool.sync()
        spool.mark_sending()  # as when it is welcomed
        spool.close()
        card.record(3)

    said = [each for each in log if each["event"] == "card_of_another_board"]
    assert ["error", "info"] == [each["log_level"] for each in said]
    assert "`clima-agent enroll --moved`" in said[0]["mend"]


# -- moved for good ------------------------------------------------------------------------


def test_moved_it_goes_on_as_before(card: Card) -> None:
    """Name, key, journal and backlog; and what the new board has recorded meanwhile is not lost."""
    card.record(1, 2)
    spool, key = card.boot()
    spool.close()
    card.put_into(B)
    card.record(3)
    meanwhile, _ = card.boot()
    meanwhile.keep_undated([undated(4)])
    meanwhile.close()

    board.moved(card.place)
    now, same_key = card.boot()
    dateless = now.undated
    now.date(Start("boot", 1e9), lambda record, start: record.document)
    now.close()

    assert (spool.station, spool.journal, key, 1) == (now.station, now.journal, same_key, dateless)
    assert {"roof": [1, 2, 4, 3]} == card.held()
    assert card.place.other is None
    card.put_into(A)
    assert card.place.other is not None


def test_what_was_sent_under_another_name_stays_under_it(card: Card) -> None:
    """It was let in as a station of its own first: its records have that name for good."""
    card.record(1)
    card.put_into(B)
    spool, _ = card.boot()
    spool.append("w", documents(1, 2))
    spool.sync()
    spool.mark_sending()
    spool.close()
    folder = card.place.config.spool.directory

    board.moved(card.place)

    assert {"roof": [1]} == card.held()
    assert (folder / "spool.db").exists()


def test_moved_needs_the_old_id(card: Card) -> None:
    """Or the old station's readings would go out under the new one's name."""
    card.record(1)
    card.put_into(B)
    card.id = "classroom-7"
    with pytest.raises(ConfigurationError, match='"classroom-7"; what the card holds is of "roof"'):
        board.moved(card.place)
    assert card.place.other is not None


def test_moved_says_when_it_could_not_be_written_down(card: Card) -> None:
    """A person believes that it was done."""
    card.record(1)
    card.put_into(B)
    here = card.place
    (card.folder / "spool" / "board").unlink()
    (card.folder / "spool" / "board").mkdir()
    with pytest.raises(UnavailableError, match="may clima-agent write here"):
        board.moved(here)


def test_a_takeover_that_was_cut_short_is_done_again(card: Card) -> None:
    """And takes nothing twice, even where all was taken and nothing tidied up."""
    card.record(1)
    card.put_into(B)
    card.record(2, 3)
    folder = card.place.config.spool.directory
    shutil.copytree(folder, card.folder / "kept")
    board.moved(card.place)
    card.record(4)
    assert not (folder / "spool.db").exists()
    shutil.copytree(card.folder / "kept", folder, dirs_exist_ok=True)

    assert {"roof": [1, 4, 2, 3]} == card.held()


def test_lanes_are_whole_after_a_takeover(card: Card) -> None:
    """What the other spool had given up stays given up, and is told to the forwarder."""
    card.record(1)
    card.put_into(B)
    spool, _ = card.boot()
    spool.append("w", documents(3, 2))
    lane = Lane(spool.journal, "w")
    spool.drop(spool.ledgers[lane], spool.ledgers[lane].waiting, "spool_full")
    spool.sync()
    spool.drop(spool.ledgers[lane], spool.ledgers[lane].waiting.between(1, 1), "spool_full")
    spool.close()

    board.moved(card.place)
    now, _ = card.boot()
    now.mark_sending()  # as when it is welcomed: what was never sent is not reported before
    report = next(each for each in now.reports() if each.journal == lane.journal)
    now.close()

    assert [(1, 1, "spool_full")] == [(d.first, d.last, d.reason) for d in report.dropped]
    assert (3, [(2, 3)]) == (report.last, report.waiting)


def test_a_damaged_spool_of_the_new_board_stops_no_station(card: Card) -> None:
    """Nobody knows any more what of it was sent: it is salvaged, and left where it is."""
    card.record(1)
    card.put_into(B)
    card.record(*range(2, 102))  # more than fit on one page
    folder = card.place.config.spool.directory
    break_tree(folder / "spool.db")

    board.moved(card.place)
    with capture_logs() as log:
        held = card.held()

    assert {"roof": [1]} == held
    assert ["spool_salvaged", "records_left"] == [each["event"] for each in log]
    with closing(Spool(folder / "spool.db", f"roof-{digits(B, card.folder)}")) as left:
        assert 100 == sum(len(waiting(left, lane)) for lane in left.ledgers)


def test_a_damaged_spool_is_never_deleted(card: Card) -> None:
    """Also where nothing of it can be read any more."""
    card.record(1)
    card.put_into(B)
    card.record(2)
    folder = card.place.config.spool.directory
    path = folder / "spool.db"
    path.write_bytes(path.read_bytes()[:2048] + bytes(path.stat().st_size - 2048))

    board.moved(card.place)

    assert {"roof": [1]} == card.held()
    assert 1 == len(list(folder.glob("spool.damaged-*.db")))


def test_what_cannot_be_tidied_up_stops_no_station(card: Card) -> None:
    """Somebody's folder among the files of the other board: it is left there, and said."""
    card.record(1)
    card.put_into(B)
    card.record(2)
    folder = card.place.config.spool.directory
    (folder / "kept").mkdir()

    board.moved(card.place)
    with capture_logs() as log:
        held = card.held()

    assert {"roof": [1, 2]} == held
    assert ["records_taken_over", "not_tidied_up"] == [each["event"] for each in log]
    assert [folder / "kept"] == list(folder.iterdir())


def test_what_cannot_be_taken_over_is_tried_again(card: Card) -> None:
    """At the next start; meanwhile the station goes on."""
    card.record(1)
    card.put_into(B)
    card.record(2)
    folder = card.place.config.spool.directory
    with closing(sqlite3.connect(folder / "spool.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA user_version = 2")

    board.moved(card.place)
    with capture_logs() as log:
        before = card.held()
    with closing(sqlite3.connect(folder / "spool.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA user_version = 1")

    assert {"roof": [1]} == before
    assert "newer clima-agent" in next(
        each["reason"] for each in log if each["event"] == "records_not_taken_over"
    )
    assert {"roof": [1, 2]} == card.held()


STEPS = st.lists(
    st.one_of(
        st.sampled_from([A, B, C, ""]).map(lambda serial: ("board", serial)),
        st.sampled_from(["roof", "attic"]).map(lambda id_: ("id", id_)),
        st.just(("record", "")),
        st.just(("undated", "")),
        st.just(("moved", "")),
    ),
    max_size=14,
)


@settings(max_examples=60)
@given(st.sampled_from([A, ""]), STEPS)
def test_wherever_a_card_goes_each_reading_is_there_once(
    first: str, steps: list[tuple[str, str]]
) -> None:
    """Boards, ids and moves in any order: and each is under the name that its spool goes by."""
    with tempfile.TemporaryDirectory() as folder:
        card, recorded = Card(Path(folder) / "card", first), 0
        card.record(0)
        for what, value in steps:
            match what:
                case "board":
                    card.put_into(value)
                case "id":
                    card.id = value
                case "moved":
                    with suppress(ConfigurationError):
                        board.moved(card.place)
                case _:
                    recorded += 1
                    spool, _ = card.boot()
                    if what == "record":
                        spool.append("w", dated(recorded))
                    else:
                        spool.keep_undated([undated(recorded)])
                    spool.close()
        assert list(range(recorded + 1)) == sorted(everything(card))


def everything(card: Card) -> list[int]:
    """The numbers of all that the card holds, for whichever board."""
    numbers: list[int] = []
    for path in card.folder.rglob("spool.db"):
        binding = board.bound(path.with_name(board.BINDING))
        with closing(Spool(path, binding.station if binding else card.id)) as spool:
            spool.date(Start("boot", 1e9), lambda record, start: record.document)
            spool.sync()
            for lane in spool.ledgers:
                assert_named(lane, waiting(spool, lane), spool.station)
                numbers += map(number_of, waiting(spool, lane).values())
    return numbers


def assert_named(lane: Lane, found: dict[int, bytes], station: str) -> None:
    for sequence, body in found.items():
        event = msgspec.json.decode(body)["event"]
        assert f"{station}:{lane.journal}:{lane.stream}:{sequence}" == event["id"]


# -- as a person calls it ------------------------------------------------------------------


@pytest.fixture
def file(card: Card) -> Path:
    path = card.folder / "agent.toml"
    path.write_text(
        '[station]\nid = "roof"\n[spool]\ndirectory = "spool"\n'
        f'[identity]\nkey_file = "agent.key"\nserial_file = "{card.serial}"\n'
    )
    return path


def test_enroll_moved_is_confirmed_on_the_station(
    card: Card, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By a person at a terminal, or by a flag; without either nothing changes."""
    card.record(1)
    card.put_into(B)

    assert 1 == main(["enroll", "--moved", "-c", str(file)])
    asked, still = capsys.readouterr().out, card.place.other
    assert 0 == main(["enroll", "--moved", "--yes", "-c", str(file)])
    done = capsys.readouterr().out

    assert 'as "roof". Here this station is "roof-' in asked
    assert "enroll --moved --yes" in asked
    assert still is not None
    assert card.place.other is None
    assert "sudo systemctl restart clima-agent" in done
    assert "docker compose -f agent.compose.yaml restart" in done
    assert {"roof": [1]} == card.held()


def test_enroll_moved_where_there_is_nothing_to_move(
    card: Card, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On its own board, and on one that cannot be told."""
    card.record(1)
    assert 0 == main(["enroll", "--moved", "--yes", "-c", str(file)])
    card.put_into("")
    assert 0 == main(["enroll", "--moved", "--yes", "-c", str(file)])
    said = capsys.readouterr().out
    assert "The card is this board's: there is nothing to do" in said
    assert "no board's, as this one has no serial number" in said


@pytest.mark.usefixtures("alone_on_loopback")
def test_a_new_id_takes_the_records_along_also_after_enroll(card: Card, file: Path) -> None:
    """Which binds a key that it makes, and must not hide from the agent that the id has changed."""
    card.record(1)
    file.write_text(file.read_text().replace('"roof"', '"attic"'))
    assert 69 == main(["enroll", "--interface", "127.0.0.1", "-c", str(file)])
    card.id = "attic"
    assert {"attic": [1]} == card.held()
    assert board.Bound(card.place.board or "", "attic") == board.bound(card.folder / "spool/board")
