"""Each station's last reading, its backlog and its clock; and what was refused."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from clima_core import keys
from clima_core.identity import DATA_SETS, Lane, Stream, event_id, new_journal
from clima_core.ranges import Pair
from clima_core.reading import rfc3339
from clima_core.wire import LaneReport, StationReport
from clima_forwarder.config import Http
from clima_forwarder.doctor import clocks, deadletters, stations
from clima_forwarder.outputs import open_output
from clima_forwarder.outputs.base import DeadLetter, Document
from clima_forwarder.outputs.elasticsearch import Options as ElasticsearchOptions
from clima_forwarder.outputs.elasticsearch.connection import Connection
from clima_forwarder.stations import Stations
from tests.elasticsearch_server import Server
from tests.forwarder.doctor.conftest import Patient

MINUTE = timedelta(minutes=1)


@pytest.fixture(params=["sqlite", "elasticsearch"])
def stored(request: pytest.FixtureRequest, patient: Patient) -> Patient:
    """Each store, which both know to answer the same."""
    if request.param == "elasticsearch":
        server: Server = request.getfixturevalue("elasticsearch")
        patient.output = ElasticsearchOptions(url=server.url)
    return patient


async def store(
    patient: Patient,
    station: str,
    ages: Sequence[timedelta] = (),
    *,
    waiting: Sequence[Pair] = (),
    reported: timedelta | None = None,
    health: dict[str, Any] | None = None,
    letters: Sequence[str] = (),
) -> None:
    """Readings that old, a report that old, a word about the board, dead letters of now."""
    now, journal = datetime.now(UTC), new_journal()
    output = open_output(patient.output)
    await output.open()
    weather = Lane(journal, "w")
    await output.create(
        [_record(station, weather, n, now - age) for n, age in enumerate(ages, start=1)]
    )
    if health is not None:
        board = _record(station, Lane(journal, "s"), 1, now, health=health)
        await output.create([board])
    await output.dead_letter(
        [
            DeadLetter(station, weather, 1000 + n, reason, "said the store", b"{", now)
            for n, reason in enumerate(letters)
        ]
    )
    if reported is not None:
        lane = LaneReport(*weather, 1, 10**6, now - 99 * MINUTE, list(waiting))
        await output.report([StationReport(station, now - reported, [lane])])
    await output.close()
    if isinstance(patient.output, ElasticsearchOptions):
        await _refresh(patient.output)


def _record(station: str, lane: Lane, number: int, time: datetime, **fields: Any) -> Document:
    stream: Stream = lane.stream
    body = {
        "@timestamp": rfc3339(time),
        "data_stream": DATA_SETS[stream]._asdict(),
        "event": {"id": event_id(station, lane, number), "sequence": number},
        "station": {"id": station, "journal": lane.journal},
        **(fields or {"weather": {"air_temperature": 20.0}}),
    }
    return Document(station, lane, number, time, msgspec.json.encode(body))


async def _refresh(options: ElasticsearchOptions) -> None:
    connection = Connection(options)
    await connection.refresh("metrics-clima.*", "logs-clima.*")
    await connection.close()


def let_in(patient: Patient, *names: str) -> None:
    for name in names:
        Stations(patient.stations.directory).add(name, keys.generate().public)


async def test_a_station_that_reads_as_it_usually_does(stored: Patient, station: str) -> None:
    """The age of its last reading, and its usual interval."""
    let_in(stored, station)
    await store(stored, station, [n * MINUTE for n in range(5)], reported=MINUTE)
    (found,) = await stored.states(stations)
    assert "ok" == found[0]
    assert "usually one each 60 s" in found[1]


@pytest.mark.parametrize(
    ("age", "state"), [(10 * MINUTE, "warning"), (timedelta(days=2), "broken")]
)
async def test_a_station_that_fell_silent(
    age: timedelta, state: str, stored: Patient, station: str
) -> None:
    """By its own interval: ten minutes are long for one that reads each minute."""
    let_in(stored, station)
    await store(stored, station, [age + n * MINUTE for n in range(5)], reported=age)
    (found,) = await stored.states(stations)
    assert state == found[0]
    assert f"{station}: last reading" in found[1]


async def test_a_station_that_reads_each_hour_is_not_late_after_two(
    stored: Patient, station: str
) -> None:
    """Its interval is its own."""
    let_in(stored, station)
    await store(stored, station, [n * 60 * MINUTE for n in range(2, 7)])
    assert ["ok"] == [state for state, _ in await stored.states(stations)]


async def test_a_recording_is_not_taken_for_a_silent_station(stored: Patient, station: str) -> None:
    """It is connected, and its readings are of long ago."""
    let_in(stored, station)
    await store(stored, station, [timedelta(days=900)], reported=MINUTE)
    (found,) = await stored.states(stations)
    assert "warning" == found[0]
    assert "though it is connected" in found[1]


async def test_a_station_that_was_let_in_and_never_came(stored: Patient, station: str) -> None:
    """It may have another key, or another address of the forwarder."""
    await store(stored, f"{station}-other", [MINUTE])
    let_in(stored, station)
    (found,) = await stored.looked(stations)
    assert "warning" == found.state
    assert "no reading ever came" in found.text
    assert "clima-agent enroll" in found.mend


async def test_a_backlog_is_said_in_time(stored: Patient, station: str) -> None:
    """What the station said that it holds, at its usual interval."""
    let_in(stored, station)
    await store(
        stored, station, [n * MINUTE for n in range(5)], waiting=[(100, 219)], reported=MINUTE
    )
    found = await stored.states(stations)
    assert ["ok", "warning"] == [state for state, _ in found]
    assert "120 readings (2 h) wait on it" in found[1][1]


async def test_what_is_on_a_card_that_fell_silent_does_not_come_by_itself(
    stored: Patient, station: str
) -> None:
    """The station speaks on, with another card."""
    let_in(stored, station)
    await store(stored, station, waiting=[(100, 219)], reported=timedelta(days=9))
    await store(stored, station, [n * MINUTE for n in range(5)], reported=MINUTE)
    found = await stored.looked(stations)
    assert ["ok", "warning"] == [each.state for each in found]
    assert "120 readings are on a card that speaks no more" in found[1].text
    assert "clima audit" in found[1].mend


async def test_a_stations_clock_that_differs(stored: Patient, station: str) -> None:
    """As the station itself found; one that agrees is well."""
    let_in(stored, station)
    stored.http = Http(port=1)
    await store(stored, station, [MINUTE], health={"clock_offset": 0.2})
    assert "1 stations agree" in (await stored.states(clocks))[-2][1]
    later = f"{station}-2"
    let_in(stored, later)
    await store(stored, later, [MINUTE], health={"clock_offset": 300.0})
    (found,) = [each for each in await stored.looked(clocks) if each.state == "broken"]
    assert f"{later}: its clock is 300.0 s behind the forwarder's" == found.text


async def test_a_reading_from_the_future(stored: Patient, station: str) -> None:
    """Whatever the station says of its clock."""
    let_in(stored, station)
    await store(stored, station, [-10 * MINUTE])
    (found,) = [each for each in await stored.looked(clocks) if each.state == "broken"]
    assert f"{station}: its clock is" in found.text
    assert "ahead of the forwarder's" in found.text


async def test_many_stations_that_are_well_are_one_line(patient: Patient) -> None:
    """And the one that is not has its own."""
    names = [f"s{number}" for number in range(25)]
    let_in(patient, *names, "silent")
    for name in names:
        await store(patient, name, [MINUTE])
    found = await patient.states(stations)
    assert ["warning", "ok"] == [state for state, _ in found]
    assert "25 stations read as they usually do" == found[1][1]


async def test_nobody_is_let_in(patient: Patient) -> None:
    """How to let the first one in."""
    await store(patient, "nobody")
    (found,) = await patient.looked(stations)
    assert ("warning", True) == (found.state, found.mend.startswith("clima stations add, "))


async def test_dead_letters_are_counted_by_their_reason(patient: Patient) -> None:
    """With the stations, and the newest one's message."""
    await store(patient, "roof", letters=[])
    assert [("ok", "none in the last 24 hours")] == await patient.states(deadletters)
    await store(patient, "roof", letters=["malformed", "malformed", "wrong_station"])
    found = await patient.states(deadletters)
    assert ["warning", "warning"] == [state for state, _ in found]
    assert "2 in the last 24 hours, malformed, of roof; the newest: said the store" == found[0][1]


async def test_dead_letters_in_elasticsearch(
    patient: Patient, elasticsearch: Server, station: str
) -> None:
    """The same, from its data stream, which other tests fill too."""
    patient.output = ElasticsearchOptions(url=elasticsearch.url)
    await store(patient, station, letters=[f"reason-{station}"] * 300)
    found = await patient.states(deadletters)
    said = f"300 in the last 24 hours, reason-{station}, of {station}; the newest: said the store"
    assert ("warning", said) in found


async def test_an_hourly_reading_says_nothing_about_the_clock(
    stored: Patient, station: str
) -> None:
    """Its age is no sign that the station's clock is behind; that it found no offset says more."""
    let_in(stored, station)
    ages = [timedelta(minutes=55), timedelta(minutes=115)]
    await store(stored, station, ages, health={"clock_offset": 0.0})
    assert not [said for _, said in await stored.states(clocks) if station in said]
