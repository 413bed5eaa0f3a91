"""The reading: one JSON document per station and sample, and the types that it must have.

`Record` is the contract that the forwarder checks byte for byte before it stores anything, and
the index templates under `elk/` carry the same fields (a test compares the two). A field that
is absent was not measured; null was measured and cannot be used, and a `quality` flag says why.

A decoded record is a tree that lives for a moment, so the cyclic collector need not look at it
(`gc=False`): that takes a third off the time of the check.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, NamedTuple

import msgspec


class Quantity(NamedTuple):
    """One thing that is measured: the unit it is stored in, the decimals that carry meaning."""

    unit: str
    decimals: int
    description: str


# CF standard names (https://cfconventions.org/Data/cf-standard-names/), one fixed unit each.
# Units as Elasticsearch's `meta.unit` and people read them.
QUANTITIES: dict[str, Quantity] = {
    "air_temperature": Quantity("°C", 2, "Air temperature"),
    "relative_humidity": Quantity("%", 2, "Relative humidity"),
    "air_pressure": Quantity("hPa", 2, "Air pressure at the station"),
    "air_pressure_at_mean_sea_level": Quantity("hPa", 2, "Air pressure reduced to mean sea level"),
    "tendency_of_air_pressure": Quantity("hPa/3h", 2, "Change of air pressure over three hours"),
    "dew_point_temperature": Quantity("°C", 2, "Dew point temperature"),
    "wet_bulb_temperature": Quantity("°C", 2, "Wet-bulb temperature"),
    "mass_concentration_of_water_vapor_in_air": Quantity("g/m³", 2, "Absolute humidity"),
    "heat_index_of_air_temperature": Quantity("°C", 1, "Heat index"),
    "illuminance": Quantity("lx", 1, "Illuminance"),
    "wind_speed": Quantity("m/s", 2, "Wind speed"),
    "wind_speed_of_gust": Quantity("m/s", 2, "Wind speed of gust"),
    "wind_from_direction": Quantity("°", 0, "Direction the wind comes from, clockwise from north"),
    "precipitation_amount": Quantity("mm", 2, "Precipitation since the reading before"),
    "visibility_in_air": Quantity("m", 0, "Visibility in air"),
}

EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)  # before this a clock was never set: refused
NAMES_LIMIT = 32  # sensors in one record, quantities of one sensor, flags, labels

Values = dict[str, float | None]
Flags = dict[str, list[str]]
_Few = msgspec.Meta(max_length=NAMES_LIMIT)  # so that no station can exhaust the store's mapping


class DataStream(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """`data_stream.*`, ECS."""

    type: str
    dataset: str
    namespace: str


class Event(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """`event.*`, ECS; `created` only where it differs from `@timestamp`."""

    id: str
    sequence: int
    created: datetime | None = None


class GeoPoint(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """Degrees, WGS 84, north and east positive."""

    lat: float
    lon: float


class Station(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """Who and where; `elevation` is in metres above mean sea level."""

    id: str
    journal: str
    name: str | None = None
    location: GeoPoint | None = None
    elevation: float | None = None
    timezone: str | None = None
    local_date: str | None = None


def _weather_struct() -> type[msgspec.Struct]:
    """A field per quantity, so that an unknown one is refused and a text in one is named."""
    fields = [(name, float | None, None) for name in QUANTITIES]
    return msgspec.defstruct(
        "Weather", fields, forbid_unknown_fields=True, gc=False, module=__name__
    )


Weather = _weather_struct()


class Health(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """How the Pi and its spool are; units in the names' own words in docs/architecture.md."""

    cpu_temperature: float | None = None  # °C
    load_1m: float | None = None  # processes
    memory_available: int | None = None  # bytes
    disk_free: int | None = None  # bytes, on the spool's file system
    wifi_signal: float | None = None  # dBm
    uptime: float | None = None  # seconds since boot
    spool_bytes: int | None = None
    spool_waiting: int | None = None  # records not yet acknowledged
    spool_oldest_age: float | None = None  # seconds since the oldest waiting record was spooled
    spool_dropped: int | None = None  # records given up for want of room, all time
    clock_offset: float | None = None  # seconds the forwarder's clock is ahead of ours


class Log(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """`log.*`, ECS."""

    level: str
    logger: str | None = None


class Error(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """`error.*`, ECS."""

    type: str | None = None
    message: str | None = None
    stack_trace: str | None = None


class Calibration(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """How one quantity of one sensor is corrected, and who vouches for it; dates are days."""

    sensor: str
    quantity: str
    correction: str  # in words: `said * 1.02 - 0.4`
    certificate: str | None = None
    date: str | None = None
    due: str | None = None


class Record(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """Any record a station may send, of whichever stream; see `Weather` for the quantities."""

    timestamp: Annotated[datetime, msgspec.Meta(tz=True)] = msgspec.field(name="@timestamp")
    data_stream: DataStream
    event: Event
    station: Station
    weather: Weather | None = None  # type: ignore[valid-type]
    sensor: Annotated[dict[str, Annotated[Values, _Few]], _Few] | None = None
    quality: Annotated[Flags, _Few] | None = None
    calibration: Annotated[list[Calibration], _Few] | None = None  # after each change of it
    health: Health | None = None
    message: str | None = None
    log: Log | None = None
    error: Error | None = None
    labels: Annotated[dict[str, str], _Few] | None = None


def rfc3339(moment: datetime) -> str:
    """UTC with milliseconds, as every `@timestamp` is written: `2013-01-01T06:00:00.000Z`."""
    return (
        moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"
    )
