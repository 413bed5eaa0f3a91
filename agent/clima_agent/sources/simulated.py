"""Weather made up, but not at random: a pure function of the seed and the moment.

Daily and yearly cycles of sun and temperature; fronts, as smooth noise with a span of days, that
move pressure, cloud, humidity, wind and rain together; sensor noise as fine as real chips' and
faults on request. Two runs with one seed agree value for value, wherever they start or stop;
only `precipitation_amount` needs the reading before, since it is what fell since then.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Annotated, Literal

from msgspec import Meta, Struct

from clima_agent.sources.base import Measured, Options, SensorError, Setting
from clima_core.reading import QUANTITIES

DAY_S = 86400.0
YEAR_S = 365.2425 * DAY_S
NOISE = {  # standard deviation of one sample, in the stored unit
    "air_temperature": 0.02,
    "relative_humidity": 0.15,
    "air_pressure": 0.02,
    "illuminance": 0.5,
}
MEASURED = (
    *NOISE,
    "wind_speed",
    "wind_speed_of_gust",
    "wind_from_direction",
    "precipitation_amount",
    "visibility_in_air",
)


class Fault(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something broken: for `for_s` seconds out of every `every_s`, from 1970 on.

    `stuck` repeats the value that it began with, `spike` adds `size`, `dropout` gives no value;
    a dropout of no quantity in particular is the whole sensor.
    """

    kind: Literal["stuck", "spike", "dropout"]
    quantity: str | None = None
    every_s: Annotated[float, Meta(gt=0)] = 3600.0
    for_s: Annotated[float, Meta(gt=0)] = 60.0
    size: float = 20.0

    def __post_init__(self) -> None:
        if self.quantity is None and self.kind != "dropout":
            raise ValueError(f"quantity: missing; a {self.kind} is of one quantity")
        if self.quantity is not None and self.quantity not in MEASURED:
            raise ValueError(
                f'quantity: "{self.quantity}" is not simulated; allowed: {", ".join(MEASURED)}'
            )

    def began(self, at: float) -> float | None:
        """When the fault now at work began, in seconds since 1970; None when all is well."""
        phase = at % self.every_s
        return at - phase if phase < self.for_s else None


class Simulated(Options, frozen=True, tag="simulated"):
    """`start` and `end` given: that stretch of time is played; else it is the weather now."""

    name: Annotated[
        str,
        Meta(
            pattern=r"^simulated(-[2-9])?$",
            description='"simulated", or "simulated-2" to "simulated-9"',
        ),
    ] = "simulated"
    seed: int = 1
    latitude: Annotated[float, Meta(ge=-66, le=66)] = 45.0
    longitude: Annotated[float, Meta(ge=-180, le=180)] = 0.0
    elevation_m: Annotated[float, Meta(ge=-430, le=9000)] = 0.0
    start: Annotated[datetime, Meta(tz=True)] | None = None
    end: Annotated[datetime, Meta(tz=True)] | None = None
    faults: tuple[Fault, ...] = ()

    def __post_init__(self) -> None:
        if (self.start is None) != (self.end is None):
            raise ValueError("has only one of start and end; expected both or neither")
        if self.start and self.end and self.start > self.end:
            raise ValueError("end: is before start")

    @property
    def recorded(self) -> bool:
        return self.start is not None

    def open(self, setting: Setting, /) -> SimulatedSource:
        if self.start and self.end:
            return RecordedSimulation(self, self.start, self.end, setting.interval_s)
        return SimulatedSource(self)


class SimulatedSource:
    """The weather at any moment that it is asked for."""

    def __init__(self, options: Simulated) -> None:
        self._options = options
        self._before: float | None = None

    @property
    def quantities(self) -> tuple[str, ...]:
        return MEASURED

    def read(self, at: datetime, /) -> Mapping[str, Measured]:
        """The values at that moment, with the faults asked for."""
        moment = at.timestamp()
        values = self._sensed(moment)
        for fault in self._options.faults:
            began = fault.began(moment)
            if began is not None:
                self._break(values, fault, began)
        self._before = moment
        return {name: Measured(value, QUANTITIES[name].unit) for name, value in values.items()}

    def close(self) -> None:
        """There is nothing to let go of."""

    def _sensed(self, at: float) -> dict[str, float | None]:
        values = weather(self._options, at)
        noise = random.Random(f"{self._options.seed}:{at}")  # noqa: S311 - weather, not keys
        for name, deviation in NOISE.items():
            values[name] += noise.gauss(0, deviation)
        values["relative_humidity"] = min(100.0, max(1.0, values["relative_humidity"]))
        values["illuminance"] = max(0.0, values["illuminance"])
        elapsed_s = 0.0 if self._before is None else max(0.0, at - self._before)
        values["precipitation_amount"] *= elapsed_s / 3600
        return {**values}

    def _break(self, values: dict[str, float | None], fault: Fault, began: float) -> None:
        if fault.quantity is None:
            raise SensorError("simulated dropout of the whole sensor")
        value = values[fault.quantity]
        if fault.kind == "dropout":
            values[fault.quantity] = None
        elif fault.kind == "stuck":
            values[fault.quantity] = self._sensed(began)[fault.quantity]
        elif value is not None:
            values[fault.quantity] = value + fault.size


class RecordedSimulation(SimulatedSource):
    """A stretch of simulated time, one moment per interval."""

    def __init__(
        self, options: Simulated, start: datetime, end: datetime, interval_s: float
    ) -> None:
        super().__init__(options)
        self._start, self._end = start.astimezone(UTC), end.astimezone(UTC)
        self._interval = timedelta(seconds=interval_s)

    def times(self) -> Iterator[datetime]:
        """From start to end, both included."""
        for step in range((self._end - self._start) // self._interval + 1):
            yield self._start + step * self._interval


def weather(place: Simulated, at: float) -> dict[str, float]:
    """The true weather; `precipitation_amount` is the rate in mm/h."""
    seed = place.seed
    front = _smooth(seed, "front", at / (3 * DAY_S)) + 0.3 * _smooth(seed, "eddy", at / DAY_S)
    cloud = min(1.0, max(0.0, 0.45 - 0.6 * front + 0.3 * _smooth(seed, "cloud", at / 7200)))
    sun = _sun(place, at)
    year = _yearly(at) * (1 if place.latitude >= 0 else -1)
    mean = 28 - 0.4 * abs(place.latitude) + 0.2 * abs(place.latitude) * year
    mean -= 0.0065 * place.elevation_m
    afternoon = math.cos((_hours(place, at) - 15) / 12 * math.pi)  # warmest at three
    swing = 5.5 * (1 - 0.7 * cloud)
    gentle = 3 * _smooth(seed, "air", at / (2 * DAY_S)) + 0.3 * _smooth(seed, "gust", at / 900)
    temperature = mean + swing * afternoon + gentle
    dew = min(temperature - 0.1, mean - 7 + 7 * cloud + gentle)
    sea_level = 1015 + 13 * front
    wind = 1.5 + 7 * abs(front - _front_before(seed, at)) + 2 * max(0.0, sun) + cloud
    wind *= 1 + 0.35 * _smooth(seed, "gust", at / 60)
    rain = 4 * max(0.0, cloud - 0.75) * (1 + _smooth(seed, "rain", at / 1200))
    humidity = 100 * _vapour(dew) / _vapour(temperature)
    return {
        "air_temperature": temperature,
        "relative_humidity": humidity,
        "air_pressure": sea_level
        * math.exp(-0.0341632 * place.elevation_m / (temperature + 273.15)),
        "illuminance": 110_000 * max(0.0, sun) ** 1.15 * (1 - 0.75 * cloud**3.4),
        "wind_speed": wind,
        "wind_speed_of_gust": wind * (1.3 + 0.2 * _smooth(seed, "gust", at / 45)),
        "wind_from_direction": (225 - 110 * front + 25 * _smooth(seed, "veer", at / 300)) % 360,
        "precipitation_amount": rain,
        "visibility_in_air": 40_000 * (1 - (humidity / 100) ** 8 * 0.95) / (1 + rain / 2),
    }


def _front_before(seed: int, at: float) -> float:
    """The same front eight hours before: what changes between the two drives the wind."""
    then = at - DAY_S / 3
    return _smooth(seed, "front", then / (3 * DAY_S)) + 0.3 * _smooth(seed, "eddy", then / DAY_S)


def _vapour(celsius: float) -> float:
    """Vapour pressure in hPa at a dew point (WMO-No. 8, Volume I, annex 4.B)."""
    return 6.112 * math.exp(17.62 * celsius / (243.12 + celsius))


def _hours(place: Simulated, at: float) -> float:
    """Mean solar time."""
    return (at / 3600 + place.longitude / 15) % 24


def _yearly(at: float) -> float:
    """1 at the northern summer solstice (21 June), -1 half a year later."""
    return math.cos(2 * math.pi * (at / YEAR_S - 171 / 365.2425))


def _sun(place: Simulated, at: float) -> float:
    """Sine of the sun's height above the horizon."""
    latitude, declination = math.radians(place.latitude), math.radians(23.44) * _yearly(at)
    hour_angle = math.radians(15 * (_hours(place, at) - 12))
    return math.sin(latitude) * math.sin(declination) + math.cos(latitude) * math.cos(
        declination
    ) * math.cos(hour_angle)


def _smooth(seed: int, what: str, x: float) -> float:
    """Value noise: from -1 to 1, smooth, uncorrelated beyond a step of 1."""
    left = math.floor(x)
    t = x - left
    return _knot(seed, what, left) * (1 - t) ** 2 * (1 + 2 * t) + _knot(
        seed, what, left + 1
    ) * t**2 * (3 - 2 * t)


@lru_cache(maxsize=256)
def _knot(seed: int, what: str, index: int) -> float:
    return random.Random(f"{seed}:{what}:{index}").uniform(-1, 1)  # noqa: S311
