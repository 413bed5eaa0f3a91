"""Last stage: work out what was not measured from what was; every such value is flagged.

`derived` comes with the flags of the values it is made of: what rests on a spike is no better.
A value out of range or failed is no ground for another; then nothing is derived.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import structs

from clima_agent.pipeline.draft import Draft
from clima_agent.pipeline.formulas import (
    absolute_humidity,
    dew_point,
    heat_index,
    sea_level_pressure,
    standard_pressure,
    vapour_pressure,
    wet_bulb,
)
from clima_agent.pipeline.history import PRESSURES, History
from clima_core.reading import Flags, Values

UNUSABLE = frozenset({"range", "failed"})
MOIST = ("air_temperature", "relative_humidity")


def derive(draft: Draft, history: History, elevation_m: float | None) -> Draft:
    """Add what is absent and can be had."""
    makings = _Makings(draft)
    makings.derive("dew_point_temperature", MOIST, dew_point)
    makings.derive("mass_concentration_of_water_vapor_in_air", MOIST, absolute_humidity)
    makings.derive("heat_index_of_air_temperature", MOIST, heat_index)
    _derive_wet_bulb(makings, elevation_m)
    if elevation_m is not None:
        dew = makings.usable("dew_point_temperature")
        vapour = 0.0 if dew is None else vapour_pressure(dew)  # dry air: 0.05 hPa high per 100 m
        makings.derive(
            "air_pressure_at_mean_sea_level",
            ("air_pressure", "air_temperature"),
            lambda pressure, at: sea_level_pressure(pressure, at, vapour, elevation_m),
        )
    _derive_tendency(makings, history, draft.time.timestamp())
    return structs.replace(draft, weather=makings.weather, quality=makings.quality)


def _derive_wet_bulb(makings: _Makings, elevation_m: float | None) -> None:
    """With the pressure; without one, that of the standard atmosphere is near enough (0.1 °C)."""
    if makings.usable("air_pressure") is not None:
        makings.derive("wet_bulb_temperature", (*MOIST, "air_pressure"), wet_bulb)
    elif elevation_m is not None:
        pressure = standard_pressure(elevation_m)
        makings.derive("wet_bulb_temperature", MOIST, lambda t, r: wet_bulb(t, r, pressure))


def _derive_tendency(makings: _Makings, history: History, at: float) -> None:
    """Pressure now less that of three hours ago (WMO-No. 8, Volume I, chapter 3).

    From the station's own pressure; where only the one at sea level is measured, from that:
    over three hours at one place the two differ by what the temperature changes, a few tenths
    of a hPa at 750 m and nothing at sea level. Never from the one now and the other then.
    """
    measured = (name for name in PRESSURES if "derived" not in makings.quality.get(name, ()))
    quantity = next((name for name in measured if makings.usable(name) is not None), None)
    before = quantity and history.pressure_before(quantity, at)
    if quantity and before is not None:
        makings.derive("tendency_of_air_pressure", (quantity,), lambda now: now - before)


class _Makings:
    """The values and flags of one draft while derived ones are added to them."""

    def __init__(self, draft: Draft) -> None:
        self.weather: Values = dict(draft.weather)
        self.quality: Flags = dict(draft.quality)

    def usable(self, quantity: str) -> float | None:
        """The value, if there is one that others may rest upon."""
        if not UNUSABLE.isdisjoint(self.quality.get(quantity, ())):
            return None
        return self.weather.get(quantity)

    def derive(
        self, quantity: str, grounds: tuple[str, ...], formula: Callable[..., float | None]
    ) -> None:
        """Add `formula` of the grounds, unless the quantity was measured or a ground lacks."""
        values = [self.usable(ground) for ground in grounds]
        if quantity in self.weather or None in values:
            return
        value = formula(*values)
        if value is not None:
            inherited = {flag for ground in grounds for flag in self.quality.get(ground, ())}
            self.weather[quantity] = value
            self.quality[quantity] = sorted({"derived", *inherited})
