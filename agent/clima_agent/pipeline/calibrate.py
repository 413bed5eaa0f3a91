"""Second stage: correct what each sensor says, and choose the value that counts.

A correction is linear (`value * scale + offset`) or by points from a certificate: between two
points the correction is interpolated, beyond the first and last it stays what it is there.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated

import msgspec

from clima_agent.pipeline.draft import Draft
from clima_agent.pipeline.history import History
from clima_core.reading import Flags, Values

Point = tuple[float, float]


class Calibration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to correct one quantity of one sensor, in the unit that the quantity is stored in."""

    offset: float = 0.0
    scale: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    points: tuple[Point, ...] = ()  # (what the sensor says, what is true), ascending

    def __post_init__(self) -> None:
        said = [point[0] for point in self.points]
        if said and (self.offset != 0 or self.scale != 1):
            raise ValueError("has points and offset or scale; expected one or the other")
        if len(said) == 1 or any(a >= b for a, b in pairwise(said)):
            raise ValueError("points: expected two or more, ascending by what the sensor says")

    def correct(self, value: float) -> float:
        """The true value for what the sensor says."""
        if self.points:
            return value + _correction(self.points, value)
        return value * self.scale + self.offset


def _correction(points: tuple[Point, ...], value: float) -> float:
    after = bisect_right(points, value, key=lambda point: point[0])
    if after in (0, len(points)):
        said, true = points[min(after, len(points) - 1)]
        return true - said
    (said_0, true_0), (said_1, true_1) = points[after - 1], points[after]
    share = (value - said_0) / (said_1 - said_0)
    return (true_0 - said_0) * (1 - share) + (true_1 - said_1) * share


def calibrate(
    draft: Draft, _: History, calibrations: Mapping[str, Mapping[str, Calibration]]
) -> Draft:
    """Fill `weather` with corrected values: of several sensors, the first in order that has one.

    A quantity that was measured and that no sensor has a usable value for is null, `failed`.
    """
    weather: Values = {}
    for name, values in draft.sensors.items():
        corrections = calibrations.get(name, {})
        for quantity, value in values.items():
            if weather.get(quantity) is None:
                correction = corrections.get(quantity)
                weather[quantity] = (
                    correction.correct(value) if correction and value is not None else value
                )
    failed: Flags = {quantity: ["failed"] for quantity, value in weather.items() if value is None}
    return Draft(draft.time, draft.sensors, weather, failed)
