"""Fourth stage: flag what is implausible. Nothing is deleted: a wrong flag costs little.

The tests are those of WMO-No. 8, Volume III, chapter 1 (quality control at automatic stations):
plausible value (`range`), maximum step (`spike`), minimum variability over an hour (`flat`).
The limits are those of WMO-No. 488, appendix VI.2, which it refers to (I. Zahumenský,
"Guidelines on Quality Control Procedures for Data from Automatic Weather Stations", 2004):
the ones that make a value suspect. They are stated there for one-minute values; here

- a step may grow with the minutes since the last good value, and is never below one minute's:
  quicker samples may carry their noise, and a real change is accepted after a while;
- only values at most ten minutes apart can show that a sensor stands still.

What WMO does not limit is bounded by physics or records, as each line says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import msgspec

from clima_agent.pipeline.draft import Draft
from clima_agent.pipeline.history import History
from clima_core.reading import Flags, Values

PERSISTENCE_S = 3600
SATURATED = 95.0  # %: fog may hold humidity at one value for hours (WMO)
CALM = 0.1  # m/s: neither vane nor cups need move (WMO)
WIND = frozenset({"wind_speed", "wind_speed_of_gust", "wind_from_direction"})

Positive = Annotated[float, msgspec.Meta(gt=0)]


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is plausible of one quantity, in its stored unit; a test without a limit is not made.

    In a configuration an option left out keeps the limit below; `inf` (or 0 for the least
    change) turns a test off.
    """

    minimum: float | None = None
    maximum: float | None = None
    step_per_minute: Positive | None = None
    least_change_per_hour: Annotated[float, msgspec.Meta(ge=0)] | None = None
    disagreement: Positive | None = None  # between two sensors

    def allows(self, value: float | None) -> bool:
        """Whether there is a value, and it is plausible by itself."""
        return (
            value is not None
            and (self.minimum is None or value >= self.minimum)
            and (self.maximum is None or value <= self.maximum)
        )

    @property
    def possible(self) -> bool:
        """Whether any value can pass."""
        return self.minimum is None or self.maximum is None or self.minimum < self.maximum

    def over(self, defaults: Limits) -> Limits:
        """These limits, with the defaults where this one says nothing."""
        return Limits(
            **{
                field: getattr(defaults if getattr(self, field) is None else self, field)
                for field in self.__struct_fields__
            }
        )


def _limits(
    minimum: float,
    maximum: float,
    step: float | None = None,
    change: float | None = None,
    disagreement: float | None = None,
) -> Limits:
    return Limits(
        minimum=minimum,
        maximum=maximum,
        step_per_minute=step,
        least_change_per_hour=change,
        disagreement=disagreement,
    )


# Disagreement: a little more than what the data sheets allow two of the chips we know together.
LIMITS: dict[str, Limits] = {
    "air_temperature": _limits(-80, 60, 3, 0.1, 2.5),
    "dew_point_temperature": _limits(-80, 35, 2, 0.1),
    "relative_humidity": _limits(0, 100, 10, 1, 8),
    "air_pressure": _limits(500, 1100, 0.5, 0.1, 5),
    "air_pressure_at_mean_sea_level": _limits(850, 1100, 0.5, 0.1),  # records: 870 and 1085
    "illuminance": _limits(0, 200_000),  # WMO's 1600 W/m² of irradiance, at 120 lm/W
    "wind_speed": _limits(0, 75, 20, 0.5),  # the step of samples: 10 is for two-minute means
    "wind_speed_of_gust": _limits(0, 150),
    "wind_from_direction": _limits(0, 360, None, 10),
    "precipitation_amount": _limits(0, 400),  # record: 305 mm in 42 minutes; WMO's 40 is for one
    "visibility_in_air": _limits(0, 100_000),
}


def limits_with(overrides: Mapping[str, Limits]) -> dict[str, Limits]:
    """The limits above, changed by what a configuration says."""
    named = {
        quantity: limits.over(LIMITS.get(quantity, Limits()))
        for quantity, limits in overrides.items()
    }
    return LIMITS | named


def check(draft: Draft, history: History, limits: Mapping[str, Limits]) -> Draft:
    """Add the flags that each value earns; the values stay as they are."""
    at = draft.time.timestamp()
    quality: Flags = dict(draft.quality)
    for quantity, value in draft.weather.items():
        if value is None or quantity not in limits:
            continue
        flags = _flags(quantity, value, at, limits[quantity], history, draft.weather)
        if flags:
            quality[quantity] = [*quality.get(quantity, ()), *flags]
    return msgspec.structs.replace(draft, quality=quality)


def _flags(
    quantity: str, value: float, at: float, limits: Limits, history: History, weather: Values
) -> list[str]:
    if not limits.allows(value):
        return ["range"]
    flags = []
    if _is_step(value, at, limits.step_per_minute, history.accepted(quantity)):
        flags.append("spike")
    run = history.run(quantity, at, value)
    if run and at - run.since >= PERSISTENCE_S and not _may_stand_still(quantity, value, weather):
        flags.append("flat")
    return flags


def _is_step(
    value: float, at: float, step_per_minute: float | None, accepted: tuple[float, float] | None
) -> bool:
    if step_per_minute is None or accepted is None:
        return False
    then, before = accepted
    return abs(value - before) > step_per_minute * max(1.0, abs(at - then) / 60)


def _may_stand_still(quantity: str, value: float, weather: Values) -> bool:
    if quantity == "relative_humidity":
        return value >= SATURATED
    return quantity in WIND and (weather.get("wind_speed") or 0.0) <= CALM
