"""What is worked out, against published values; and when it is not."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clima_agent.pipeline import Draft, Pipeline, Sample
from clima_agent.pipeline.formulas import (
    absolute_humidity,
    dew_point,
    heat_index,
    sea_level_pressure,
    standard_pressure,
    vapour_pressure,
    wet_bulb,
)
from clima_agent.sources import Measured
from clima_core.reading import QUANTITIES

START = datetime(2024, 5, 1, tzinfo=UTC)


def reading(pipeline: Pipeline, seconds: float, **values: float | None) -> Draft:
    measured = {name: Measured(value, QUANTITIES[name].unit) for name, value in values.items()}
    return pipeline(Sample(START + timedelta(seconds=seconds), {"test": measured}))


@pytest.mark.parametrize(
    ("temperature", "humidity", "expected"),
    [(20, 50, 9.27), (25, 60, 16.70), (30, 70, 23.93), (35, 20, 8.70), (15, 100, 15)],
)
def test_dew_point(temperature: float, humidity: float, expected: float) -> None:
    """Against the tables of the WMO formula over water, which differ from ASHRAE's by 0.02 °C."""
    assert pytest.approx(expected, abs=0.03) == dew_point(temperature, humidity)


@pytest.mark.parametrize(
    ("celsius", "expected"), [(-20, 1.2540), (0, 6.1078), (10, 12.272), (20, 23.373), (30, 42.430)]
)
def test_vapour_pressure(celsius: float, expected: float) -> None:
    """Against Smithsonian Meteorological Tables, table 94 (Goff-Gratch, over water): 0.5 %."""
    assert pytest.approx(expected, rel=5e-3) == vapour_pressure(celsius)


@pytest.mark.parametrize(
    ("elevation_m", "pressure", "kelvin"),
    [(100, 1001.29, 287.50), (250, 983.58, 286.525), (500, 954.61, 284.90), (750, 926.34, 283.276)],
)
def test_sea_level_pressure_of_the_standard_atmosphere(
    elevation_m: float, pressure: float, kelvin: float
) -> None:
    """ICAO Doc 7488: dry air with just the lapse rate that the formula assumes is 1013.25 hPa."""
    reduced = sea_level_pressure(pressure, kelvin - 273.15, 0.0, elevation_m)

    assert pytest.approx(1013.25, abs=0.06) == reduced


@given(st.floats(900, 1050), st.floats(-30, 40), st.floats(0, 30), st.floats(-400, 750))
def test_sea_level_pressure_as_the_german_weather_service_has_it(
    pressure: float, celsius: float, vapour: float, elevation_m: float
) -> None:
    """The same formula, published with other constants (DWD, VuB 2 BUFR): within 0.25 hPa."""
    kelvin = celsius + 273.15 + vapour * 0.12 + 0.0065 * elevation_m / 2
    published = pressure * math.exp(9.80665 / 287.05 * elevation_m / kelvin)

    reduced = sea_level_pressure(pressure, celsius, vapour, elevation_m)

    assert pytest.approx(published, abs=0.25) == reduced


@pytest.mark.parametrize(
    ("celsius", "saturated"), [(0, 4.85), (10, 9.40), (20, 17.3), (30, 30.4), (40, 51.2)]
)
def test_absolute_humidity(celsius: float, saturated: float) -> None:
    """Against the usual table of saturated vapour density (CRC Handbook); half of it at 50 %."""
    assert pytest.approx(saturated, rel=5e-3) == absolute_humidity(celsius, 100)
    assert pytest.approx(saturated / 2, rel=5e-3) == absolute_humidity(celsius, 50)


@pytest.mark.parametrize(
    ("fahrenheit", "humidity", "expected"),
    [(80, 40, 80), (86, 90, 105), (90, 70, 105), (96, 50, 108), (100, 55, 124), (110, 40, 136)],
)
def test_heat_index(fahrenheit: float, humidity: float, expected: float) -> None:
    """Against the chart of the US National Weather Service, in whole degrees Fahrenheit."""
    index = heat_index((fahrenheit - 32) / 1.8, humidity)

    assert index is not None
    assert pytest.approx(expected, abs=1.1) == index * 1.8 + 32


def test_heat_index_is_of_hot_air_alone() -> None:
    """Below 80 °F it is not defined, dry or damp."""
    assert heat_index(26.6, 90) is None
    assert heat_index(26.7, 5) is not None


@pytest.mark.parametrize(
    ("celsius", "humidity", "expected"),
    [(20, 50, 13.8), (30, 70, 25.6), (25, 60, 19.5), (35, 20, 18.9), (15, 100, 15.0)],
)
def test_wet_bulb(celsius: float, humidity: float, expected: float) -> None:
    """Against a psychrometric chart at 1013.25 hPa (ASHRAE no. 1): 0.2 °C."""
    assert pytest.approx(expected, abs=0.2) == wet_bulb(celsius, humidity, 1013.25)


@given(st.floats(1, 45), st.floats(10, 99))
def test_wet_bulb_as_stull_has_it(celsius: float, humidity: float) -> None:
    """The other published formula (R. Stull, 2011, at 1013.25 hPa), which is within 1 °C."""
    root = math.sqrt(humidity + 8.313659)
    stull = (
        celsius * math.atan(0.151977 * root)
        + math.atan(celsius + humidity)
        - math.atan(humidity - 1.676331)
        + 0.00391838 * humidity**1.5 * math.atan(0.023101 * humidity)
        - 4.686035
    )

    assert pytest.approx(stull, abs=1.2) == wet_bulb(celsius, humidity, 1013.25)


@pytest.mark.parametrize(("elevation_m", "expected"), [(0, 1013.25), (500, 954.61), (1500, 845.6)])
def test_standard_pressure(elevation_m: float, expected: float) -> None:
    """ICAO Doc 7488."""
    assert pytest.approx(expected, abs=0.1) == standard_pressure(elevation_m)


def test_wet_bulb_without_a_barometer() -> None:
    """From the pressure of the standard atmosphere, where the elevation is known; else not."""
    values = {"air_temperature": 20.0, "relative_humidity": 50.0}

    here = reading(Pipeline(elevation_m=104), 0, **values, air_pressure=1000)
    guessed = reading(Pipeline(elevation_m=104), 0, **values)
    failed = reading(Pipeline(elevation_m=104), 0, **values, air_pressure=None)
    nowhere = reading(Pipeline(), 0, **values)

    wet = "wet_bulb_temperature"
    assert pytest.approx(here.weather[wet], abs=0.05) == guessed.weather[wet]
    assert guessed.weather[wet] == failed.weather[wet]
    assert wet not in nowhere.weather


def test_only_what_was_not_measured_is_derived() -> None:
    """And it says so; a measured value is never touched."""
    pipeline = Pipeline(elevation_m=100)
    values = {"air_temperature": 15.0, "relative_humidity": 60.0, "air_pressure": 1000.0}

    given = {
        "dew_point_temperature": 7.0,
        "air_pressure_at_mean_sea_level": 1011.0,
        "mass_concentration_of_water_vapor_in_air": 8.0,
        "wet_bulb_temperature": 10.0,
    }

    derived = reading(pipeline, 0, **values)
    measured = reading(pipeline, 60, **values, **given)

    assert derived.quality == {
        "dew_point_temperature": ["derived"],
        "mass_concentration_of_water_vapor_in_air": ["derived"],
        "wet_bulb_temperature": ["derived"],
        "air_pressure_at_mean_sea_level": ["derived"],
    }
    assert pytest.approx(7.3, abs=0.05) == derived.weather["dew_point_temperature"]
    assert pytest.approx(1011.86, abs=0.02) == derived.weather["air_pressure_at_mean_sea_level"]
    assert values | given == measured.weather
    assert measured.quality == {}


def test_a_derived_value_bears_the_flags_of_its_grounds() -> None:
    """A dew point made of a spike is no better than the spike; made of nonsense, it is not made."""
    pipeline = Pipeline()
    reading(pipeline, 0, air_temperature=15, relative_humidity=50)

    spike = reading(pipeline, 10, air_temperature=40, relative_humidity=50)
    nonsense = reading(pipeline, 20, air_temperature=150, relative_humidity=50)
    failed = reading(pipeline, 30, air_temperature=None, relative_humidity=50)

    assert spike.quality["dew_point_temperature"] == ["derived", "spike"]
    assert "dew_point_temperature" not in nonsense.weather
    assert "dew_point_temperature" not in failed.weather
    assert failed.quality == {"air_temperature": ["failed"]}


def test_without_elevation_or_temperature_there_is_no_sea_level_pressure() -> None:
    """Without humidity there is: the air is taken as dry."""
    assert (
        "air_pressure_at_mean_sea_level"
        not in reading(Pipeline(), 0, air_pressure=1000, air_temperature=10).weather
    )
    assert (
        "air_pressure_at_mean_sea_level"
        not in reading(Pipeline(elevation_m=50), 0, air_pressure=1000).weather
    )
    dry = reading(Pipeline(elevation_m=50), 0, air_pressure=1000, air_temperature=10)
    assert pytest.approx(1006.05, abs=0.02) == dry.weather["air_pressure_at_mean_sea_level"]


def test_tendency_is_the_change_of_three_hours() -> None:
    """From the reading nearest to three hours ago; absent until there is one."""
    pipeline = Pipeline()
    drafts = [reading(pipeline, 600 * i, air_pressure=1000 + i / 10) for i in range(20)]

    assert all("tendency_of_air_pressure" not in draft.weather for draft in drafts[:18])
    assert [1.8, 1.8] == [draft.weather["tendency_of_air_pressure"] for draft in drafts[18:]]


def test_tendency_never_mixes_two_pressures() -> None:
    """Where only the one at sea level was measured three hours ago, that one is compared."""
    pipeline = Pipeline()
    reading(pipeline, 0, air_pressure_at_mean_sea_level=1010)
    station = reading(pipeline, 10800, air_pressure=1000, air_pressure_at_mean_sea_level=1012)
    sea = reading(pipeline, 10860, air_pressure_at_mean_sea_level=1012)

    assert "tendency_of_air_pressure" not in station.weather
    assert sea.weather["tendency_of_air_pressure"] == 2.0


@given(st.lists(st.integers(1, 1200), min_size=1, max_size=80))
def test_tendency_against_all_readings(gaps: list[int]) -> None:
    """Whatever the gaps: there is one just when a reading lies within five minutes of then,
    and it is the difference to such a reading (one may be skipped within the same minute)."""
    pipeline, seconds = Pipeline(), 0
    past: list[tuple[int, float]] = []
    for i, gap in enumerate(gaps):
        seconds += gap * 6
        now = 1000 + i % 7 / 10
        tendency = reading(pipeline, seconds, air_pressure=now).weather.get(
            "tendency_of_air_pressure"
        )
        then = seconds - 10800
        near = [value for at, value in past if abs(at - then) <= 300]
        certain = [value for at, value in past if abs(at - then) <= 240]
        if tendency is None:
            assert not certain
        else:
            assert tendency in [pytest.approx(now - value, abs=0.006) for value in near]
        past.append((seconds, now))


def test_history_goes_on_after_a_restart() -> None:
    """Filled with the stored readings, a new pipeline says what the old one would have."""
    old, new = Pipeline(), Pipeline()
    stored = [reading(old, 60 * i, air_pressure=1000.0, air_temperature=20) for i in range(185)]
    for draft in stored:
        new.history.add(draft)

    after = {"air_pressure": 1001.0, "air_temperature": 20.0}
    expected, got = reading(old, 11100, **after), reading(new, 11100, **after)

    assert expected == got
    assert got.weather["tendency_of_air_pressure"] == 1.0
    assert got.quality["air_temperature"] == ["flat"]
