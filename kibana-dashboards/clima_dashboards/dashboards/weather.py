"""Weather: what it is like now, and how it came about. The dashboard that Kibana opens on."""

from __future__ import annotations

from clima_dashboards import fields as f
from clima_dashboards.model import (
    Board,
    Cell,
    Control,
    Curves,
    Dashboard,
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
                Curves(
                    key="compared",
                    over=TIME,
                    measures=(average(f.AIR_TEMPERATURE),),
                    by=STATION,
                    opens="stations",
                ),
                Curves(
                    key="pressure",
                    over=TIME,
                    measures=(average(f.PRESSURE),),
                    by=STATION,
                    opens="stations",
                ),
            ),
            "middle",
        ),
        Row(
            (
                Curves(
                    key="wind",
                    over=TIME,
                    measures=(average(f.WIND_SPEED), maximum(f.GUST)),
                    zero=True,
                ),
                Rose(key="rose", direction=f.WIND_DIRECTION, speed=f.WIND_SPEED),
            ),
            "tall",
            widths=(3, 2),
        ),
        Row(
            (
                Curves(
                    key="rain",
                    over=TIME,
                    measures=(total(f.PRECIPITATION),),
                    by=STATION,
                    style="bar",
                ),
                Curves(key="humidity", over=TIME, measures=(average(f.HUMIDITY),)),
                Curves(key="light", over=TIME, measures=(average(f.ILLUMINANCE),), style="area"),
            ),
            "middle",
        ),
    ),
)
