"""Fields are those of the index templates."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from clima_core.reading import QUANTITIES
from clima_dashboards.fields import DAILY, VIEWS, WEATHER


def test_every_quantity_is_a_field_with_its_unit() -> None:
    """The dashboards, the mapping and the readings speak of the same things."""
    for name, quantity in QUANTITIES.items():
        field = WEATHER[f"weather.{name}"]
        assert ("double", quantity.unit) == (field.type, field.unit)


def test_a_field_that_is_not_there_is_named_with_the_nearest() -> None:
    """A slip of the pen fails where it stands, not on somebody's wall."""
    with pytest.raises(
        LookupError, match=r'no field "weather.air_temprature"; did you mean "weath'
    ):
        WEATHER["weather.air_temprature"]


def test_flags_come_from_the_data() -> None:
    """The mapping leaves `quality.*` to the readings; each is a keyword."""
    assert "keyword" == WEATHER["quality.air_temperature"].type


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.key)
def test_the_time_of_a_view_is_a_date_in_it(view: object) -> None:
    """Else Kibana shows nothing at all."""
    assert view.time is None or view[view.time].type == "date"  # type: ignore[attr-defined, index]


@pytest.mark.parametrize(
    "zone",
    [
        "Pacific/Honolulu", "America/Sao_Paulo", "Asia/Kamchatka", "Pacific/Auckland",
        "Pacific/Tongatapu", "Pacific/Chatham",
    ],
)  # fmt: skip
@pytest.mark.parametrize("day", [date(2026, 7, 1), date(2026, 12, 31)])
def test_a_day_is_the_same_one_in_every_browser(zone: str, day: date) -> None:
    """Its own time is as long after midnight UTC as the field says, in summer and in winter."""
    after = re.search(r"\+ (\d+)L", DAILY.runtime["clima.day"].script)
    assert after is not None
    at = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(milliseconds=int(after[1]))
    assert day == at.astimezone(ZoneInfo(zone)).date()


def test_fields_made_from_others_are_in_the_view() -> None:
    """A day without a time of day has one in the middle, so that it is the same day everywhere."""
    assert "date" == DAILY["clima.day"].type
