"""Logs: what agents and the forwarder say; errors first."""

from __future__ import annotations

from clima_dashboards import colours
from clima_dashboards import fields as f
from clima_dashboards.model import (
    Control,
    Curves,
    Dashboard,
    Documents,
    Note,
    Row,
    Terms,
    Times,
    count,
)

OVER = Times(f.LOG_TIME)
LINES = count(f.LOGS, "lines")
LEVELS = (
    count(f.LOGS, "errors", "log.level: (error or critical)", colours.BAD),
    count(f.LOGS, "warnings", "log.level: warning", colours.DOUBTFUL),
    count(f.LOGS, "others", "not log.level: (error or critical or warning)", colours.MINOR),
)
COLUMNS = (f.LOG_TIME, f.LOG_LEVEL, f.LOG_STATION, f.LOGGER, f.MESSAGE, f.LOG_ERROR)

LOGS = Dashboard(
    key="logs",
    controls=(Control("station", f.LOG_STATION), Control("level", f.LOG_LEVEL)),
    rows=(
        Row(
            (
                Curves(
                    key="levels",
                    over=OVER,
                    measures=LEVELS,
                    style="bar_stacked",
                ),
                Curves(
                    key="stations",
                    over=OVER,
                    by=Terms(f.LOG_STATION, size=12, missing=True),
                    measures=(LINES,),
                    style="bar_stacked",
                ),
            ),
            "middle",
        ),
        Row(
            (
                Documents(
                    key="errors",
                    where="log.level: (error or critical or warning)",
                    columns=COLUMNS,
                ),
            ),
            "middle",
        ),
        Row((Note(key="discover", links="newest"),), "note"),
        Row((Documents(key="newest", columns=COLUMNS),), "page"),
    ),
)
