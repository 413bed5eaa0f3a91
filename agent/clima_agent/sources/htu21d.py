"""TE Connectivity HTU21D on I2C: temperature and humidity. Si7021, SHT20, SHT21 speak the same.

Measured without holding the bus: command, wait as long as the data sheet allows, read two bytes
and their CRC. It answers nothing while it measures; the others may take longer, so who does not
answer yet is asked once more, when the slowest must have it. Whenever it is found it is reset
first, which ends whatever it hung in and takes back the settings of others; all but the heater,
which is turned off by hand.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated, ClassVar

from msgspec import Meta

from clima_agent.sources import i2c
from clima_agent.sources.base import Measured, SensorError, Setting

ADDRESS = 0x40
TEMPERATURE, HUMIDITY = 0xF3, 0xF5
RESET, READ_USER, WRITE_USER = 0xFE, 0xE7, 0xE6
RESET_S = 0.015
# Longest times at 14 and 12 bits: of the HTU21D, and of the slowest of the others,
# SHT20 and SHT21 (Sensirion, table 7). For humidity an Si7021 takes up to 23 ms.
TEMPERATURE_S, HUMIDITY_S = (0.050, 0.085), (0.016, 0.029)
IS_HUMIDITY = 0b10  # status bit of a raw value: which of the two was measured
# The user register: after a reset the settings are these. The reserved bits may be anything, and
# change "without prior notice" (both data sheets); in an Si7021 they are set.
SETTINGS, HEATER, BATTERY, RESERVED = 0b1000_0011, 0b0000_0100, 0b0100_0000, 0b0011_1000
AFTER_RESET = 0b10
TOLERANCE = 5.0  # %, at the ends of the range
QUANTITIES = ("air_temperature", "relative_humidity")


class Htu21d(i2c.OnI2c, frozen=True, tag="htu21d"):
    """Its address is fixed."""

    ADDRESSES: ClassVar[tuple[int, ...]] = (ADDRESS,)

    name: Annotated[
        str, Meta(pattern=r"^htu21d(-[2-9])?$", description='"htu21d", or "htu21d-2" to "htu21d-9"')
    ] = "htu21d"
    address: int = ADDRESS

    def open(self, _: Setting, /) -> i2c.ChipSource:
        return i2c.ChipSource(QUANTITIES, lambda: i2c.open_bus(self.bus), Htu21dChip)

    @classmethod
    def identify(cls, bus: i2c.Bus, address: int) -> str | None:
        """It has no chip id; its user register after power-on tells it from others at 0x40."""
        user = bus.read_byte_data(address, READ_USER)
        if user & (SETTINGS | HEATER) != AFTER_RESET:
            return None
        return "Si7021" if user & RESERVED == RESERVED else "HTU21D"


class Htu21dChip:
    """A chip that has been reset."""

    quantities = QUANTITIES

    def __init__(self, bus: i2c.Bus, sleep: Callable[[float], None] = time.sleep) -> None:
        self._bus = bus
        self._sleep = sleep
        bus.write_byte(ADDRESS, RESET)
        sleep(RESET_S)
        user = bus.read_byte_data(ADDRESS, READ_USER)
        if user & SETTINGS != AFTER_RESET:
            found = f"its user register is 0x{user:02x} after a reset"
            raise SensorError(f"0x40: is no HTU21D, SHT21 or Si7021: {found} ({i2c.SCAN})")
        if user & BATTERY:
            raise SensorError("0x40: the supply of the HTU21D is below 2.25 V; mend the wiring")
        if user & HEATER:
            bus.write_byte_data(ADDRESS, WRITE_USER, user & ~HEATER)

    def measure(self) -> dict[str, Measured]:
        """Takes 66 ms, an SHT21 up to 114.

        Humidity a little above 100 % is the tolerance of the chip: saturation; as below 0 %.
        """
        temperature = self._raw(TEMPERATURE, *TEMPERATURE_S)
        humidity = self._raw(HUMIDITY, *HUMIDITY_S)
        if temperature & IS_HUMIDITY or not humidity & IS_HUMIDITY:
            raise SensorError("0x40: answered rubbish: its status bits are wrong")
        return {
            "air_temperature": Measured(celsius(temperature), "°C"),
            "relative_humidity": Measured(percent(humidity), "%"),
        }

    def _raw(self, command: int, usual_s: float, longest_s: float) -> int:
        self._bus.write_byte(ADDRESS, command)
        self._sleep(usual_s)
        try:
            high, low, check = i2c.read(self._bus, ADDRESS, 3)
        except OSError as error:
            if error.errno in i2c.MENDS:  # not that it measures: to wait mends none of these
                raise
            self._sleep(longest_s - usual_s)
            high, low, check = i2c.read(self._bus, ADDRESS, 3)
        if crc8(bytes((high, low))) != check:
            raise SensorError(
                f"0x40: answered rubbish: {high:02x} {low:02x} has not the CRC {check:02x};"
                " shorten the wires, or slow the bus down by dtparam=i2c_arm_baudrate=50000"
            )
        return high << 8 | low


def celsius(raw: int) -> float:
    """Data sheet, "conversion of signal outputs"; the two status bits do not count."""
    return -46.85 + 175.72 * (raw & ~0b11) / 65536


def percent(raw: int) -> float:
    """As above. Beyond 0 or 100 % by the tolerance it is that; beyond that it gets its flag."""
    humidity = -6 + 125 * (raw & ~0b11) / 65536
    within = -TOLERANCE <= humidity <= 100 + TOLERANCE
    return min(max(humidity, 0.0), 100.0) if within else humidity


def crc8(data: bytes) -> int:
    """CRC-8 with the polynomial x^8 + x^5 + x^4 + 1 and the initial value 0."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ 0x31) & 0xFF if crc & 0x80 else crc << 1
    return crc
