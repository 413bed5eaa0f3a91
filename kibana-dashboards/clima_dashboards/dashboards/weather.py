"""Weather: what it is like now, and how it came about. The dashboard that Kibana opens on."""

from __future__ import annotations

from typing import Literal

from clima_dashboards import fields as f
from clima_dashboards.model import (
    Board,
    Cell,
    Control,
    Curves,
    Dashboard,
    Measure,
    Rose,
    Row,
    StationMap,
    Terms,
    Times,
    average,
    last,
    maximum,
    minimum,
    total,
)

TIME = Times(f.TIME)
STATION = Terms(f.STATION, size=12)


def _per_station(
    key: str, measure: Measure, *, style: Literal["line", "bar"] = "line", zero: bool = False
) -> Curves:
    """One line each: a mean of a reading a minute here and one an hour there would be nobody's."""
    return Curves(
        key=key,
        over=TIME,
        measures=(measure,),
        by=STATION,
        style=style,
        zero=zero,
        opens="stations",
    )


NOW = Board(
    key="now",
    opens="stations",
    station=f.STATION,
    date=f.LOCAL_DATE,
    time=f.TIME,
    cells=(
        Cell(
            last(f.AIR_TEMPERATURE),
            below=(minimum(f.AIR_TEMPERATURE, "lowest"), maximum(f.AIR_TEMPERATURE, "highest")),
        ),
        Cell(last(f.DEW_POINT)),
        Cell(
            last(f.HUMIDITY), below=(minimum(f.HUMIDITY, "lowest"), maximum(f.HUMIDITY, "highest"))
        ),
        Cell(last(f.PRESSURE, "pressure"), below=(last(f.TENDENCY, "in_3_h"),)),
        Cell(last(f.WIND_SPEED), below=(last(f.GUST, "gust"),), arrow=last(f.WIND_DIRECTION)),
        Cell(total(f.PRECIPITATION, "rain_today")),
        Cell(last(f.ILLUMINANCE), below=(maximum(f.ILLUMINANCE, "highest"),)),
    ),
)

MAP = StationMap(
    key="map",
    opens="stations",
    station=f.STATION,
    place=f.LOCATION,
    time=f.TIME,
    centre=last(f.AIR_TEMPERATURE),
    beside=(last(f.DEW_POINT), last(f.PRESSURE)),
    arrow=last(f.WIND_DIRECTION),
    speed=last(f.WIND_SPEED),
)

WEATHER = Dashboard(
    key="weather",
    controls=(Control("station", f.STATION),),
    rows=(
        Row((NOW,), "tall"),
        Row(
            (
                Curves(
                    key="temperature",
                    over=TIME,
                    measures=(average(f.AIR_TEMPERATURE), average(f.DEW_POINT)),
                ),
                MAP,
            ),
            "tall",
            widths=(3, 2),
        ),
        Row(
            (
                _per_station("compared", average(f.AIR_TEMPERATURE)),
                _per_station("pressure", average(f.PRESSURE)),
            ),
            "middle",
        ),
        Row(
            (
                _per_station("wind", average(f.WIND_SPEED), zero=True),
                _per_station("gusts", maximum(f.GUST), zero=True),
                Rose(key="rose", direction=f.WIND_DIRECTION, speed=f.WIND_SPEED),
            ),
            "tall",
        ),
        Row(
            (
                _per_station("rain", total(f.PRECIPITATION), style="bar"),
                _per_station("humidity", average(f.HUMIDITY)),
                _per_station("light", average(f.ILLUMINANCE), zero=True),
            ),
            "middle",
        ),
    ),
)
