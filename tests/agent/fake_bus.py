"""An I2C bus that speaks registers, and chips to put on it: what drivers are tested on."""

from __future__ import annotations

import errno
from collections.abc import Mapping


class Chip:
    """256 registers behind one address."""

    def __init__(self, registers: Mapping[int, int] | None = None) -> None:
        self.registers = bytearray(256)
        for register, value in (registers or {}).items():
            self.registers[register] = value

    def put(self, register: int, value: int, length: int = 2) -> None:
        """A little-endian number, signed or not, over `length` registers."""
        raw = (value % (1 << 8 * length)).to_bytes(length, "little")
        self.registers[register : register + length] = raw

    def written(self, register: int, value: int) -> None:
        """What the chip does when it is written to."""
        self.registers[register] = value


class FakeBus:
    """The part of smbus2.SMBus that Clima uses; `silent` makes every transfer fail."""

    def __init__(self, chips: Mapping[int, Chip]) -> None:
        self.chips = dict(chips)
        self.silent = False
        self.closed = False

    def _chip(self, address: int) -> Chip:
        if self.silent or self.closed or address not in self.chips:
            raise OSError(errno.EREMOTEIO, "Remote I/O error")
        return self.chips[address]

    def read_byte(self, i2c_addr: int) -> int:
        return self._chip(i2c_addr).registers[0]

    def read_byte_data(self, i2c_addr: int, register: int) -> int:
        return self._chip(i2c_addr).registers[register]

    def read_word_data(self, i2c_addr: int, register: int) -> int:
        return int.from_bytes(self._chip(i2c_addr).registers[register : register + 2], "little")

    def read_i2c_block_data(self, i2c_addr: int, register: int, length: int) -> list[int]:
        return list(self._chip(i2c_addr).registers[register : register + length])

    def write_byte_data(self, i2c_addr: int, register: int, value: int) -> None:
        self._chip(i2c_addr).written(register, value)

    def close(self) -> None:
        self.closed = True


class Bme280Chip(Chip):
    """A BME280 with the calibration and the raw values of Bosch's worked example.

    The data sheet's example has no humidity; those constants are a real chip's.
    """

    T = (27504, 26435, -1000)
    P = (36477, -10685, 3024, 2855, 140, -7, 15500, -14600, 6000)
    H = (75, 370, 0, 302, 50, 30)  # H1 … H6

    def __init__(self, chip_id: int = 0x60) -> None:
        super().__init__({0xD0: chip_id})
        for i, value in enumerate(self.T + self.P):
            self.put(0x88 + 2 * i, value)
        h1, h2, h3, h4, h5, h6 = self.H
        self.put(0xA1, h1, 1)
        self.put(0xE1, h2)
        self.put(0xE3, h3, 1)
        self.put(0xE4, h4 >> 4, 1)
        self.put(0xE5, (h5 & 0x0F) << 4 | h4 & 0x0F, 1)
        self.put(0xE6, h5 >> 4, 1)
        self.put(0xE7, h6, 1)
        self.adc_temperature, self.adc_pressure, self.adc_humidity = 519888, 415148, 30000
        self._show(0x80000, 0x80000, 0x8000)  # as after power-on

    def written(self, register: int, value: int) -> None:
        """A write of forced mode to `ctrl_meas` makes it measure, once."""
        super().written(register, value)
        if register == 0xF4 and value & 0b11 in (1, 2):
            self._show(self.adc_temperature, self.adc_pressure, self.adc_humidity)
            self.registers[register] = value & ~0b11

    def _show(self, temperature: int, pressure: int, humidity: int) -> None:
        self.registers[0xF7:0xFF] = (
            (pressure << 4).to_bytes(3, "big")
            + (temperature << 4).to_bytes(3, "big")
            + humidity.to_bytes(2, "big")
        )
