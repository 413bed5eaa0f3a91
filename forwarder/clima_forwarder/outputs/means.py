"""What several readings come to: the rules are the same whichever store does the sums.

Precipitation adds up, the wind's direction is averaged as a vector (350° and 10° make 0°, not
180°), everything else is the arithmetic mean. Nulls and absent values count for nothing.
"""

from collections.abc import Iterable, Mapping
from math import atan2, cos, degrees, hypot, radians, sin

from clima_core.reading import QUANTITIES

AMOUNT = "precipitation_amount"
DIRECTION = "wind_from_direction"


def direction(weighted: Iterable[tuple[float, float]]) -> float | None:
    """Vector mean of (degrees, weight), 0 <= d < 360; None where the directions cancel out."""
    pairs = [(radians(angle), weight) for angle, weight in weighted]
    east = sum(weight * sin(angle) for angle, weight in pairs)
    north = sum(weight * cos(angle) for angle, weight in pairs)
    if hypot(east, north) < 1e-9:
        return None
    return round(degrees(atan2(east, north)), 6) % 360  # or what is just below 0 becomes 360


def rounded(values: Mapping[str, float | None]) -> dict[str, float | None]:
    """With the decimals that carry meaning."""
    return {
        name: value if value is None else round(value, QUANTITIES[name].decimals)
        for name, value in values.items()
    }


class Means:
    """Sums up readings one by one."""

    def __init__(self) -> None:
        self._values: dict[str, list[float]] = {}

    def add(self, values: Mapping[str, float | None]) -> None:
        """One more reading."""
        for name, value in values.items():
            if value is not None:
                self._values.setdefault(name, []).append(value)

    def result(self) -> dict[str, float | None]:
        """What the readings come to."""
        return rounded({name: _mean(name, values) for name, values in self._values.items()})


def _mean(name: str, values: list[float]) -> float | None:
    if name == AMOUNT:
        return sum(values)
    if name == DIRECTION:
        return direction((value, 1) for value in values)
    return sum(values) / len(values)
