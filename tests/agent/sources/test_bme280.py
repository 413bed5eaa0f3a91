"""The BME280 driver on a bus that speaks its registers."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from clima_agent.sources import SensorError, Setting
from clima_agent.sources.bme280 import QUANTITIES, Bme280, Bme280Chip
from clima_agent.sources.i2c import ChipSource
from tests.agent.fake_bus import NACK, Chip, FakeBme280, FakeBus

NOW = datetime(2024, 5, 1, 12, tzinfo=UTC)

# RPi.bme280 0.2.4 stamps its samples by a method that Python 3.12 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:.*utcnow:DeprecationWarning")


def source(*buses: FakeBus) -> ChipSource:
    left = iter(buses)
    return ChipSource(QUANTITIES, lambda: next(left), Bme280Chip)


def humidity_of_the_data_sheet(adc: int, t_fine: float) -> float:
    """Bosch BST-BME280-DS002, 8.1, written out once more."""
    h1, h2, h3, h4, h5, h6 = FakeBme280.H
    h = t_fine - 76800.0
    h = (adc - (h4 * 64.0 + h5 / 16384.0 * h)) * (
        h2 / 65536.0 * (1.0 + h6 / 67108864.0 * h * (1.0 + h3 / 67108864.0 * h))
    )
    return h * (1.0 - h1 * h / 524288.0)


def test_gives_the_values_of_the_data_sheet() -> None:
    """Bosch's worked example: 25.08 °C and 100653.3 Pa."""
    said = source(FakeBus({0x76: FakeBme280()})).read(NOW)

    assert {name: unit for name, (_, unit) in said.items()} == {
        "air_temperature": "°C",
        "air_pressure": "hPa",
        "relative_humidity": "%",
    }
    values = {name: value for name, (value, _) in said.items()}
    assert pytest.approx(25.08, abs=0.005) == values["air_temperature"]
    assert pytest.approx(1006.533, abs=0.0005) == values["air_pressure"]
    expected = humidity_of_the_data_sheet(30000, 25.0825 * 5120)
    assert pytest.approx(expected, abs=0.01) == values["relative_humidity"]


def test_finds_the_chip_at_its_second_address() -> None:
    """Something else at 0x76 does not keep it from looking at 0x77."""
    bus = FakeBus({0x76: Chip({0xD0: 0x55}), 0x77: FakeBme280()})

    assert len(source(bus).read(NOW)) == 3


def test_a_bmp280_has_no_humidity() -> None:
    """Its smaller sibling gives what it can; humidity is not measured, rather than null."""
    bmp280 = source(FakeBus({0x76: FakeBme280(chip_id=0x58)}))

    assert set(bmp280.read(NOW)) == {"air_temperature", "air_pressure"}
    assert set(bmp280.quantities) == {"air_temperature", "air_pressure"}


def test_says_what_is_at_its_addresses_instead() -> None:
    """The message has each address and what answered there, and the bus is closed again."""
    bus = FakeBus({0x77: Chip({0xD0: 0x55})})

    with pytest.raises(SensorError) as failure:
        source(bus).read(NOW)

    assert str(failure.value) == (
        "0x76: no answer; 0x77: chip id 0x55, which is a BMP180"
        " (`clima-agent scan` shows what is there)"
    )
    assert bus.closed


def test_a_bus_that_fails_is_opened_anew() -> None:
    """At once, so that the reading is not lost; and when that fails too, at the next."""
    buses = [FakeBus({0x76: FakeBme280()}) for _ in range(4)]
    bme280 = source(*buses)
    bme280.read(NOW)
    buses[0].fault = buses[2].fault = NACK

    assert len(bme280.read(NOW)) == 3
    buses[1].fault = NACK
    with pytest.raises(SensorError, match="no answer"):
        bme280.read(NOW)
    assert len(bme280.read(NOW)) == 3
    assert [True, True, True, False] == [bus.closed for bus in buses]


def test_a_chip_that_was_reset_is_no_reading() -> None:
    """The value of the data registers before any measurement must never be taken for weather."""
    chip = FakeBme280()
    chip.adc_temperature = 0x80000

    with pytest.raises(SensorError, match="has not measured"):
        source(FakeBus({0x76: chip})).read(NOW)


def test_humidity_that_was_skipped_is_null() -> None:
    """Temperature and pressure count all the same."""
    chip = FakeBme280()
    chip.adc_humidity = 0x8000

    said = source(FakeBus({0x76: chip})).read(NOW)

    assert said["relative_humidity"].value is None
    assert said["air_temperature"].value is not None


def test_no_i2c_is_said_with_the_line_that_turns_it_on() -> None:
    """Nothing is touched at `open`; the failure comes at `read`, where it is tried again."""
    missing = Bme280(bus=99).open(Setting(NOW, 10))

    with pytest.raises(SensorError, match=r"/dev/i2c-99: there is no such bus; .*raspi-config"):
        missing.read(NOW)
    missing.close()
