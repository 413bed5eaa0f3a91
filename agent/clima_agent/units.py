"""The units that weather comes in, and the factors to the one unit that each quantity is kept in.

A table rather than a units library: a few rows, each exact by definition of the unit, are all
that sensors and weather files use, and the agent has 40 MB.
"""

from __future__ import annotations

from clima_core.reading import QUANTITIES, Quantity

# What is read beside the weather, for corrections: it stays under `sensor`, and is no `weather`.
BESIDE: dict[str, Quantity] = {
    "cpu_temperature": Quantity("°C", 1, "Temperature of the board's processor"),
}
KNOWN: dict[str, Quantity] = QUANTITIES | BESIDE

# stored unit -> given unit -> (factor, offset): stored = given * factor + offset
UNITS: dict[str, dict[str, tuple[float, float]]] = {
    "°C": {"degC": (1, 0), "degF": (5 / 9, -160 / 9), "K": (1, -273.15)},
    "%": {"1": (100, 0)},
    "hPa": {"mbar": (1, 0), "Pa": (0.01, 0), "kPa": (10, 0), "inHg": (33.8638866666667, 0)},
    "m/s": {"km/h": (1 / 3.6, 0), "mph": (0.44704, 0), "kn": (1852 / 3600, 0)},
    "°": {"deg": (1, 0)},
    "mm": {"cm": (10, 0), "m": (1000, 0), "in": (25.4, 0)},
    "m": {"km": (1000, 0), "mi": (1609.344, 0), "ft": (0.3048, 0)},
    "lx": {"klx": (1000, 0)},
}


def units_of(quantity: str) -> list[str]:
    """Every unit that the quantity may be given in, the stored one first."""
    stored = KNOWN[quantity].unit
    return [stored, *UNITS.get(stored, ())]


def converted(quantity: str, value: float, unit: str) -> float:
    """The value in the quantity's stored unit; KeyError for a unit that it cannot have."""
    stored = KNOWN[quantity].unit
    if unit == stored:
        return value
    factor, offset = UNITS[stored][unit]
    return value * factor + offset
