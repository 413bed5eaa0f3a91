"""Corrections of what each sensor says."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clima_agent.pipeline import Calibration, Draft, History
from clima_agent.pipeline.calibrate import calibrate
from clima_core.reading import Values

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
    with pytest.raises(ValueError, match="more than one of points"):
        Calibration(points=((0.0, 0.0), (1.0, 1.0)), offset=1.0)


def test_a_polynomial_by_its_coefficients() -> None:
    """The constant one first, in the stored unit: -0.31 + 1.02 t + 0.00014 t²."""
    calibration = Calibration(coefficients=(-0.31, 1.02, 0.00014), valid=(-20.0, 50.0))

    assert pytest.approx([-0.31, 20.146, 51.04]) == [calibration.correct(x) for x in (0, 20, 50)]


def test_beyond_where_it_was_fitted_a_polynomial_corrects_as_at_that_end() -> None:
    """A cubic that is right to a hundredth between 0 and 40 may be degrees out at 60."""
    calibration = Calibration(coefficients=(0.0, 1.0, 0.0, 1e-5), valid=(0.0, 40.0))

    assert pytest.approx([-10.0, 40.64, 60.64]) == [calibration.correct(x) for x in (-10, 40, 60)]


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=6), st.floats(-40, 40))
def test_a_polynomial_is_the_sum_of_its_terms(coefficients: list[float], value: float) -> None:
    """However it is worked out."""
    calibration = Calibration(coefficients=tuple(coefficients), valid=(-40.0, 40.0))

    expected = sum(each * value**power for power, each in enumerate(coefficients))
    assert pytest.approx(expected, rel=1e-9, abs=1e-6) == calibration.correct(value)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"coefficients": (0.0, 1.0)}, "valid: missing"),
        ({"coefficients": (1.0,), "valid": (0.0, 1.0)}, "coefficients: expected two or more"),
        ({"coefficients": (0.0, 1.0), "valid": (1.0, 1.0)}, "ascending"),
        ({"coefficients": (0.0, float("nan")), "valid": (0.0, 1.0)}, "finite"),
        ({"offset": float("inf")}, "finite"),
        ({"scale": float("inf")}, "finite"),
        ({"points": ((0.0, float("nan")), (1.0, 1.0))}, "finite"),
        ({"points": ((float("-inf"), 0.0), (1.0, 1.0))}, "finite"),
        ({"valid": (0.0, 1.0)}, "valid: goes with coefficients"),
        ({"coefficients": (0.0, 1.0), "valid": (0.0, 1.0), "scale": 2.0}, "more than one of"),
    ],
)
def test_a_calibration_that_means_nothing_is_refused(options: Any, problem: str) -> None:
    """With what is missing, or too much."""
    with pytest.raises(ValueError, match=problem):
        Calibration(**options)


def corrected(
    sensors: dict[str, Values], calibrations: dict[str, dict[str, Calibration]]
) -> dict[str, Values]:
    draft = Draft(NOW, sensors)
    done = calibrate(draft, History({}), calibrations)
    assert done.sensors == draft.sensors  # what each said stays
    return done.corrected


def test_each_sensor_is_corrected_by_its_own_calibration() -> None:
    """What has none, and what has no value, stays as it is."""
    said: dict[str, Values] = {
        "a": {"air_temperature": 20.0, "air_pressure": None},
        "b": {"air_temperature": 20.0},
    }
    calibration = {"air_temperature": Calibration(offset=1), "air_pressure": Calibration(offset=1)}

    assert {
        "a": {"air_temperature": 20.0, "air_pressure": None},
        "b": {"air_temperature": 21.0},
    } == corrected(said, {"b": calibration, "a": {"air_pressure": Calibration(offset=5)}})


def test_self_heating_grows_with_the_processor() -> None:
    """Linear in how much warmer it is; the other sensors are not touched."""
    share = {"htu21d": {"air_temperature": Calibration(offset=-1, self_heating=0.2)}}
    said: dict[str, Values] = {
        "htu21d": {"air_temperature": 26.0},
        "ds18b20": {"air_temperature": 20.0},
        "system": {"cpu_temperature": 50.0},
    }

    warm = corrected(said, share)
    said["system"] = {"cpu_temperature": 25.0}
    cool = corrected(said, share)

    assert pytest.approx(25 - 0.2 * 25) == warm["htu21d"]["air_temperature"]
    assert 25.0 == cool["htu21d"]["air_temperature"]
    assert 20.0 == warm["ds18b20"]["air_temperature"]


def test_self_heating_of_the_humidity() -> None:
    """The vapour stays: 50 % at 25 °C (15.8 hPa of 31.7) is 67.8 % at 20 °C (of 23.4 hPa)."""
    said: dict[str, Values] = {
        "htu21d": {"air_temperature": 25.0, "relative_humidity": 50.0},
        "system": {"cpu_temperature": 50.0},
    }

    done = corrected(said, {"htu21d": {"air_temperature": Calibration(self_heating=0.2)}})

    assert pytest.approx(67.8, abs=0.1) == done["htu21d"]["relative_humidity"]


@pytest.mark.parametrize("processor", [{"system": {"cpu_temperature": None}}, {}])
def test_self_heating_that_nobody_knows_leaves_no_value(processor: dict[str, Values]) -> None:
    """Degrees too warm would be worse than none, and another sensor can take its place."""
    said: dict[str, Values] = {"htu21d": {"air_temperature": 25.0, "relative_humidity": 50.0}}
    said |= processor

    done = corrected(said, {"htu21d": {"air_temperature": Calibration(self_heating=0.2)}})

    assert {"air_temperature": None, "relative_humidity": None} == done["htu21d"]


@pytest.mark.parametrize(("said", "meant"), [(75, 100.0), (80, 108.4)])
def test_a_little_more_than_saturated_is_saturated(said: float, meant: float) -> None:
    """In fog the correction may come to more than 100 %; much more is a fault, and stays."""
    sensors: dict[str, Values] = {
        "htu21d": {"air_temperature": 25.0, "relative_humidity": said},
        "system": {"cpu_temperature": 50.0},
    }

    done = corrected(sensors, {"htu21d": {"air_temperature": Calibration(self_heating=0.2)}})

    assert pytest.approx(meant, abs=0.1) == done["htu21d"]["relative_humidity"]


def test_when_it_is_due() -> None:
    """The day itself still counts; the day cannot be before the calibration."""
    calibration = Calibration(date=date(2024, 5, 1), due=date(2026, 5, 1))

    assert [False, True] == [calibration.overdue(date(2026, 5, day)) for day in (1, 2)]
    assert not Calibration().overdue(date(2026, 5, 1))
    with pytest.raises(ValueError, match="due: is not after date"):
        Calibration(date=date(2024, 5, 1), due=date(2024, 5, 1))
