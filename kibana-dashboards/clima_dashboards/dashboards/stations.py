"""Stations: who has fallen silent, whose sensors fail, and whether all of it arrived."""

from __future__ import annotations

from clima_dashboards import colours
from clima_dashboards import fields as f
from clima_dashboards.model import (
    Control,
    Curves,
    Dashboard,
    Documents,
    Formula,
    Level,
    Row,
    Table,
    Terms,
    Times,
    average,
    count,
    last,
    maximum,
    minimum,
    percentile,
)

MEASURED = (
    "air_temperature", "relative_humidity", "air_pressure", "illuminance", "wind_speed",
    "wind_from_direction", "precipitation_amount",
)  # fmt: skip


def rising(doubtful: float, bad: float) -> tuple[Level, ...]:
    """The more, the worse."""
    return (Level(0, colours.GOOD), Level(doubtful, colours.DOUBTFUL), Level(bad, colours.BAD))


def falling(bad: float, doubtful: float, good: float) -> tuple[Level, ...]:
    """The less, the worse: from `doubtful` on no longer bad, from `good` on all right."""
    return (
        Level(bad, colours.BAD),
        Level(doubtful, colours.DOUBTFUL),
        Level(good, colours.GOOD),
    )


ALL = 1000  # stations: one that is not in a table would be silent and unseen
STATION = Terms(f.HEALTH_STATION, size=100)
OVER = Times(f.HEALTH_TIME)

SEEN = Table(
    key="seen",
    # so that no answer comes out of a cache, for the age grows; of the server's own clock, since
    # a station whose clock is ahead is there too
    where='event.ingested <= "now"',
    rows=(Terms(f.STATION_SEEN, size=ALL),),
    columns=(last(f.SEEN, "last_seen"), maximum(f.AGE, "age", shape="duration")),
    levels=((1, rising(600, 7200)),),
    order=(1, "desc"),
)

HEALTH = Table(
    key="health",
    rows=(Terms(f.HEALTH_STATION, size=ALL),),
    columns=(
        last(f.WAITING),
        last(f.OLDEST_WAITING, shape="duration"),
        last(f.CPU_TEMPERATURE),
        last(f.DISK_FREE, shape="bytes"),
        last(f.WIFI),
        last(f.UPTIME, shape="duration"),
    ),
    levels=(
        (0, rising(100, 10_000)),
        (1, rising(3600, 86_400)),
        (2, rising(70, 80)),
        (3, falling(0, 5e8, 1e9)),
        (4, falling(-200, -80, -67)),
    ),
)

_PRESENT = count(f.WEATHER, "readings")
_SPAN = maximum(f.SEQUENCE) - minimum(f.SEQUENCE) + 1
COMPLETE = Table(
    key="complete",
    rows=(Terms(f.STATION, size=ALL), Terms(f.JOURNAL, size=20)),
    columns=(
        _PRESENT,
        Formula(_SPAN - _PRESENT, "missing", decimals=0),
        Formula(_PRESENT / _SPAN, "completeness", shape="percent", decimals=2),
        percentile(50, f.DELAY, "delay_median", shape="duration"),
        percentile(95, f.DELAY, "delay_95", shape="duration"),
    ),
    levels=((1, rising(1, 1000)), (2, falling(0, 0.95, 0.9999))),
    order=(2, "asc"),
)

FLAGS = Curves(
    key="flags",
    over=Times(f.TIME),
    measures=tuple(
        count(f.WEATHER, name, f"quality.{name}: *", colours.QUANTITIES[name]) for name in MEASURED
    ),
    style="bar_stacked",
)

DEAD = Curves(
    key="dead",
    over=Times(f.LETTER_TIME),
    by=Terms(f.LETTER_REASON, size=8),
    measures=(count(f.DEAD_LETTERS, "dead_letters"),),
    style="bar_stacked",
)

LETTERS = Documents(
    key="letters",
    columns=(
        f.LETTER_TIME, f.LETTER_STATION, f.LETTER_REASON, f.LETTER_MESSAGE, f.LETTER_SEQUENCE,
    ),
)  # fmt: skip

ALERTS = Documents(key="alerts", columns=(f.ALERT_TIME, f.ALERT, f.ALERT_STATION, f.ALERT_MESSAGE))

STATIONS = Dashboard(
    key="stations",
    controls=(Control("station", f.STATION),),
    rows=(
        Row((SEEN, HEALTH), "middle", widths=(5, 9)),
        Row((COMPLETE, FLAGS), "middle", widths=(2, 1)),
        Row(
            (
                Curves(
                    key="spool", over=OVER, measures=(maximum(f.WAITING),), by=STATION, zero=True
                ),
                Curves(key="wifi", over=OVER, measures=(average(f.WIFI),), by=STATION),
                Curves(key="cpu", over=OVER, measures=(maximum(f.CPU_TEMPERATURE),), by=STATION),
                Curves(
                    key="disk",
                    over=OVER,
                    measures=(minimum(f.DISK_FREE, shape="bytes"),),
                    by=STATION,
                    zero=True,
                ),
            ),
            "middle",
        ),
        Row((DEAD, LETTERS), "middle", widths=(2, 5)),
        Row((ALERTS,), "middle"),
    ),
)
