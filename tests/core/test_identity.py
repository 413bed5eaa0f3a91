"""Identity: one name per record for ever."""

from __future__ import annotations

import pytest

from clima_core.identity import (
    DATA_SETS,
    DEAD_LETTERS,
    FORWARDER_LOGS,
    JOURNAL,
    STATION_ID,
    STREAMS,
    Lane,
    event_id,
    new_journal,
)


def test_the_identity_says_station_journal_stream_and_sequence() -> None:
    """It is what design and protocol promise, character for character."""
    assert "jfk:0123456789ab:w:7" == event_id("jfk", Lane("0123456789ab", "w"), 7)


def test_journals_are_twelve_hexadecimal_digits_and_never_twice() -> None:
    """A thousand new ones differ and have the form that the forwarder checks."""
    journals = {new_journal() for _ in range(1000)}
    assert 1000 == len(journals)
    assert all(JOURNAL.fullmatch(journal) for journal in journals)


@pytest.mark.parametrize("station", ["a", "0", "jfk", "roof-2", "a" * 63])
def test_station_ids_that_are_right(station: str) -> None:
    """Small letters, digits and hyphens, up to 63."""
    assert STATION_ID.fullmatch(station)


@pytest.mark.parametrize("station", ["", "-a", "JFK", "a_b", "a.b", "a:b", "ä", "a" * 64, "a\n"])
def test_station_ids_that_are_wrong(station: str) -> None:
    """Nothing that would break an id, a file name or a topic."""
    assert not STATION_ID.fullmatch(station)


def test_each_stream_has_a_data_stream() -> None:
    """The names that dashboards and API keys are made for."""
    assert set(STREAMS) == set(DATA_SETS)
    expected = [
        "metrics-clima.weather-default",
        "metrics-clima.station-default",
        "logs-clima.agent-default",
        "logs-clima.deadletter-default",
        "logs-clima.forwarder-default",
    ]
    found = [*DATA_SETS.values(), DEAD_LETTERS, FORWARDER_LOGS]
    assert expected == [data_set.name for data_set in found]
