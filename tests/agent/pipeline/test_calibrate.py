"""Corrections, and which sensor's value counts."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clima_agent.pipeline import Calibration, Draft, History
from clima_agent.pipeline.calibrate import calibrate

NOW = datetime(2024, 5, 1, tzinfo=UTC)
WEATHER = st.floats(-100, 1100)
POINTS = st.lists(
    st.tuples(st.integers(-1000, 1000), WEATHER), min_size=2, max_size=6, unique_by=lambda p: p[0]
).map(lambda points: tuple(sorted((float(said), true) for said, true in points)))


def test_offset_and_scale() -> None:
    """Corrected = said * scale + offset."""
    assert pytest.approx(20.4) == Calibration(scale=1.02, offset=0.0).correct(20)
    assert pytest.approx(19.6) == Calibration(offset=-0.4).correct(20)


def test_between_two_points_the_correction_is_interpolated() -> None:
    """Beyond the first and the last it stays what it is there."""
    calibration = Calibration(points=((0.0, 1.0), (10.0, 10.0)))

    assert [1.0, 5.5, 10.0, -4.0, 20.0] == [calibration.correct(x) for x in (0, 5, 10, -5, 20)]


@given(POINTS)
def test_a_point_of_the_certificate_is_met(points: tuple[tuple[float, float], ...]) -> None:
    """What the certificate says of a value is what comes out."""
    calibration = Calibration(points=points)

    assert pytest.approx([true for _, true in points]) == [
        calibration.correct(said) for said, _ in points
    ]


@pytest.mark.parametrize(
    "points", [((1.0, 1.0),), ((1.0, 1.0), (1.0, 2.0)), ((2.0, 2.0), (1.0, 1.0))]
)
def test_points_that_make_no_line_are_refused(points: tuple[tuple[float, float], ...]) -> None:
    """Fewer than two, or not ascending."""
    with pytest.raises(ValueError, match="two or more, ascending"):
        Calibration(points=points)


def test_points_and_offset_exclude_each_other() -> None:
    """Two corrections at once would be a riddle."""
    with pytest.raises(ValueError, match="one or the other"):
        Calibration(points=((0.0, 0.0), (1.0, 1.0)), offset=1.0)


def test_the_first_sensor_with_a_value_counts() -> None:
    """In order of preference; what each said stays beside it; null only when none has one."""
    draft = Draft(
        NOW,
        {
            "a": {"air_temperature": None, "air_pressure": 1000.0, "illuminance": None},
            "b": {"air_temperature": 20.0, "air_pressure": 990.0},
        },
    )

    done = calibrate(draft, History({}), {"b": {"air_temperature": Calibration(offset=1)}})

    assert done.weather == {"air_temperature": 21.0, "air_pressure": 1000.0, "illuminance": None}
    assert done.quality == {"illuminance": ["failed"]}
    assert done.sensors == draft.sensors
