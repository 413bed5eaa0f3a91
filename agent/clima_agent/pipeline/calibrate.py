"""Second stage: correct what each sensor says, for its own error and for what warms it.

A calibration is linear (`value * scale + offset`), a polynomial, or by points from a certificate:
between two points the correction is interpolated, beyond the first and last it stays what it is
there. A polynomial is only good where it was fitted: outside of `valid` its correction stays what
it is at that end, for beyond it a polynomial may go anywhere.

A chip that sits on a warm board measures the board as well. How much is taken to grow with how much
warmer the processor is: `true = measured - self_heating * (processor - measured)`. The humidity
that the same sensor says is brought to that temperature, as the vapour in the air is the same.
"""

from __future__ import annotations

import datetime
import math
from bisect import bisect_right
from collections.abc import Mapping
from itertools import chain, pairwise
from typing import Annotated

import msgspec

from clima_agent.pipeline.draft import Draft
from clima_agent.pipeline.formulas import vapour_pressure
from clima_agent.pipeline.history import History
from clima_core.reading import Values

Point = tuple[float, float]

TEMPERATURE, HUMIDITY, PROCESSOR = "air_temperature", "relative_humidity", "cpu_temperature"
SATURATED = 105.0  # %: so far above 100 is the tolerance of sensor and correction


class Calibration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to correct one quantity of one sensor, in its stored unit, and who vouches for it."""

    offset: float = 0.0
    scale: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    points: tuple[Point, ...] = ()  # (what the sensor says, what is true), ascending
    # What is true, by powers of what the sensor says: constant, linear, quadratic …
    coefficients: Annotated[tuple[float, ...], msgspec.Meta(max_length=10)] = ()
    valid: Point | None = None  # from, to: where the polynomial was fitted
    self_heating: Annotated[float, msgspec.Meta(ge=0, le=2)] = 0.0  # of air_temperature alone
    certificate: Annotated[str, msgspec.Meta(min_length=1, max_length=100)] | None = (
        None  # its number
    )
    date: datetime.date | None = None  # when it was calibrated
    due: datetime.date | None = None  # when it is to be calibrated again

    def __post_init__(self) -> None:
        linear = self.offset != 0 or self.scale != 1
        if linear + bool(self.points) + bool(self.coefficients) > 1:
            raise ValueError("has more than one of points, coefficients, and offset or scale")
        said = [point[0] for point in self.points]
        if len(said) == 1 or any(a >= b for a, b in pairwise(said)):
            raise ValueError("points: expected two or more, ascending by what the sensor says")
        self._check_polynomial()
        numbers = (self.offset, self.scale, *chain(*self.points), *self.coefficients)
        if not all(map(math.isfinite, (*numbers, *(self.valid or ())))):
            raise ValueError("expected finite numbers")
        if self.date and self.due and self.due <= self.date:
            raise ValueError("due: is not after date")

    def _check_polynomial(self) -> None:
        if not self.coefficients:
            if self.valid:
                raise ValueError("valid: goes with coefficients")
            return
        if len(self.coefficients) == 1:
            raise ValueError("coefficients: expected two or more, the constant one first")
        if self.valid is None:
            raise ValueError("valid: missing; expected [from, to], where the polynomial was fitted")
        if self.valid[0] >= self.valid[1]:
            raise ValueError("valid: expected [from, to], ascending")

    def correct(self, value: float) -> float:
        """The true value for what the sensor says, but for self-heating."""
        if self.points:
            return value + _correction(self.points, value)
        if self.valid:
            nearest = min(max(value, self.valid[0]), self.valid[1])
            return value + _polynomial(self.coefficients, nearest) - nearest
        return value * self.scale + self.offset

    def overdue(self, today: datetime.date) -> bool:
        """Whether the day that it was due has passed."""
        return self.due is not None and today > self.due


Calibrations = Mapping[str, Mapping[str, Calibration]]
"""By sensor and quantity."""


def _correction(points: tuple[Point, ...], value: float) -> float:
    after = bisect_right(points, value, key=lambda point: point[0])
    if after in (0, len(points)):
        said, true = points[min(after, len(points) - 1)]
        return true - said
    (said_0, true_0), (said_1, true_1) = points[after - 1], points[after]
    share = (value - said_0) / (said_1 - said_0)
    return (true_0 - said_0) * (1 - share) + (true_1 - said_1) * share


def _polynomial(coefficients: tuple[float, ...], value: float) -> float:
    """Horner's scheme."""
    result = 0.0
    for each in reversed(coefficients):
        result = result * value + each
    return result


def calibrate(draft: Draft, _: History, calibrations: Calibrations) -> Draft:
    """Fill `corrected`, sensor by sensor."""
    processor = next(
        (values[PROCESSOR] for values in draft.sensors.values() if PROCESSOR in values), None
    )
    corrected = {
        name: _corrected(values, calibrations.get(name, {}), processor)
        for name, values in draft.sensors.items()
    }
    return msgspec.structs.replace(draft, corrected=corrected)


def _corrected(
    said: Values, calibrations: Mapping[str, Calibration], processor: float | None
) -> Values:
    values = {
        quantity: calibrations[quantity].correct(value)
        if quantity in calibrations and value is not None
        else value
        for quantity, value in said.items()
    }
    share = calibrations[TEMPERATURE].self_heating if TEMPERATURE in calibrations else 0.0
    if share:
        warm = values.get(TEMPERATURE)
        values[TEMPERATURE] = cool = _cooled(warm, processor, share)
        if HUMIDITY in values:
            values[HUMIDITY] = _brought_to(values[HUMIDITY], warm, cool)
    return values


def _cooled(warm: float | None, processor: float | None, share: float) -> float | None:
    """None when the processor does not say how warm it is: then nobody knows."""
    if warm is None or processor is None:
        return None
    return warm - share * (processor - warm)


def _brought_to(humidity: float | None, warm: float | None, cool: float | None) -> float | None:
    """The same vapour, in air of another temperature; in fog that may come to a little more."""
    if humidity is None or warm is None or cool is None:
        return None
    brought = humidity * vapour_pressure(warm) / vapour_pressure(cool)
    return 100.0 if 100 < brought <= SATURATED else brought
