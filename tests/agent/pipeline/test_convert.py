"""Units: every factor against the unit's definition."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clima_agent.pipeline import Sample
from clima_agent.pipeline.convert import convert
from clima_agent.sources import Measured
from clima_agent.units import UNITS, converted, units_of
from clima_core.reading import QUANTITIES

NOW = datetime(2024, 5, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("quantity", "value", "unit", "expected"),
    [
        ("air_temperature", 39.02, "degF", 3.9),
        ("air_temperature", -40, "degF", -40),
        ("air_temperature", 273.15, "K", 0),
        ("wind_speed", 10, "mph", 4.4704),
        ("wind_speed", 36, "km/h", 10),
        ("wind_speed", 1, "kn", 0.514444),
        ("precipitation_amount", 0.01, "in", 0.254),
        ("visibility_in_air", 10, "mi", 16093.44),
        ("visibility_in_air", 100, "ft", 30.48),
        ("air_pressure", 29.92125984, "inHg", 1013.25),  # one standard atmosphere
        ("air_pressure", 101325, "Pa", 1013.25),
        ("relative_humidity", 0.5, "1", 50),
    ],
)
def test_units_by_their_definition(quantity: str, value: float, unit: str, expected: float) -> None:
    """As NIST SP 811 and the units' own definitions have them."""
    assert pytest.approx(expected, rel=1e-6, abs=1e-9) == converted(quantity, value, unit)


def test_every_unit_in_the_table_can_be_given() -> None:
    """Each stored unit in the table is one that a quantity has."""
    assert UNITS.keys() <= {quantity.unit for quantity in QUANTITIES.values()}
    for name in QUANTITIES:
        for unit in units_of(name):
            assert isinstance(converted(name, 1.0, unit), float)


@given(st.floats())
def test_what_is_no_finite_number_is_null(value: float) -> None:
    """NaN and infinities have no JSON, and are no weather."""
    draft = convert(Sample(NOW, {"a": {"wind_speed": Measured(value, "m/s")}}))

    finite = value == value and abs(value) != float("inf")  # noqa: PLR0124 - NaN is not itself
    assert draft.sensors["a"]["wind_speed"] == (value if finite else None)
