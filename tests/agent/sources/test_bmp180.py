"""The BMP180 driver on a bus that speaks its registers and times."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from clima_agent.sources import SensorError
from clima_agent.sources.bmp180 import QUANTITIES, Bmp180, Bmp180Chip, Constants, compensated
from clima_agent.sources.i2c import ChipSource
from tests.agent.fake_bus import Chip, FakeBme280, FakeBmp180, FakeBus

NOW = datetime(2024, 5, 1, 12, tzinfo=UTC)
EXAMPLE = Constants(*FakeBmp180.CONSTANTS)


def source(bus: FakeBus, oversampling: int = 0) -> ChipSource:
    return ChipSource(QUANTITIES, lambda: bus, lambda _: Bmp180Chip(bus, oversampling, bus.sleep))


def test_compensation_of_the_data_sheet() -> None:
    """Its worked example: 15.0 °C and 69964 Pa."""
    assert (15.0, 69964) == compensated(EXAMPLE, 27898, 23843, 0)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ((29144, 30528, 0), (24.8, 91931)),
        ((26558, 31728, 0), (3.5, 91140)),
        ((29914, 133435, 2), (30.7, 101869)),
        ((26006, 36708, 0), (-1.7, 104436)),
    ],
)
def test_compensation_rounds_as_the_data_sheet_does(
    raw: tuple[int, int, int], expected: tuple[float, int]
) -> None:
    """What its formulas say when they are compiled as C, whose divisions round towards 0."""
    assert expected == compensated(EXAMPLE, *raw)


@pytest.mark.parametrize("oversampling", range(4))
def test_measures_within_the_times_of_the_data_sheet(oversampling: int) -> None:
    """With more oversampling it takes longer and says the same, in finer steps."""
    chip = FakeBmp180()
    chip.up = 23843 << oversampling
    bus = FakeBus({0x77: chip})

    said = source(bus, oversampling).read(NOW)

    assert (15.0, "°C") == said["air_temperature"]
    assert pytest.approx(69964, abs=3) == said["air_pressure"].value
    assert "Pa" == said["air_pressure"].unit
    assert pytest.approx(0.010 + 0.0045 + chip.LONGEST_S[oversampling]) == bus.now


def test_says_what_is_at_its_address_instead() -> None:
    """A BME280 whose SDO is high has the same address."""
    with pytest.raises(SensorError, match="0x77: chip id 0x60, which is a BME280"):
        source(FakeBus({0x77: FakeBme280()})).read(NOW)
    with pytest.raises(SensorError, match="0x77: no answer"):
        source(FakeBus({})).read(NOW)


def test_a_conversion_that_never_ends_is_stuck() -> None:
    """Said so, never taken for a value; the reset before the next try ends it."""
    chip = FakeBmp180()
    bus = FakeBus({0x77: chip})
    driver = Bmp180Chip(bus, sleep=bus.sleep)
    chip.hung = True

    with pytest.raises(SensorError, match="0x77: stuck"):
        driver.measure()
    assert 2 == len(Bmp180Chip(bus, sleep=bus.sleep).measure())


@pytest.mark.parametrize("word", [b"\0\0", b"\xff\xff"])
def test_constants_that_cannot_be(word: bytes) -> None:
    """The data sheet: none of them is 0 or 0xFFFF; then the memory was not read."""
    chip = FakeBmp180()
    chip.registers[0xB0:0xB2] = word

    with pytest.raises(SensorError, match="0x77: answered rubbish: constants of 0 or 0xFFFF"):
        source(FakeBus({0x77: chip})).read(NOW)


def test_a_raw_value_that_cannot_be() -> None:
    """One that the formula divides by zero for."""
    chip = FakeBmp180()
    chip.ut = next(ut for ut in range(65536) if (ut - EXAMPLE.ac6) * EXAMPLE.ac5 >> 15 == -2868)

    with pytest.raises(SensorError, match="rubbish"):
        source(FakeBus({0x77: chip})).read(NOW)


def test_is_told_from_others_by_its_id() -> None:
    """Others at 0x77 have another."""
    chips = (FakeBmp180(), FakeBme280(), Chip())

    assert ["BMP180", None, None] == [
        Bmp180.identify(FakeBus({0x77: chip}), 0x77) for chip in chips
    ]
