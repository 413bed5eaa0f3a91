"""`clima watch`, on a real feed."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator

import msgspec
import pytest
import zmq
from rich.console import Console

from clima_forwarder.cli import main
from clima_forwarder.commands.watch import line, table
from clima_forwarder.feed import Feed

ROOF = {
    "@timestamp": "2026-06-01T12:00:00.000Z",
    "station": {"id": "roof"},
    "weather": {"air_temperature": 21.456, "relative_humidity": None, "air_pressure": 1003.0},
    "quality": {"relative_humidity": ["failed"], "air_pressure": ["spike"]},
}
SHED = {**ROOF, "station": {"id": "roof-2"}, "weather": {"wind_speed": 3.5}, "quality": {}}


@pytest.fixture
def feed() -> Iterator[Feed]:
    """A feed on which both stations speak again and again."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    feed = Feed(context, "tcp://127.0.0.1:*")
    stop = threading.Event()

    def speak() -> None:
        while not stop.wait(0.01):
            for reading in (SHED, ROOF):
                station = reading["station"]["id"]  # type: ignore[index]
                feed.publish(station, msgspec.json.encode(reading))

    speaker = threading.Thread(target=speak)
    speaker.start()
    yield feed
    stop.set()
    speaker.join()
    feed.close()
    context.term()


def test_readings_come_as_lines_of_json(feed: Feed, capsys: pytest.CaptureFixture[str]) -> None:
    """One object per reading, as the station sent it."""
    assert 0 == main(["watch", "--feed", feed.address, "--json", "--count", "4"])
    readings = [json.loads(each) for each in capsys.readouterr().out.splitlines()]
    assert 4 == len(readings)
    assert all(reading in (ROOF, SHED) for reading in readings)


def test_a_station_is_not_taken_for_one_whose_name_begins_alike(
    feed: Feed, capsys: pytest.CaptureFixture[str]
) -> None:
    """A subscription of ZeroMQ is to a prefix."""
    watch = ["watch", "--feed", feed.address, "--station", "roof", "--json", "--count", "3"]
    assert 0 == main(watch)
    readings = [json.loads(each) for each in capsys.readouterr().out.splitlines()]
    assert [ROOF] * 3 == readings


def test_without_a_terminal_each_reading_is_a_line(
    feed: Feed, capsys: pytest.CaptureFixture[str]
) -> None:
    """For a log."""
    watch = ["watch", "--feed", feed.address, "--station", "roof", "--count", "1"]
    assert 0 == main(watch)
    assert line(ROOF) == capsys.readouterr().out.strip()


def test_a_value_has_its_decimals_and_its_mark() -> None:
    """Unusable is `-`, suspicious has an `!`; what is not measured is not there."""
    assert (
        "2026-06-01 12:00:00 roof air_temperature=21.46°C relative_humidity=-% "
        "air_pressure=1003.00hPa"
    ) == line({**ROOF, "quality": {}})
    assert "air_pressure=1003.00!hPa" in line(ROOF)


def test_the_table_has_a_row_per_station_and_a_column_per_quantity() -> None:
    """Those that any station measures."""
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(table({"roof-2": SHED, "roof": ROOF}))
    text = console.export_text()
    assert text.index(" roof ") < text.index(" roof-2 ")
    assert "air temperature" in text
    assert "wind speed" in text
    assert "illuminance" not in text
