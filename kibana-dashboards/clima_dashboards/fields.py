"""The data views, and the fields in them by the names and types of the index templates.

A field that the templates do not have cannot be named: it fails at import, and says what comes
near. Units are the mapping's own (`meta.unit`); decimals are what a person wants to read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from clima_core.configuration import nearest
from clima_elk.elasticsearch import assets

DECIMALS: Mapping[str, int] = {
    "°C": 1, "%": 0, "hPa": 1, "hPa/3h": 1, "lx": 0, "m/s": 1, "°": 0, "mm": 1, "m": 0,
    "dBm": 0, "h": 0, "d": 0,
}  # fmt: skip


@dataclass(frozen=True)
class Runtime:
    """A field that is worked out when it is asked for, in painless."""

    type: str
    script: str
    unit: str | None = None


@dataclass(frozen=True)
class Field:
    """A field of a view; `type` is Elasticsearch's."""

    view: View
    name: str
    type: str
    unit: str | None = None

    @property
    def decimals(self) -> int:
        return DECIMALS.get(self.unit or "", 0 if self.type == "long" else 1)

    @property
    def number(self) -> bool:
        return self.type in {"long", "double"}


@dataclass(frozen=True)
class View:
    """A data view of Kibana: what `pattern` matches; `templates` say its fields."""

    key: str
    pattern: str
    templates: tuple[str, ...]
    time: str | None = "@timestamp"
    runtime: Mapping[str, Runtime] = field(default_factory=dict, hash=False)
    dynamic: tuple[str, ...] = ()  # keywords below these come from the data (`quality.*`)

    def __getitem__(self, name: str) -> Field:
        fields = _fields(self)
        if name in fields:
            return fields[name]
        if any(name.startswith(f"{prefix}.") for prefix in self.dynamic):
            return Field(self, name, "keyword")
        raise LookupError(f'{self.pattern}: no field "{name}"{nearest(name, fields)}')

    def __iter__(self) -> Iterator[Field]:
        return iter(_fields(self).values())


@cache
def _fields(view: View) -> dict[str, Field]:
    found: dict[str, Field] = {}
    for template in view.templates:
        for name, mapping in _flat(_properties(template)):
            found[name] = Field(view, name, mapping["type"], mapping.get("meta", {}).get("unit"))
    for name, runtime in view.runtime.items():
        found[name] = Field(view, name, runtime.type, runtime.unit)
    return dict(sorted(found.items()))


@cache
def _bodies() -> dict[str, Any]:
    return {asset.path: asset.body for asset in assets("component_templates", "index_templates")}


def _properties(template: str) -> Iterator[dict[str, Any]]:
    """Of the template and of all that it is composed of."""
    body = _bodies()[f"/_index_template/{template}"]
    parts = [_bodies()[f"/_component_template/{name}"] for name in body["composed_of"]]
    for part in (*parts, body):
        yield part.get("template", {}).get("mappings", {}).get("properties", {})


def _flat(
    parts: Iterator[dict[str, Any]] | list[dict[str, Any]], prefix: str = ""
) -> Iterator[tuple[str, dict[str, Any]]]:
    for properties in parts:
        for name, mapping in properties.items():
            if "properties" in mapping:
                yield from _flat([mapping["properties"]], f"{prefix}{name}.")
            else:
                yield f"{prefix}{name}", mapping


# A date without a time is midnight UTC, which west of Greenwich is the day before. Ten o'clock is
# the same day everywhere from UTC-10 to UTC+13:45 (not in American Samoa, Niue or the Line
# Islands), and the middle of a month is that month.
OWN_DAY = Runtime(
    "date",
    "if (doc['station.local_date'].size() > 0) {"
    " emit(doc['station.local_date'].value.toInstant().toEpochMilli() + 36000000L); }",
)
WEATHER = View(
    "weather",
    "metrics-clima.weather-*",
    ("clima-weather",),
    runtime={
        "clima.delay": Runtime(
            "double",
            "if (doc['event.ingested'].size() > 0 && doc['@timestamp'].size() > 0) {"
            " emit((doc['event.ingested'].value.toInstant().toEpochMilli()"
            " - doc['@timestamp'].value.toInstant().toEpochMilli()) / 1000.0); }",
            "s",
        ),
        "clima.hour": Runtime(
            "keyword",
            "if (doc['@timestamp'].size() > 0) { ZoneId zone = ZoneId.of('Z');"
            " if (doc['station.timezone'].size() > 0) {"
            " try { zone = ZoneId.of(doc['station.timezone'].value); } catch (Exception e) { } }"
            " int hour = doc['@timestamp'].value.withZoneSameInstant(zone).getHour();"
            " emit((hour < 10 ? '0' : '') + hour); }",
        ),
        "clima.day": OWN_DAY,
    },
    dynamic=("quality",),
)
HEALTH = View("health", "metrics-clima.station-*", ("clima-station",), dynamic=("quality",))
LOGS = View("logs", "logs-clima.agent-*,logs-clima.forwarder-*", ("clima-agent", "clima-forwarder"))
DEAD_LETTERS = View("deadletters", "logs-clima.deadletter-*", ("clima-deadletter",))
STATIONS = View(
    "stations",
    "clima-stations",
    ("clima-stations",),
    time=None,
    runtime={
        "clima.age": Runtime(
            "double",
            "if (doc['@timestamp'].size() > 0) { emit(Math.max(0.0, (new Date().getTime()"
            " - doc['@timestamp'].value.toInstant().toEpochMilli()) / 1000.0)); }",
            "s",
        )
    },
)
DAILY = View(
    "daily",
    "clima-daily",
    ("clima-daily",),
    time="clima.day",
    runtime={"clima.day": OWN_DAY},
)
MONTHLY = View(
    "monthly",
    "clima-monthly",
    ("clima-monthly",),
    time="clima.month",
    runtime={
        "clima.month": Runtime(
            "date",
            "if (doc['station.local_month'].size() > 0) {"
            " emit(doc['station.local_month'].value.toInstant().toEpochMilli() + 1252800000L); }",
        )
    },
)
ALERTS = View("alerts", "clima-alerts", ("clima-alerts",))
VIEWS = (WEATHER, HEALTH, LOGS, DEAD_LETTERS, STATIONS, DAILY, MONTHLY, ALERTS)

TIME = WEATHER["@timestamp"]
STATION = WEATHER["station.id"]
STATION_NAME = WEATHER["station.name"]
LOCATION = WEATHER["station.location"]
LOCAL_DATE = WEATHER["station.local_date"]
SEQUENCE = WEATHER["event.sequence"]
AIR_TEMPERATURE = WEATHER["weather.air_temperature"]
DEW_POINT = WEATHER["weather.dew_point_temperature"]
HUMIDITY = WEATHER["weather.relative_humidity"]
PRESSURE = WEATHER["weather.air_pressure_at_mean_sea_level"]
STATION_PRESSURE = WEATHER["weather.air_pressure"]
TENDENCY = WEATHER["weather.tendency_of_air_pressure"]
ILLUMINANCE = WEATHER["weather.illuminance"]
WIND_SPEED = WEATHER["weather.wind_speed"]
GUST = WEATHER["weather.wind_speed_of_gust"]
WIND_DIRECTION = WEATHER["weather.wind_from_direction"]
PRECIPITATION = WEATHER["weather.precipitation_amount"]
VISIBILITY = WEATHER["weather.visibility_in_air"]

STATION_SEEN = STATIONS["station.id"]
SEEN = STATIONS["@timestamp"]
HEARD = STATIONS["event.ingested"]
AGE = STATIONS["clima.age"]

DELAY = WEATHER["clima.delay"]
HOUR = WEATHER["clima.hour"]
OWN_DATE = WEATHER["clima.day"]
JOURNAL = WEATHER["station.journal"]

HEALTH_TIME = HEALTH["@timestamp"]
HEALTH_STATION = HEALTH["station.id"]
CPU_TEMPERATURE = HEALTH["health.cpu_temperature"]
DISK_FREE = HEALTH["health.disk_free"]
WIFI = HEALTH["health.wifi_signal"]
WAITING = HEALTH["health.spool_waiting"]
OLDEST_WAITING = HEALTH["health.spool_oldest_age"]
DROPPED = HEALTH["health.spool_dropped"]
UPTIME = HEALTH["health.uptime"]
CLOCK_OFFSET = HEALTH["health.clock_offset"]

LETTER_TIME = DEAD_LETTERS["@timestamp"]
LETTER_STATION = DEAD_LETTERS["station.id"]
LETTER_REASON = DEAD_LETTERS["error.type"]
LETTER_MESSAGE = DEAD_LETTERS["error.message"]
LETTER_SEQUENCE = DEAD_LETTERS["event.sequence"]

ALERT_TIME = ALERTS["@timestamp"]
ALERT = ALERTS["rule.name"]
ALERT_STATION = ALERTS["station.id"]
ALERT_MESSAGE = ALERTS["message"]

LOG_TIME = LOGS["@timestamp"]
LOG_LEVEL = LOGS["log.level"]
LOG_STATION = LOGS["station.id"]
LOGGER = LOGS["log.logger"]
MESSAGE = LOGS["message"]
LOG_ERROR = LOGS["error.message"]

DAY = DAILY["clima.day"]
LOCAL_DAY = DAILY["station.local_date"]
DAY_STATION = DAILY["station.id"]
DAY_LOWEST = DAILY["weather.air_temperature.min"]
DAY_MEAN = DAILY["weather.air_temperature.mean"]
DAY_HIGHEST = DAILY["weather.air_temperature.max"]
DAY_RAIN = DAILY["weather.precipitation_amount.sum"]
DAY_GUST = DAILY["weather.wind_speed_of_gust.max"]
DAY_LOW_PRESSURE = DAILY["weather.air_pressure_at_mean_sea_level.min"]
DAY_HIGH_PRESSURE = DAILY["weather.air_pressure_at_mean_sea_level.max"]
