"""WMO's tests of plausibility: each flag when it is due, and only then."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clima_agent.pipeline import Draft, Limits, Pipeline, Sample
from clima_agent.pipeline.check import LIMITS, PERSISTENCE_S, limits_with
from clima_agent.sources import Measured
from clima_core.reading import QUANTITIES

START = datetime(2024, 5, 1, tzinfo=UTC)


def readings(
    quantity: str,
    said: Iterable[tuple[float, float]],
    pipeline: Pipeline | None = None,
    also: Mapping[str, float] | None = None,
) -> list[Draft]:
    """What a pipeline makes of (seconds, value) pairs of one quantity."""
    pipeline = pipeline or Pipeline()
    return [
        pipeline(
            Sample(
                START + timedelta(seconds=seconds),
                {
                    "test": {
                        name: Measured(each, QUANTITIES[name].unit)
                        for name, each in {quantity: value, **(also or {})}.items()
                    }
                },
            )
        )
        for seconds, value in said
    ]


def flags(quantity: str, drafts: Iterable[Draft]) -> list[list[str]]:
    return [draft.quality.get(quantity, []) for draft in drafts]


@pytest.mark.parametrize("quantity", LIMITS)
def test_limits_themselves_are_plausible_and_beyond_is_flagged(quantity: str) -> None:
    """The value stays, whatever it is."""
    low, high = LIMITS[quantity].minimum, LIMITS[quantity].maximum
    assert low is not None
    assert high is not None
    beyond = [(0.0, low - 1), (86400.0, high + 1)]

    assert [[], []] == flags(quantity, readings(quantity, [(0.0, low), (8.64e7, high)]))
    drafts = readings(quantity, beyond)
    assert [["range"], ["range"]] == flags(quantity, drafts)
    assert [value for _, value in beyond] == [draft.weather[quantity] for draft in drafts]


@pytest.mark.parametrize(
    ("quantity", "step"),
    [
        ("air_temperature", 3),
        ("dew_point_temperature", 2),
        ("relative_humidity", 10),
        ("air_pressure", 0.5),
        ("wind_speed", 20),
    ],
)
def test_a_step_beyond_wmo_s_is_a_spike(quantity: str, step: float) -> None:
    """Within a minute the whole step is allowed, and no more; after two minutes twice as much."""
    middle = {"air_pressure": 1000.0}.get(quantity, 20.0)

    def second(seconds: float, change: float) -> list[str]:
        return flags(quantity, readings(quantity, [(0, middle), (seconds, middle + change)]))[1]

    assert second(10, step) == []
    assert second(10, step + 0.01) == ["spike"]
    assert second(120, 2 * step) == []
    assert second(120, 2 * step + 0.01) == ["spike"]


def test_the_way_back_from_a_spike_is_none() -> None:
    """The next good value is compared with the last good one, not with the spike."""
    drafts = readings("air_temperature", [(0, 20), (10, 45), (20, 20.1)])

    assert [[], ["spike"], []] == flags("air_temperature", drafts)


def test_a_real_change_is_accepted_after_a_while() -> None:
    """A level that stays is believed once it could have been reached step by step."""
    drafts = readings("air_temperature", [(0, 10), *((60 * i, 25 + i / 100) for i in range(1, 9))])

    got = flags("air_temperature", drafts)
    assert ["spike"] == got[1]
    assert [] == got[8]


def test_a_stuck_sensor_is_flat_after_an_hour() -> None:
    """Not a second sooner; and no longer once it moves."""
    stuck = [(i * 10.0, 20.0) for i in range(361)]

    got = flags("air_temperature", readings("air_temperature", [*stuck, (3610, 20.2)]))

    assert [] == got[359]
    assert ["flat"] == got[360]
    assert [] == got[361]


@pytest.mark.parametrize(
    ("quantity", "value", "also"),
    [
        ("relative_humidity", 97.0, {}),
        ("wind_from_direction", 210.0, {"wind_speed": 0.0}),
        ("wind_speed", 0.0, {}),
        ("illuminance", 0.0, {}),
        ("precipitation_amount", 0.0, {}),
        ("visibility_in_air", 10000.0, {}),
    ],
)
def test_what_may_stand_still_is_not_flat(
    quantity: str, value: float, also: dict[str, float]
) -> None:
    """Fog, calm, night, dry weather, and an instrument at its upper end."""
    hours = [(i * 60.0, value) for i in range(180)]

    assert {()} == {tuple(each) for each in flags(quantity, readings(quantity, hours, also=also))}


def test_hourly_values_are_never_flat() -> None:
    """What lies between them is not known."""
    hours = [(i * 3600.0, 20.0) for i in range(48)]

    assert {()} == {
        tuple(each) for each in flags("air_temperature", readings("air_temperature", hours))
    }


@given(st.lists(st.tuples(st.floats(1, 900), st.floats(-0.2, 0.2)), min_size=1, max_size=120))
def test_flat_is_only_what_has_not_moved(changes: list[tuple[float, float]]) -> None:
    """Against WMO's words: less than 0.1 °C between all values of the past hour."""
    seconds, value, said = 0.0, 20.0, []
    for gap, change in changes:
        seconds += round(gap)
        value = round(value + (change if abs(change) > 0.15 else 0), 2)
        said.append((seconds, value))
    got = flags("air_temperature", readings("air_temperature", said))
    for (now, _), flagged in zip(said, got, strict=True):
        hour = [value for then, value in said if now - PERSISTENCE_S <= then <= now]
        if "flat" in flagged:
            assert max(hour) - min(hour) < 0.1


def test_limits_can_be_changed_and_turned_off() -> None:
    """An option left out keeps WMO's limit."""
    pipeline = Pipeline(
        checks={
            "air_temperature": Limits(
                maximum=30, step_per_minute=float("inf"), least_change_per_hour=0
            )
        }
    )
    said = [(i * 60.0, 20.0) for i in range(120)]

    got = flags("air_temperature", readings("air_temperature", [*said, (7200, 31)], pipeline))

    assert [] == got[119]
    assert ["range"] == got[120]
    assert limits_with({"air_temperature": Limits(maximum=30)})["air_temperature"].minimum == -80
