"""Documents: what the forwarder accepts, and no more than there is to say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from clima_agent import document
from clima_agent.config import Station
from clima_agent.pipeline import Draft
from clima_core.reading import Record

AT = datetime(2013, 3, 10, 23, 30, 0, 250_000, tzinfo=UTC)
STATION = Station(
    id="jfk",
    name="JFK",
    latitude=40.6398,
    longitude=-73.7789,
    elevation_m=4,
    timezone="America/New_York",
)
DRAFT = Draft(
    AT,
    {"bme280": {"air_temperature": 3.9, "relative_humidity": None}},
    {"air_temperature": 4.0, "relative_humidity": None, "dew_point_temperature": 1.0},
    {"relative_humidity": ["failed"], "dew_point_temperature": ["derived"]},
)


def recorded(made: document.Document) -> Record:
    """As the forwarder takes it in, once the spool has given it its identity."""
    made["event"] |= {"id": "jfk:0123456789ab:w:1", "sequence": 1}
    made["station"]["journal"] = "0123456789ab"
    return msgspec.json.decode(msgspec.json.encode(made), type=Record)


def test_a_reading_has_every_field_of_the_contract() -> None:
    """Decoded by the forwarder's own strict model."""
    record = recorded(document.weather(DRAFT, STATION, AT))
    weather: Any = record.weather

    assert AT == record.timestamp
    assert ("metrics", "clima.weather", "default") == msgspec.structs.astuple(record.data_stream)
    assert 4.0 == weather.air_temperature
    assert {"bme280": {"air_temperature": 3.9, "relative_humidity": None}} == record.sensor
    assert DRAFT.quality == record.quality
    assert record.station.location is not None
    assert (40.6398, -73.7789) == msgspec.structs.astuple(record.station.location)
    assert ("JFK", 4.0, "America/New_York") == (
        record.station.name,
        record.station.elevation,
        record.station.timezone,
    )


def test_null_and_absent_are_told_apart() -> None:
    """Null was measured and is unusable; absent was not measured."""
    made = document.weather(DRAFT, STATION, AT)

    assert made["weather"]["relative_humidity"] is None
    assert "wind_speed" not in made["weather"]


def test_the_local_date_is_the_station_s_own_day() -> None:
    """Half past midnight UTC is still the evening before in New York."""
    late = Draft(datetime(2013, 7, 1, 3, 30, tzinfo=UTC), {})
    utc = Station(id="x")

    assert "2013-06-30" == document.weather(late, STATION, AT)["station"]["local_date"]
    assert "2013-07-01" == document.weather(late, utc, AT)["station"]["local_date"]


@pytest.mark.parametrize(("late_s", "said"), [(0, False), (0.9, False), (1, True), (-5, True)])
def test_created_is_said_only_where_it_differs(late_s: float, said: bool) -> None:
    """A reading recorded within a second of its time needs no second time."""
    created = AT + timedelta(seconds=late_s)
    event = document.weather(DRAFT, STATION, created)["event"]

    assert said == ("created" in event)


def test_what_is_not_known_is_left_out() -> None:
    """A station with nothing but an id, a reading with nothing wrong."""
    made = document.weather(Draft(AT, {"a": {}}, {}), Station(id="x"), AT)

    assert {"id": "x", "timezone": "UTC", "local_date": "2013-03-10"} == made["station"]
    assert "quality" not in made


def test_each_document_is_its_own() -> None:
    """The spool writes an identity into one; the next is not touched by it."""
    recorded(document.weather(DRAFT, STATION, AT))

    assert "journal" not in document.weather(DRAFT, STATION, AT)["station"]


def test_health_and_log_are_records_too() -> None:
    """Of data streams of their own."""
    health = recorded(document.health({"load_1m": 0.5, "disk_free": 10}, AT, STATION))
    log = recorded(
        document.log(
            AT,
            "warning",
            "clima_agent.sampler",
            "sensor_failed",
            STATION,
            labels={"sensor": "bme280", "count": 3},
            error={"type": "OSError", "message": "no"},
        )
    )

    assert "clima.station" == health.data_stream.dataset
    assert health.health is not None
    assert (0.5, 10) == (health.health.load_1m, health.health.disk_free)
    assert ("logs", "clima.agent") == (log.data_stream.type, log.data_stream.dataset)
    assert {"sensor": "bme280", "count": "3"} == log.labels
    assert log.error is not None
    assert "OSError" == log.error.type


def test_a_stored_reading_becomes_its_draft_again() -> None:
    """So that the pipeline can go on after a restart where it was."""
    stored = msgspec.json.decode(msgspec.json.encode(document.weather(DRAFT, STATION, AT)))

    assert DRAFT == document.draft_of(stored)
