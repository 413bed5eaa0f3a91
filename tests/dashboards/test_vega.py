"""The pictures in Vega: what they are drawn from, and what they say where there is nothing."""

from __future__ import annotations

from typing import Any

import pytest

from clima_dashboards.catalogue import catalogue
from clima_dashboards.dashboards.climate import BAND, RECORDS
from clima_dashboards.dashboards.weather import MAP, NOW, WEATHER
from clima_dashboards.model import Rose
from clima_dashboards.saved_objects.vega import CLICKED
from clima_dashboards.saved_objects.vega.band import band
from clima_dashboards.saved_objects.vega.board import board
from clima_dashboards.saved_objects.vega.map import station_map
from clima_dashboards.saved_objects.vega.records import records
from clima_dashboards.saved_objects.vega.rose import rose

TEXTS = catalogue("en")
Specification = dict[str, Any]


def marks(specification: Specification, kind: str) -> list[Any]:
    """What each mark of a kind is drawn from, and its channels."""
    return [
        (each.get("from", {}).get("data"), each["encode"]["update"])
        for each in specification["marks"]
        if each["type"] == kind
    ]


def data(specification: Specification, name: str) -> Any:
    """A data set."""
    (found,) = (each for each in specification["data"] if each["name"] == name)
    return found


def test_the_band_has_a_gap_where_nobody_measured() -> None:
    """Days without values stay among the rows, and area and line are broken at them."""
    drawn = band(BAND, TEXTS)
    assert "filter" not in {each["type"] for each in data(drawn, "days")["transform"]}
    for kind in ("area", "line"):
        ((rows, channels),) = marks(drawn, kind)
        assert ("days", {"signal": "datum.there"}) == (rows, channels["defined"])


def test_a_day_alone_is_a_bar() -> None:
    """Of one point there is neither area nor line, and it is all that a new station has."""
    drawn = band(BAND, TEXTS)
    ((rows, bar),) = marks(drawn, "rule")
    assert ("measured", {"signal": "datum.alone ? 6 : 0"}) == (rows, bar["strokeWidth"])
    assert ("low.value", "high.value") == (bar["y"]["field"], bar["y2"]["field"])
    assert ["measured"] == [rows for rows, _ in marks(drawn, "symbol")]


@pytest.mark.parametrize("drawn", [board(NOW, TEXTS), records(RECORDS, TEXTS)])
def test_more_stations_than_rows_are_told_of(drawn: Specification) -> None:
    """One more is asked for than is shown: then there are others to choose."""
    asked = data(drawn, "found")["url"]["body"]["aggs"]["stations"]["terms"]["size"]
    assert {"type": "filter", "expr": "datum.row <= 12"} in data(drawn, "stations")["transform"]
    assert 13 == asked
    texts = [each["text"].get("signal") for _, each in marks(drawn, "text")]
    assert "length(data('found')) > 12 ? '12 per chart: choose above' : ''" in texts


def test_a_low_row_stays_above_the_line_of_the_next() -> None:
    """Twelve stations share a panel's height: when one was heard of is written in its own row."""
    (seen,) = (
        each
        for _, each in marks(board(NOW, TEXTS), "text")
        if each["text"].get("signal") == "datum.seen"
    )
    assert seen["y"]["signal"].endswith("min(small * 1.5, tall / 2 - 3)")


def test_the_map_has_room_for_all_stations() -> None:
    """It is no list: they do not push one another out."""
    (found,) = (each for each in station_map(MAP, TEXTS)["data"] if "url" in each)
    assert 1000 == found["url"]["body"]["aggs"]["stations"]["terms"]["size"]


def test_a_long_id_stays_in_its_column() -> None:
    """The whole of it is where the mouse points."""
    (station,) = (each for each in board(NOW, TEXTS)["marks"] if each.get("name") == CLICKED)
    channels = station["encode"]["update"]
    assert {"value": 140} == channels["limit"]
    assert channels["tooltip"]["signal"].startswith("datum.key + ")


def said(specification: Specification) -> str:
    """What stands in the middle, instead of a picture."""
    found = (each["text"]["signal"] for _, each in marks(specification, "text"))
    return str(next(each for each in found if "? ''" in each))


def test_what_nobody_measures_is_not_called_no_readings() -> None:
    """The station may send all the time, and have no thermometer, or be new today."""
    assert said(band(BAND, TEXTS)).endswith(
        "(length(data('days')) ? 'Not measured in this time'"
        " : 'No day of this time has been summed up yet')"
    )
    assert said(records(RECORDS, TEXTS)).endswith("'No day of this time has been summed up yet'")
    assert said(station_map(MAP, TEXTS)).endswith(
        "(length(data('heard')) ? 'No station says where it is' : 'No readings in this time')"
    )


def test_a_map_of_nothing_has_no_grid() -> None:
    """Nor a scale: it would be of a place in the sea where no station is."""
    drawn = station_map(MAP, TEXTS)
    assert [{"signal": "shown"}] * 2 == [axis["gridOpacity"] for axis in drawn["axes"]]
    assert [{"signal": "shown"}] == [each["opacity"] for _, each in marks(drawn, "rule")]


def test_a_rose_needs_a_vane() -> None:
    """An anemometer alone leaves it empty, and that is said; unless it was calm all the time."""
    (panel,) = (each for each in WEATHER.panels() if isinstance(each, Rose))
    only, _ = data(rose(panel, TEXTS), "whole")["transform"]
    assert (
        "datum.all.value > 0 && (length(datum.sectors.buckets)"
        " || datum.calm.doc_count >= datum.all.value)"
    ) == only["expr"]
