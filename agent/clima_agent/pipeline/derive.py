"""Last stage: work out what was not measured from what was; every such value is flagged.

`derived` comes with the flags of the values it is made of: what rests on a spike is no better.
A value out of range or failed is no ground for another; then nothing is derived.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import psychrolib

from clima_agent.pipeline.draft import Draft
from clima_agent.pipeline.history import PRESSURES, History
from clima_core.reading import Flags, Values

psychrolib.SetUnitSystem(psychrolib.SI)

# WMO-No. 8, Volume I, chapter 3, "Adjustment of barometer readings to other levels".
KP = 0.0148275  # K/gpm
LAPSE_RATE = 0.0065  # K/gpm, assumed below the station
CH = 0.12  # K/hPa, for the water vapour in that column of air
RECOMMENDED_BELOW_M = 750  # above, the column of air that is not there weighs too much
UNUSABLE = frozenset({"range", "failed"})


def dew_point(temperature: float, humidity: float) -> float | None:
    """Dew point in °C from °C and %, by psychrolib (ASHRAE Handbook 2017, chapter 1, eqn 5, 6).

    Below freezing psychrolib takes saturation over ice (WMO: over water; 0.3 °C at -10 °C).
    None where there is no solution: air without any vapour, or far outside of what weather is.
    """
    try:
        return float(psychrolib.GetTDewPointFromRelHum(temperature, humidity / 100))
    except ValueError:
        return None


def vapour_pressure(dew_point: float) -> float:
    """Vapour pressure in hPa from a dew point in °C: WMO-No. 8, Volume I, annex 4.B, over water."""
    return 6.112 * math.exp(17.62 * dew_point / (243.12 + dew_point))


def sea_level_pressure(
    pressure: float, temperature: float, vapour_pressure: float, elevation_m: float
) -> float:
    """Pressure in hPa reduced to mean sea level, from hPa, °C, hPa and metres (WMO-No. 8).

    log10(p0/pS) = Kp Hp / (TS + a Hp / 2 + es Ch), with Hp taken as metres: below 1 km the two
    differ by less than 0.03 %, or 0.03 hPa. WMO recommends it for stations below 750 m.
    """
    virtual = temperature + 273.15 + LAPSE_RATE * elevation_m / 2 + vapour_pressure * CH
    return float(pressure * 10 ** (KP * elevation_m / virtual))


def derive(draft: Draft, history: History, elevation_m: float | None) -> Draft:
    """Add dew point, sea-level pressure and tendency where they are absent and can be had."""
    makings = _Makings(draft)
    makings.derive("dew_point_temperature", ("air_temperature", "relative_humidity"), dew_point)
    if elevation_m is not None:
        dew = makings.usable("dew_point_temperature")
        vapour = 0.0 if dew is None else vapour_pressure(dew)  # dry air: 0.05 hPa high per 100 m
        makings.derive(
            "air_pressure_at_mean_sea_level",
            ("air_pressure", "air_temperature"),
            lambda pressure, at: sea_level_pressure(pressure, at, vapour, elevation_m),
        )
    _derive_tendency(makings, history, draft.time.timestamp())
    return Draft(draft.time, draft.sensors, makings.weather, makings.quality)


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
