"""Which sensor's value counts, and what is said of the others."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from clima_agent.pipeline import Draft, History, Limits, Pipeline, Sample
from clima_agent.pipeline.check import LIMITS
from clima_agent.pipeline.choose import choose
from clima_agent.sources import Measured
from clima_core.reading import Values

NOW = datetime(2024, 5, 1, tzinfo=UTC)


def chosen(*sensors: Values, limits: dict[str, Limits] | None = None) -> Draft:
    named = {f"s{number}": values for number, values in enumerate(sensors)}
    return choose(
        Draft(NOW, {}, corrected=named), History({}), LIMITS if limits is None else limits
    )


def test_the_first_sensor_with_a_value_counts() -> None:
    """In order of preference; null only when none has one; `fallback` when it is a later one."""
    done = chosen(
        {"air_temperature": None, "air_pressure": 1000.0, "illuminance": None},
        {"air_temperature": 20.0, "air_pressure": 1001.0, "relative_humidity": 50.0},
    )

    assert done.weather == {
        "air_temperature": 20.0,
        "air_pressure": 1000.0,
        "illuminance": None,
        "relative_humidity": 50.0,
    }
    assert done.quality == {"air_temperature": ["fallback"], "illuminance": ["failed"]}


def test_a_plausible_value_counts_before_rubbish() -> None:
    """The preferred sensor says what cannot be; where all do, it is the preferred one's."""
    done = chosen({"air_temperature": 140.0}, {"air_temperature": 20.0})
    both = chosen({"air_temperature": 140.0}, {"air_temperature": -99.0})

    assert (20.0, ["fallback", "disagree"]) == (
        done.weather["air_temperature"],
        done.quality["air_temperature"],
    )
    assert 140.0 == both.weather["air_temperature"]


@pytest.mark.parametrize(
    ("quantity", "one", "other", "flagged"),
    [
        ("air_temperature", 20.0, 22.5, False),
        ("air_temperature", 20.0, 22.6, True),
        ("relative_humidity", 50.0, 41.9, True),
        ("air_pressure", 1000.0, 1005.1, True),
        ("illuminance", 1.0, 100000.0, False),
    ],
)
def test_sensors_that_are_too_far_apart(
    quantity: str, one: float, other: float, flagged: bool
) -> None:
    """The preferred value stays, flagged; what has no limit is never flagged."""
    done = chosen({quantity: one}, {quantity: None}, {quantity: other})

    assert one == done.weather[quantity]
    assert ({quantity: ["disagree"]} if flagged else {}) == done.quality


def test_how_far_apart_is_an_option() -> None:
    """`inf` turns it off."""
    pair: tuple[Values, Values] = ({"air_temperature": 20.0}, {"air_temperature": 21.0})

    strict = chosen(*pair, limits={"air_temperature": Limits(disagreement=0.5)})
    off = chosen(*pair, limits={"air_temperature": Limits(disagreement=float("inf"))})

    assert {"air_temperature": ["disagree"]} == strict.quality
    assert {} == off.quality


def test_both_raw_values_are_kept_and_what_is_no_weather_stays_out_of_it() -> None:
    """Through the whole pipeline: the record has what each chip said."""
    measured = {
        "htu21d": {"air_temperature": Measured(20.004, "°C")},
        "bmp180": {"air_temperature": Measured(24.0, "°C")},
        "system": {"cpu_temperature": Measured(50.04, "°C")},
    }

    draft = Pipeline()(Sample(NOW, measured))

    assert draft.weather == {"air_temperature": 20.0}
    assert draft.quality == {"air_temperature": ["disagree"]}
    assert draft.sensors == {
        "htu21d": {"air_temperature": 20.0},
        "bmp180": {"air_temperature": 24.0},
        "system": {"cpu_temperature": 50.0},
    }
