"""Climate: days, months and years, from the daily summaries."""

from __future__ import annotations

from clima_dashboards import colours
from clima_dashboards import fields as f
from clima_dashboards.model import (
    Band,
    Control,
    Curves,
    Dashboard,
    HeatMap,
    Measure,
    Record,
    Records,
    Row,
    Terms,
    Times,
    average,
    maximum,
    minimum,
    total,
)

MONTHS = Times(f.DAY, "1M")

BAND = Band(
    key="band",
    over=Times(f.DAY, "1d"),
    low=minimum(f.DAY_LOWEST),
    middle=average(f.DAY_MEAN),
    high=maximum(f.DAY_HIGHEST),
)

HOURS = HeatMap(
    key="hours",
    x=Times(f.OWN_DATE, "1d"),  # whose hours they are
    y=Terms(f.HOUR, size=24),
    value=average(f.AIR_TEMPERATURE),
    colours=colours.TEMPERATURES,
    period=("now-60d/d", "now/d"),  # whole days: that of a station is not yet at its end
)

RECORDS = Records(
    key="records",
    station=f.DAY_STATION,
    date=f.LOCAL_DAY,
    records=(
        Record(f.DAY_HIGHEST, "hottest"),
        Record(f.DAY_LOWEST, "coldest", least=True),
        Record(f.DAY_RAIN, "wettest"),
        Record(f.DAY_GUST, "windiest"),
        Record(f.DAY_HIGH_PRESSURE, "highest_pressure"),
        Record(f.DAY_LOW_PRESSURE, "lowest_pressure", least=True),
    ),
)

YEARS = Curves(
    key="years",
    over=MONTHS,
    measures=(
        average(f.DAY_MEAN, "this_year"),
        Measure("average", f.DAY_MEAN, "last_year", shift="1y", colour=colours.PLAIN),
    ),
)

CLIMATE = Dashboard(
    key="climate",
    controls=(Control("station", f.DAY_STATION),),
    rows=(
        Row((BAND,), "tall"),
        Row((RECORDS,), "tall"),
        Row((HOURS,), "tall"),
        Row(
            (
                Curves(
                    key="rain",
                    over=MONTHS,
                    measures=(total(f.DAY_RAIN, "rain"),),
                    by=Terms(f.DAY_STATION, size=12),
                    style="bar",
                ),
                YEARS,
            ),
            "middle",
        ),
    ),
    start="now-1y/M",  # a part of a month would look like a dry one
    end="now/d",  # to the end of it: a day's own time may still be to come
    refresh_s=300,
)
