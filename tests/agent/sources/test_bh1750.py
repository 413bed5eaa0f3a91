"""The BH1750 driver on a bus that speaks its commands and times."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from clima_agent.sources import SensorError
from clima_agent.sources.bh1750 import QUANTITIES, Bh1750, Bh1750Chip, lux
from clima_agent.sources.i2c import ChipSource
from tests.agent.fake_bus import Chip, FakeBh1750, FakeBus

NOW = datetime(2024, 5, 1, 12, tzinfo=UTC)


def said(bus: FakeBus, sensitivity: float = 1.0) -> float | None:
    source = ChipSource(
        QUANTITIES, lambda: bus, lambda _: Bh1750Chip(bus, 0x23, sensitivity, bus.sleep)
    )
    value, unit = source.read(NOW)["illuminance"]
    assert "lx" == unit
    return value


def test_conversion_of_the_data_sheet() -> None:
    """0x8390 is 28067 lx; at twice the measurement time, half of that."""
    assert pytest.approx(28067, abs=0.5) == lux(0x8390)
    assert pytest.approx(28067 / 2, abs=0.5) == lux(0x8390, 138)


@pytest.mark.parametrize("sensitivity", [0.45, 1.0, 2.0, 3.68])
def test_measures_as_long_as_the_sensitivity_asks(sensitivity: float) -> None:
    """The light is the same; the step is finer the longer it takes."""
    bus = FakeBus({0x23: FakeBh1750(lux=1234.5)})

    value = said(bus, sensitivity)

    assert pytest.approx(1234.5, abs=0.5 / 1.2 / sensitivity + 0.01) == value
    assert pytest.approx(0.180 * round(69 * sensitivity) / 69) == bus.now


@pytest.mark.parametrize(
    ("light", "value"), [(0, 0), (54000, 54000), (60000, 60000), (121000, 121000)]
)
def test_full_sun_is_measured_again_with_less_sensitivity(light: float, value: float) -> None:
    """Beyond 54612 lx the usual measurement is saturated."""
    assert pytest.approx(value, abs=2) == said(FakeBus({0x23: FakeBh1750(lux=light)}))


def test_what_is_saturated_all_the_same_is_null() -> None:
    """Measured, and unusable: a value would be too low by no one knows how much."""
    assert said(FakeBus({0x23: FakeBh1750(lux=130000)})) is None


def test_a_chip_that_does_not_measure_shows_no_light_of_earlier() -> None:
    """Its register is emptied first: 0, which stands still and is flagged, instead of a lie."""
    chip = FakeBh1750(lux=500)
    bus = FakeBus({0x23: chip})
    assert said(bus)
    chip.hung = True
    bus.closed = False

    assert 0 == said(bus)


def test_an_absent_chip_is_said() -> None:
    """As for every chip."""
    with pytest.raises(SensorError, match=r"no answer on the I2C bus .*is it wired"):
        said(FakeBus({}))


def test_is_told_from_an_expander() -> None:
    """A port expander at the same address reads as what was written to it."""
    expander = Chip({0x07: 0x07, 0x08: 0x07})

    assert "BH1750" == Bh1750.identify(FakeBus({0x23: FakeBh1750()}), 0x23)
    assert Bh1750.identify(FakeBus({0x23: expander}), 0x23) is None


def test_only_its_two_addresses_are_options() -> None:
    """Neither lies between the other's neighbours, so limits alone do not say it."""
    assert 0x5C == Bh1750(address=0x5C).address
    with pytest.raises(ValueError, match="expected 0x23 or 0x5c, found 0x24"):
        Bh1750(address=0x24)
