"""Bosch BMP180 on I2C: pressure and temperature.

Compensated as in the data sheet (BST-BMP180-DS000, 3.5), in whole numbers. A BMP085 answers and
calculates alike. The temperature is there to compensate the pressure: it is good to 1 °C or two,
so a BMP180 is best listed after a thermometer.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from typing import Annotated, ClassVar, NamedTuple

from msgspec import Meta

from clima_agent.sources import i2c
from clima_agent.sources.base import Measured, SensorError, Setting

ADDRESS = 0x77
CHIPS = {0x55: "BMP180"}
CALIBRATION, CONTROL, OUT, RESET = 0xAA, 0xF4, 0xF6, 0xE0
TEMPERATURE, PRESSURE = 0x2E, 0x34
CONVERTING = 0x20
TEMPERATURE_S = 0.0045
PRESSURE_S = (0.0045, 0.0075, 0.0135, 0.0255)  # longest times, by oversampling
START_S = 0.010
QUANTITIES = ("air_pressure", "air_temperature")


class Bmp180(i2c.OnI2c, frozen=True, tag="bmp180"):
    """`oversampling` from 0 (1 sample, 0.06 hPa of noise) to 3 (8 samples, 0.03 hPa)."""

    ADDRESSES: ClassVar[tuple[int, ...]] = (ADDRESS,)

    name: Annotated[
        str, Meta(pattern=r"^bmp180(-[2-9])?$", description='"bmp180", or "bmp180-2" to "bmp180-9"')
    ] = "bmp180"
    address: int = ADDRESS
    oversampling: Annotated[int, Meta(ge=0, le=3)] = 3

    def open(self, _: Setting, /) -> i2c.ChipSource:
        return i2c.ChipSource(
            QUANTITIES,
            lambda: i2c.open_bus(self.bus),
            lambda bus: Bmp180Chip(bus, self.oversampling),
        )

    @classmethod
    def identify(cls, bus: i2c.Bus, address: int) -> str | None:
        """By its id."""
        return CHIPS.get(bus.read_byte_data(address, i2c.CHIP_ID))


class Constants(NamedTuple):
    """What each chip is shipped with, in the data sheet's names."""

    ac1: int
    ac2: int
    ac3: int
    ac4: int
    ac5: int
    ac6: int
    b1: int
    b2: int
    mb: int
    mc: int
    md: int


class Bmp180Chip:
    """A chip that has answered with its id, and its constants."""

    quantities = QUANTITIES

    def __init__(
        self, bus: i2c.Bus, oversampling: int = 3, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._bus = bus
        self._oversampling = oversampling
        self._sleep = sleep
        i2c.find(bus, (ADDRESS,), CHIPS)
        bus.write_byte_data(ADDRESS, RESET, 0xB6)
        sleep(START_S)
        memory = bytes(bus.read_i2c_block_data(ADDRESS, CALIBRATION, 22))
        self._constants = Constants._make(struct.unpack(">3h3H5h", memory))
        if not {b"\0\0", b"\xff\xff"}.isdisjoint(struct.unpack("2s" * 11, memory)):
            raise SensorError("0x77: answered rubbish: constants of 0 or 0xFFFF, as none may be")

    def measure(self) -> dict[str, Measured]:
        """Takes 9 to 30 ms."""
        over = self._oversampling
        temperature = self._raw(TEMPERATURE, TEMPERATURE_S) >> 8
        pressure = self._raw(PRESSURE | over << 6, PRESSURE_S[over]) >> 8 - over
        try:
            celsius, pascal = compensated(self._constants, temperature, pressure, over)
        except ZeroDivisionError:
            raise SensorError("0x77: answered rubbish: no temperature makes that") from None
        return {
            "air_pressure": Measured(pascal, "Pa"),
            "air_temperature": Measured(celsius, "°C"),
        }

    def _raw(self, command: int, longest_s: float) -> int:
        self._bus.write_byte_data(ADDRESS, CONTROL, command)
        self._sleep(longest_s)
        if self._bus.read_byte_data(ADDRESS, CONTROL) & CONVERTING:
            raise SensorError("0x77: stuck: it never ends its conversion; is its supply weak?")
        return int.from_bytes(self._bus.read_i2c_block_data(ADDRESS, OUT, 3), "big")


def compensated(c: Constants, ut: int, up: int, oversampling: int) -> tuple[float, int]:
    """Degrees Celsius and pascal of raw values, step by step as the data sheet has it.

    Its divisions are C's, which round towards 0: Python's, which round down, are some pascals out.
    """
    x1 = (ut - c.ac6) * c.ac5 >> 15
    b5 = x1 + int((c.mc << 11) / (x1 + c.md))
    celsius = (b5 + 8 >> 4) / 10
    b6 = b5 - 4000
    x3 = (c.b2 * (b6 * b6 >> 12) >> 11) + (c.ac2 * b6 >> 11)
    b3 = int(((c.ac1 * 4 + x3 << oversampling) + 2) / 4)
    x3 = (c.ac3 * b6 >> 13) + (c.b1 * (b6 * b6 >> 12) >> 16) + 2 >> 2
    b4 = c.ac4 * (x3 + 32768) >> 15
    p = 2 * (up - b3) * (50000 >> oversampling) // b4
    x1 = (p >> 8) * (p >> 8) * 3038 >> 16
    x2 = -7357 * p >> 16
    return celsius, p + (x1 + x2 + 3791 >> 4)
