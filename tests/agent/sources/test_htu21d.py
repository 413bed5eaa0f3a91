"""The HTU21D driver on a bus that speaks its commands, times and CRCs."""

from __future__ import annotations

import errno
from datetime import UTC, datetime

import pytest

from clima_agent.sources import SensorError
from clima_agent.sources.htu21d import QUANTITIES, Htu21d, Htu21dChip, celsius, crc8, percent
from clima_agent.sources.i2c import ChipSource
from tests.agent.fake_bus import NACK, Chip, FakeBus, FakeHtu21d

NOW = datetime(2024, 5, 1, 12, tzinfo=UTC)


def source(bus: FakeBus) -> ChipSource:
    def connect() -> FakeBus:
        bus.closed = False
        return bus

    return ChipSource(QUANTITIES, connect, lambda _: Htu21dChip(bus, bus.sleep))


def values(bus: FakeBus) -> dict[str, float | None]:
    return {name: value for name, (value, _) in source(bus).read(NOW).items()}


@pytest.mark.parametrize(("data", "crc"), [("dc", 0x79), ("683a", 0x7C), ("4e85", 0x6B)])
def test_crc_of_the_data_sheet(data: str, crc: int) -> None:
    """Its three examples."""
    assert crc == crc8(bytes.fromhex(data))


def test_conversion_of_the_data_sheet() -> None:
    """The two status bits do not count; the ends of the range are those of the formulas."""
    assert pytest.approx(-46.85 + 175.72 * 0x4E84 / 65536) == celsius(0x4E85)
    assert pytest.approx(7.04, abs=0.01) == celsius(0x4E85)
    assert pytest.approx(44.89, abs=0.01) == percent(0x683A)
    assert [-46.85, -6] == [celsius(0b11), percent(0b11)]


@pytest.mark.parametrize(("raw", "expected"), [(0xD940, 100.0), (0xE000, 100.0), (0xE400, 105.328)])
def test_a_little_more_than_saturated_is_saturated(raw: int, expected: float) -> None:
    """Within the tolerance of the chip; beyond it the value stays, for the check to flag."""
    assert pytest.approx(expected, abs=0.001) == percent(raw)


@pytest.mark.parametrize(("raw", "expected"), [(0x0C48, 0.0), (0x0A3C, 0.0), (0x0200, -5.023)])
def test_a_little_less_than_dry_is_dry(raw: int, expected: float) -> None:
    """As in a desert at noon: the Si7021's data sheet says that it is to be expected."""
    assert pytest.approx(expected, abs=0.001) == percent(raw)


def test_measures_within_the_times_of_the_data_sheet() -> None:
    """A reset, then each value as soon as the chip must have it, and not before."""
    bus = FakeBus({0x40: FakeHtu21d()})

    assert {"air_temperature": celsius(0x4E85), "relative_humidity": percent(0x683A)} == values(bus)
    assert pytest.approx(0.015 + 0.050 + 0.016) == bus.now


SHT21_TYPICAL, SHT21_LONGEST = (0.066, 0.022), (0.085, 0.029)
SI7021_LONGEST = (0.0108, 0.0228)  # for humidity it measures the temperature as well


@pytest.mark.parametrize("times_s", [SHT21_TYPICAL, SHT21_LONGEST, SI7021_LONGEST])
def test_others_that_take_longer_are_waited_for(times_s: tuple[float, float]) -> None:
    """SHT20, SHT21 and Si7021 by their data sheets, at 14 and 12 bits; none is reset for it."""
    chip = FakeHtu21d(0x02, *times_s)
    bus = FakeBus({0x40: chip})

    assert {"air_temperature": celsius(0x4E85), "relative_humidity": percent(0x683A)} == values(bus)
    assert 1 == chip.resets
    assert bus.now <= 0.015 + 0.085 + 0.029 + 1e-9


@pytest.mark.parametrize("reserved", range(0, 0x40, 0x08))
def test_reserved_bits_are_the_makers(reserved: int) -> None:
    """Bits 3 to 5 "may change over time without prior notice": both data sheets say so."""
    bus = FakeBus({0x40: FakeHtu21d(0x02 | reserved)})

    assert 2 == len(values(bus))
    assert Htu21d.identify(bus, 0x40) in ("HTU21D", "Si7021")


@pytest.mark.parametrize("user", [0x00, 0x03, 0x82, 0x83, 0xFF])
def test_other_settings_than_after_a_reset_are_another_chips(user: int) -> None:
    """Another resolution, or settings that are loaded anew before each measurement."""
    bus = FakeBus({0x40: FakeHtu21d(user)})

    assert Htu21d.identify(bus, 0x40) is None
    with pytest.raises(SensorError, match=f"its user register is 0x{user:02x} after a reset"):
        values(bus)


def test_a_heater_that_somebody_left_on_is_turned_off() -> None:
    """The reset alone does not, say the data sheets; and the reserved bits stay what they are."""
    chip = FakeHtu21d(0x3E)

    assert 2 == len(values(FakeBus({0x40: chip})))
    assert 0x3A == chip.user


def test_one_lost_transfer_costs_no_reading() -> None:
    """Bits turned on the wire: the CRC says so, the chip is reset and asked again at once."""
    chip = FakeHtu21d()
    htu21d = source(FakeBus({0x40: chip}))
    htu21d.read(NOW)
    chip.turned_bits = 1

    assert 2 == len(htu21d.read(NOW))
    assert 2 == chip.resets


def test_wires_that_keep_turning_bits_are_said_with_the_mend() -> None:
    """What came, and what to do about it."""
    chip = FakeHtu21d()
    chip.turned_bits = 9

    with pytest.raises(SensorError, match="rubbish: 4e 95 has not the CRC 6b; shorten the wires"):
        source(FakeBus({0x40: chip})).read(NOW)


def test_a_hung_chip_is_reset() -> None:
    """It takes the reset and nothing else."""
    chip = FakeHtu21d()
    htu21d = source(FakeBus({0x40: chip}))
    htu21d.read(NOW)
    chip.hung = True

    assert 2 == len(htu21d.read(NOW))


@pytest.mark.parametrize(("temperature", "humidity"), [(0, 0), (0x683A, 0x683A), (0x4E85, 0x4E85)])
def test_rubbish_with_the_right_crc(temperature: int, humidity: int) -> None:
    """A data line held low reads as zeros, whose CRC is zero: the status bits give it away."""
    chip = FakeHtu21d()
    chip.temperature, chip.humidity = temperature, humidity

    with pytest.raises(SensorError, match="rubbish: its status bits are wrong"):
        source(FakeBus({0x40: chip})).read(NOW)


def test_a_stuck_bus_is_not_asked_twice() -> None:
    """The kernel waits a second for it, and the agent two for an answer."""
    bus = FakeBus({0x40: FakeHtu21d()})
    htu21d = source(bus)
    htu21d.read(NOW)
    bus.fault = OSError(errno.ETIMEDOUT, "Connection timed out")
    bus.transfers = 0

    with pytest.raises(SensorError, match="the bus is stuck"):
        htu21d.read(NOW)
    assert 1 == bus.transfers


def test_another_chip_at_its_address() -> None:
    """An INA219, a PCA9685: they take the address, and have no such register."""
    with pytest.raises(SensorError, match=r"0x40: is no HTU21D, SHT21 or Si7021: .* 0x00 .*scan"):
        source(FakeBus({0x40: Chip()})).read(NOW)


def test_a_weak_supply_is_said() -> None:
    """The chip knows: below 2.25 V what it measures is worth nothing."""
    with pytest.raises(SensorError, match=r"below 2\.25 V"):
        source(FakeBus({0x40: FakeHtu21d(user=0x42)})).read(NOW)


@pytest.mark.parametrize(
    ("fault", "mend"),
    [
        (NACK, "is it wired and supplied?"),
        (OSError(errno.ETIMEDOUT, "Connection timed out"), "the bus is stuck: is SDA or SCL"),
        (OSError(errno.EBUSY, "Device or resource busy"), "take its dtoverlay line out"),
    ],
)
def test_each_failure_of_the_bus_has_its_mend(fault: OSError, mend: str) -> None:
    """And the bus is closed, to be opened anew at the next reading."""
    bus = FakeBus({0x40: FakeHtu21d()})
    bus.fault = fault
    htu21d = source(bus)

    with pytest.raises(SensorError, match="no answer on the I2C bus") as failure:
        htu21d.read(NOW)
    assert mend in str(failure.value)
    assert bus.closed
    bus.fault = None
    assert 2 == len(htu21d.read(NOW))


@pytest.mark.parametrize(
    ("chip", "expected"),
    [(FakeHtu21d(), "HTU21D"), (FakeHtu21d(user=0x3A), "Si7021"), (Chip(), None)],
)
def test_is_told_from_others(chip: Chip, expected: str | None) -> None:
    """By its user register, as it has no id; reading it changes nothing in other chips."""
    assert expected == Htu21d.identify(FakeBus({0x40: chip}), 0x40)
