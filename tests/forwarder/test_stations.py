"""The key directory: who is let in is what the directory says now, message by message."""

from __future__ import annotations

import os
import timeit
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest

from clima_core import keys
from clima_core.errors import ConfigurationError
from clima_forwarder.stations import LOOK_AGAIN, Station, Stations

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A key directory that nobody has made yet."""
    return tmp_path / "keys"


@pytest.fixture
def stations(directory: Path) -> Stations:
    """The operator's view of it."""
    seconds = count()
    return Stations(directory, now=lambda: NOON + timedelta(seconds=next(seconds)))


def new_key() -> str:
    return keys.generate().public


def test_a_directory_that_is_not_there_lets_nobody_in(stations: Stations) -> None:
    """A forwarder may start before the first station is added, and hears it at once then."""
    key = new_key()
    assert stations.station_of(key) is None
    stations.add("jfk", key, "Kennedy")
    assert "jfk" == stations.station_of(key)


def test_a_change_counts_from_the_very_next_message(directory: Path, stations: Stations) -> None:
    """Another process's view agrees after every one of many changes, however fast they come."""
    forwarder = Stations(directory)
    for _ in range(50):
        first, second = new_key(), new_key()
        stations.add("jfk", first)
        assert "jfk" == forwarder.station_of(first)
        stations.add("jfk", second, replace=True)
        assert (None, "jfk") == (forwarder.station_of(first), forwarder.station_of(second))
        stations.revoke("jfk")
        assert forwarder.station_of(second) is None


def test_two_changes_within_one_tick_of_the_clock_are_both_seen(
    directory: Path, stations: Stations
) -> None:
    """A file system whose times are coarse hides nothing: the times are set equal here."""
    forwarder = Stations(directory)
    key = new_key()
    stations.add("jfk", key)
    os.utime(directory, ns=(0, 0))
    assert "jfk" == forwarder.station_of(key)
    stations.revoke("jfk")
    os.utime(directory, ns=(0, 0))
    assert forwarder.station_of(key) is None


def test_a_file_put_there_by_hand_counts(directory: Path, stations: Stations) -> None:
    """ZeroMQ's own tools and a plain copy will do."""
    key = new_key()
    assert stations.station_of(key) is None
    keys.write_certificate(directory / "jfk.key", key, {})
    assert "jfk" == stations.station_of(key)
    assert Station("jfk", key, "", "") == stations.read()[0][0]


def test_looking_up_is_cheap(stations: Stations) -> None:
    """With 500 stations far less than a millisecond, for it is done on every message."""
    for number in range(500):
        keys.write_certificate(stations.directory / f"s{number}.key", new_key(), {})
    key = new_key()
    stations.add("jfk", key)
    assert "jfk" == stations.station_of(key)
    spent = min(timeit.repeat(lambda: stations.station_of(key), number=1000, repeat=5))
    assert spent < 0.1  # seconds for 1000; a few microseconds each


def test_what_is_put_out_is_kept(directory: Path, stations: Stations) -> None:
    """Revoked and replaced certificates move aside, and the log says when."""
    first, second = new_key(), new_key()
    stations.add("jfk", first)
    stations.add("jfk", second, replace=True)
    stations.revoke("jfk")
    kept = sorted((directory / "revoked").iterdir())
    assert {first, second} == {keys.load_certificate(path).public for path in kept}
    expected = [
        f"added jfk {keys.fingerprint(first)}",
        f"added jfk {keys.fingerprint(second)}",
        "revoked jfk",
    ]
    log = (directory / "changes.log").read_text().splitlines()
    assert expected == [line.partition("Z ")[2] for line in log]
    assert all(line.startswith("2026-06-01T12:00:0") for line in log)


def test_adding_the_same_again_is_no_error(stations: Stations) -> None:
    """A script may be run twice; a new name takes the place of the old."""
    key = new_key()
    stations.add("jfk", key)
    stations.add("jfk", key, "Kennedy")
    ((found,), _) = stations.read()
    assert ("jfk", key, "Kennedy") == (found.id, found.public_key, found.name)


def test_another_key_needs_replace(stations: Stations) -> None:
    """A station is not taken over by a slip; the message shows whose key it has."""
    first = new_key()
    stations.add("jfk", first)
    with pytest.raises(ConfigurationError, match=f"{keys.fingerprint(first)}; `--replace`"):
        stations.add("jfk", new_key())


def test_a_key_belongs_to_one_station(stations: Stations) -> None:
    """Readings under two names from one key would never be told apart."""
    key = new_key()
    stations.add("jfk", key)
    with pytest.raises(ConfigurationError, match="this key is jfk's"):
        stations.add("lga", key)


@pytest.mark.parametrize("station_id", ["", "JFK", "a b", "../jfk", ".hidden", "a" * 64])
def test_a_station_id_is_checked(stations: Stations, station_id: str) -> None:
    """It becomes a file name and part of every id."""
    with pytest.raises(ConfigurationError, match="is not a station id"):
        stations.add(station_id, new_key())
    with pytest.raises(ConfigurationError, match="is not a station id"):
        stations.revoke(station_id)


def test_revoking_a_station_that_is_not_there(stations: Stations) -> None:
    """The nearest right name is offered."""
    with pytest.raises(ConfigurationError, match="there are no stations yet"):
        stations.revoke("jfk")
    stations.add("jfk", new_key())
    with pytest.raises(ConfigurationError, match='did you mean "jfk"'):
        stations.revoke("jfkk")


def test_a_broken_file_is_reported_once_and_others_still_work(directory: Path) -> None:
    """Once while it lasts, and again where it comes back."""
    reports: list[str] = []
    forwarder = Stations(directory, report=reports.append)
    key = new_key()
    forwarder.add("jfk", key)
    for content in (b"nonsense", b"nonsense\n"):
        (directory / "lga.key").write_bytes(content)
        (directory / "Not An Id.key").write_bytes(content)
        assert "jfk" == forwarder.station_of(key)
        forwarder.add("jfk", key)  # any change makes it look again
        assert "jfk" == forwarder.station_of(key)
    assert 2 == len(reports)
    (directory / "lga.key").unlink()
    assert "jfk" == forwarder.station_of(key)
    (directory / "lga.key").touch()
    assert "jfk" == forwarder.station_of(key)
    assert 3 == len(reports)


def test_a_broken_file_is_tried_again_now_and_then(directory: Path) -> None:
    """What was wrong may pass without a trace in the directory, and not each message pays."""
    clock = [NOON]
    stations = Stations(directory, now=lambda: clock[0])
    key = new_key()
    stations.add("jfk", key)
    file = directory / "jfk.key"
    whole = file.read_text("utf-8")
    file.write_text("half of", "utf-8")
    assert stations.station_of(key) is None
    file.write_text(whole, "utf-8")
    assert stations.station_of(key) is None
    clock[0] += LOOK_AGAIN
    assert "jfk" == stations.station_of(key)


def test_a_key_that_two_files_claim_is_nobodys(directory: Path, stations: Stations) -> None:
    """It cannot be known whose readings these are; both names are in the report."""
    reports: list[str] = []
    forwarder = Stations(directory, report=reports.append)
    shared, own = new_key(), new_key()
    stations.add("jfk", shared)
    stations.add("ewr", own)
    keys.write_certificate(directory / "lga.key", shared, {})
    assert forwarder.station_of(shared) is None
    assert "ewr" == forwarder.station_of(own)
    assert ["jfk.key", "lga.key"] == [Path(report.split(":")[0]).name for report in reports]


def test_a_directory_that_cannot_be_read_lets_nobody_in(directory: Path) -> None:
    """A file in its place, or a disk that is gone."""
    reports: list[str] = []
    directory.write_text("not a directory")
    assert Stations(directory, report=reports.append).station_of(new_key()) is None
    assert [f"{directory}: cannot be read: Not a directory"] == reports
