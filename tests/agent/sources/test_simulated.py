"""Simulated weather: the same for the same seed, and such as weather is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from statistics import correlation, mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clima_agent.pipeline.check import LIMITS
from clima_agent.sources import Recorded, SensorError, Setting, Source
from clima_agent.sources.simulated import Fault, Simulated
from clima_core.reading import QUANTITIES

START = datetime(2024, 1, 1, tzinfo=UTC)
SETTING = Setting(START, 600)


def values(source: Source, at: datetime) -> dict[str, float | None]:
    return {name: value for name, (value, _) in source.read(at).items()}


def year(place: Simulated) -> list[dict[str, float | None]]:
    """A reading every three hours."""
    source = place.open(SETTING)
    return [values(source, START + timedelta(hours=3 * i)) for i in range(365 * 8)]


def test_is_a_function_of_seed_and_moment() -> None:
    """Another run, begun elsewhere, agrees value for value; another seed does not."""
    at = START + timedelta(days=100, seconds=30)
    first = Simulated(seed=7).open(SETTING)
    first.read(at - timedelta(days=1))
    second = Simulated(seed=7).open(SETTING)
    second.read(at - timedelta(seconds=30))
    ignored = {"precipitation_amount": 0.0}  # what fell since the reading before

    assert values(first, at) | ignored == values(second, at) | ignored
    assert values(Simulated(seed=8).open(SETTING), at) | ignored != values(second, at) | ignored


@given(
    st.integers(0, 60 * 366 * 1440).map(lambda minutes: START + timedelta(minutes=minutes)),
    st.integers(0, 50),
    st.floats(-66, 66),
)
def test_every_value_is_plausible(at: datetime, seed: int, latitude: float) -> None:
    """Whatever the place and the moment, nothing is out of WMO's range."""
    source = Simulated(seed=seed, latitude=latitude).open(SETTING)
    source.read(at - timedelta(minutes=10))
    for quantity, value in values(source, at).items():
        limits = LIMITS[quantity]
        assert quantity in QUANTITIES
        assert value is not None
        assert limits.minimum is not None
        assert limits.maximum is not None
        assert limits.minimum <= value <= limits.maximum


def test_has_seasons_days_and_fronts() -> None:
    """Summer and noon are warmer, light is the sun's, rain comes with low pressure."""
    place = Simulated(seed=3, latitude=52)
    readings = year(place)
    temperature = [float(each["air_temperature"] or 0) for each in readings]
    pressure = [float(each["air_pressure"] or 0) for each in readings]
    rain = [float(each["precipitation_amount"] or 0) for each in readings]
    light = [float(each["illuminance"] or 0) for each in readings]

    assert mean(temperature[180 * 8 : 210 * 8]) > mean(temperature[: 30 * 8]) + 8
    assert mean(temperature[5::8]) > mean(temperature[1::8]) + 3  # 15 h and 3 h
    assert max(light[0::8]) < 10 < min(light[4::8])  # midnight and noon
    assert max(pressure) - min(pressure) > 20
    assert correlation(pressure, rain) < -0.2
    assert 100 < sum(rain) < 3000


def test_the_south_has_its_summer_in_january() -> None:
    """Latitude below zero turns the year round."""
    readings = year(Simulated(latitude=-35))
    temperature = [float(each["air_temperature"] or 0) for each in readings]

    assert mean(temperature[: 30 * 8]) > mean(temperature[180 * 8 : 210 * 8]) + 5


def test_a_stretch_of_time_is_played_at_the_interval() -> None:
    """Both ends included; without one, the source follows the clock."""
    source = Simulated(start=START, end=START + timedelta(hours=1)).open(SETTING)

    assert isinstance(source, Recorded)
    assert list(source.times()) == [START + timedelta(minutes=10 * i) for i in range(7)]
    assert not isinstance(Simulated().open(SETTING), Recorded)


def test_faults_on_request() -> None:
    """Stuck repeats, spike adds, dropout is null, and a dropout of all is an error."""
    faults = (
        Fault(kind="stuck", quantity="air_pressure", every_s=7200, for_s=3600),
        Fault(kind="spike", quantity="air_temperature", every_s=7200, for_s=60, size=30),
        Fault(kind="dropout", quantity="wind_speed", every_s=7200, for_s=60),
        Fault(kind="dropout", every_s=86400, for_s=10),
    )
    broken, sound = Simulated(faults=faults).open(SETTING), Simulated().open(SETTING)
    at = START + timedelta(hours=2)

    assert values(broken, at)["wind_speed"] is None
    difference = (values(broken, at)["air_temperature"] or 0) - (
        values(sound, at)["air_temperature"] or 0
    )
    assert pytest.approx(30) == difference
    stuck = {values(broken, at + timedelta(minutes=i))["air_pressure"] for i in range(60)}
    assert stuck == {values(sound, at)["air_pressure"]}
    later = at + timedelta(minutes=61)
    assert values(broken, later)["air_pressure"] == values(sound, later)["air_pressure"]
    with pytest.raises(SensorError):
        broken.read(START)


def test_a_fault_names_what_it_breaks() -> None:
    """Only a whole dropout may leave the quantity out."""
    with pytest.raises(ValueError, match="a spike is of one quantity"):
        Fault(kind="spike")
    with pytest.raises(ValueError, match='"snow" is not simulated'):
        Fault(kind="stuck", quantity="snow")
    with pytest.raises(ValueError, match="only one of start and end"):
        Simulated(start=START)
