"""What is worked out from air's temperature, humidity and pressure: pure formulas, each published.

°C, %, hPa and metres. None where a formula has no solution, or is not defined.
"""

from __future__ import annotations

import math

import psychrolib

psychrolib.SetUnitSystem(psychrolib.SI)

# WMO-No. 8, Volume I, chapter 3, "Adjustment of barometer readings to other levels".
KP = 0.0148275  # K/gpm
LAPSE_RATE = 0.0065  # K/gpm, assumed below the station
CH = 0.12  # K/hPa, for the water vapour in that column of air
RECOMMENDED_BELOW_M = 750  # above, the column of air that is not there weighs too much
GAS_CONSTANT = 461.5  # J/(kg K), of water vapour
WARM = 26.66  # °C, 80 °F but for rounding: below it there is no heat index (NWS, and CF)


def dew_point(temperature: float, humidity: float) -> float | None:
    """Dew point in °C from °C and %, by psychrolib (ASHRAE Handbook 2017, chapter 1, eqn 5, 6).

    Below freezing psychrolib takes saturation over ice (WMO: over water; 0.3 °C at -10 °C).
    None where there is no solution: air without any vapour, or far outside of what weather is.
    """
    try:
        return float(psychrolib.GetTDewPointFromRelHum(temperature, humidity / 100))
    except ValueError:
        return None


def wet_bulb(temperature: float, humidity: float, pressure: float) -> float | None:
    """Wet-bulb temperature in °C from °C, % and hPa, by psychrolib (as above, eqn 33 and 35)."""
    try:
        return float(psychrolib.GetTWetBulbFromRelHum(temperature, humidity / 100, pressure * 100))
    except ValueError:
        return None


def vapour_pressure(dew_point: float) -> float:
    """Vapour pressure in hPa from a dew point in °C: WMO-No. 8, Volume I, annex 4.B, over water.

    Of the air's own temperature it is the saturation pressure.
    """
    return 6.112 * math.exp(17.62 * dew_point / (243.12 + dew_point))


def absolute_humidity(temperature: float, humidity: float) -> float:
    """Water vapour in g/m³ from °C and %: the ideal gas law, with the vapour pressure of WMO."""
    pascal = vapour_pressure(temperature) * humidity
    return 1000 * pascal / (GAS_CONSTANT * (temperature + 273.15))


def heat_index(temperature: float, humidity: float) -> float | None:
    """Heat index in °C from °C and %, as the US National Weather Service works it out.

    Rothfusz's regression of Steadman's tables with its two adjustments (NWS Technical Attachment
    SR 90-23); where it comes to less than 80 °F, Steadman's simple formula.
    """
    if temperature < WARM:
        return None
    t, r = temperature * 1.8 + 32, humidity
    simple = 0.5 * (t + 61 + (t - 68) * 1.2 + r * 0.094)
    if (simple + t) / 2 < 80:
        return (simple - 32) / 1.8
    index = (
        -42.379
        + 2.04901523 * t
        + 10.14333127 * r
        - 0.22475541 * t * r
        - 6.83783e-3 * t * t
        - 5.481717e-2 * r * r
        + 1.22874e-3 * t * t * r
        + 8.5282e-4 * t * r * r
        - 1.99e-6 * t * t * r * r
    )
    if r < 13 and t <= 112:
        index -= (13 - r) / 4 * math.sqrt((17 - abs(t - 95)) / 17)
    elif r > 85 and t <= 87:
        index += (r - 85) / 10 * (87 - t) / 5
    return (index - 32) / 1.8


def standard_pressure(elevation_m: float) -> float:
    """Pressure in hPa of the standard atmosphere at a height (ICAO; ASHRAE 2017, eqn 3)."""
    return float(psychrolib.GetStandardAtmPressure(elevation_m)) / 100


def sea_level_pressure(
    pressure: float, temperature: float, vapour_pressure: float, elevation_m: float
) -> float:
    """Pressure in hPa reduced to mean sea level, from hPa, °C, hPa and metres (WMO-No. 8).

    log10(p0/pS) = Kp Hp / (TS + a Hp / 2 + es Ch), with Hp taken as metres: below 1 km the two
    differ by less than 0.03 %, or 0.03 hPa. WMO recommends it for stations below 750 m.
    """
    virtual = temperature + 273.15 + LAPSE_RATE * elevation_m / 2 + vapour_pressure * CH
    return float(pressure * 10 ** (KP * elevation_m / virtual))
