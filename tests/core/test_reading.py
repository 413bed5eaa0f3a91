"""The reading: what the typed check lets through, and what it names when it does not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import msgspec
import pytest

from clima_core.reading import EARLIEST, QUANTITIES, Record, Weather, rfc3339

READING = {
    "@timestamp": "2013-01-01T06:00:00.000Z",
    "data_stream": {"type": "metrics", "dataset": "clima.weather", "namespace": "default"},
    "event": {"id": "jfk:0123456789ab:w:1", "sequence": 1},
    "station": {
        "id": "jfk",
        "journal": "0123456789ab",
        "location": {"lat": 40.64, "lon": -73.78},
        "elevation": 4.0,
        "timezone": "America/New_York",
        "local_date": "2013-01-01",
    },
    "weather": {"air_temperature": 3.9, "relative_humidity": None},
    "sensor": {"metar": {"air_temperature": 3.9}},
    "quality": {"relative_humidity": ["failed"]},
}


DOCS = Path(__file__).parents[2] / "docs"


def names_in(type_: msgspec.inspect.Type) -> Iterator[str]:
    """The names of all fields, however deep."""
    match type_:
        case msgspec.inspect.StructType():
            for field in type_.fields:
                yield field.encode_name
                yield from names_in(field.type)
        case msgspec.inspect.UnionType():
            for each in type_.types:
                yield from names_in(each)
        case msgspec.inspect.ListType():
            yield from names_in(type_.item_type)


def test_the_document_of_the_wire_has_every_field() -> None:
    """Who writes a client in another language has that page, and the one with the quantities."""
    page = (DOCS / "protocol.md").read_text("utf-8")
    (said,) = re.findall(r"^## The record$(.*?)^## ", page, re.MULTILINE | re.DOTALL)
    quantities = set(re.findall(r"`(\w+)`", (DOCS / "sensors.md").read_text("utf-8")))
    named = set(re.findall(r"`(@?\w+)`", said))
    assert set() == set(names_in(msgspec.inspect.type_info(Record))) - named - QUANTITIES.keys()
    assert QUANTITIES.keys() <= quantities


def test_the_least_record_of_that_document_is_one() -> None:
    """As it stands there, without its line breaks."""
    page = (DOCS / "protocol.md").read_text("utf-8")
    (text,) = re.findall(r'^    (\{"@timestamp".*?)\n\n', page, re.MULTILINE | re.DOTALL)
    record = msgspec.json.decode("".join(map(str.strip, text.splitlines())), type=Record)
    assert ("roof:0123456789ab:w:1", 1) == (record.event.id, record.event.sequence)


def test_a_reading_of_the_design_is_a_record() -> None:
    """Times come back aware, null stays null, what is absent is None."""
    record = msgspec.json.decode(msgspec.json.encode(READING), type=Record)
    assert datetime(2013, 1, 1, 6, tzinfo=UTC) == record.timestamp
    assert READING["weather"] == {
        name: getattr(record.weather, name) for name in ("air_temperature", "relative_humidity")
    }
    assert record.health is None


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"weather": {"air_temprature": 1}}, "air_temprature"),
        ({"weather": {"air_temperature": "3.9"}}, "$.weather.air_temperature"),
        ({"@timestamp": "yesterday"}, "$.@timestamp"),
        ({"event": {"id": "x", "sequence": 1.5}}, "$.event.sequence"),
        ({"quality": {"air_pressure": "spike"}}, "$.quality"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(change: dict[str, object], where: str) -> None:
    """The reason that goes with a dead letter says which field."""
    with pytest.raises(msgspec.ValidationError, match=re.escape(where)):
        msgspec.json.decode(msgspec.json.encode(READING | change), type=Record)


def test_every_quantity_has_its_field() -> None:
    """The table of quantities is the only list of them."""
    assert list(QUANTITIES) == [field.name for field in msgspec.structs.fields(Weather)]
    assert all(quantity.unit and quantity.description for quantity in QUANTITIES.values())


def test_times_are_written_in_utc_with_milliseconds() -> None:
    """Whatever zone they came in; what is finer is cut, never rounded into the future."""
    moment = datetime(2013, 1, 1, 1, 0, 0, 1999, tzinfo=timezone(timedelta(hours=-5)))
    assert "2013-01-01T06:00:00.001Z" == rfc3339(moment)
    assert "2000-01-01T00:00:00.000Z" == rfc3339(EARLIEST)
