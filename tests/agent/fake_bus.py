"""An I2C bus that speaks registers and timing, and chips to put on it: what drivers are tested on.

Time is the bus's own and passes in `sleep` alone, so a driver that does not wait long enough reads
what the real chip would give it: nothing, or the value before. What can go wrong on real wires is
a switch here: a bus that is stuck, a chip that is absent, that answers nothing more until it is
reset, or whose bits are turned on the way.
"""

from __future__ import annotations

import ctypes
import errno
from collections.abc import Mapping
from typing import Any

READ = 0x0001  # I2C_M_RD of linux/i2c.h
NACK = OSError(errno.EREMOTEIO, "Remote I/O error")  # nobody says that the byte was taken


class Chip:
    """256 registers behind one address; a write names the register that is read next."""

    def __init__(self, registers: Mapping[int, int] | None = None) -> None:
        self.registers = bytearray(256)
        self.pointer = 0
        self.now = 0.0
        for register, value in (registers or {}).items():
            self.registers[register] = value

    def put(self, register: int, value: int, length: int = 2) -> None:
        """A little-endian number, signed or not, over `length` registers."""
        raw = (value % (1 << 8 * length)).to_bytes(length, "little")
        self.registers[register : register + length] = raw

    def written(self, register: int, value: int) -> None:
        """What the chip does when a register is written to."""
        self.registers[register] = value

    def write(self, data: bytes) -> None:
        self.pointer = data[0]
        for offset, value in enumerate(data[1:]):
            self.written(self.pointer + offset, value)

    def read(self, length: int) -> bytes:
        return bytes(self.registers[self.pointer : self.pointer + length])


class FakeBus:
    """The part of smbus2.SMBus that Clima uses; `fault` is what every transfer fails with."""

    def __init__(self, chips: Mapping[int, Chip]) -> None:
        self.chips = dict(chips)
        self.now = 0.0
        self.fault: OSError | None = None
        self.closed = False
        self.transfers = 0

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def _chip(self, address: int) -> Chip:
        self.transfers += 1
        if self.fault:
            raise self.fault
        if self.closed or address not in self.chips:
            raise NACK
        chip = self.chips[address]
        chip.now = self.now
        return chip

    def i2c_rdwr(self, *i2c_msgs: Any) -> None:
        for message in i2c_msgs:
            chip = self._chip(message.addr)
            if message.flags & READ:
                ctypes.memmove(message.buf, chip.read(message.len), message.len)
            else:
                chip.write(bytes(message))

    def read_byte(self, i2c_addr: int) -> int:
        return self._chip(i2c_addr).read(1)[0]

    def write_byte(self, i2c_addr: int, value: int) -> None:
        self._chip(i2c_addr).write(bytes((value,)))

    def read_byte_data(self, i2c_addr: int, register: int) -> int:
        return self.read_i2c_block_data(i2c_addr, register, 1)[0]

    def read_word_data(self, i2c_addr: int, register: int) -> int:
        return int.from_bytes(self.read_i2c_block_data(i2c_addr, register, 2), "little")

    def read_i2c_block_data(self, i2c_addr: int, register: int, length: int) -> list[int]:
        chip = self._chip(i2c_addr)
        chip.write(bytes((register,)))
        return list(chip.read(length))

    def write_byte_data(self, i2c_addr: int, register: int, value: int) -> None:
        self._chip(i2c_addr).write(bytes((register, value)))

    def close(self) -> None:
        self.closed = True


class FakeBme280(Chip):
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


class FakeHtu21d(Chip):
    """An HTU21D with the raw values of its data sheet; others take other times to measure."""

    def __init__(
        self, user: int = 0x02, temperature_s: float = 0.050, humidity_s: float = 0.016
    ) -> None:
        super().__init__()
        self.user = user
        self.temperature_s, self.humidity_s = temperature_s, humidity_s
        self.temperature, self.humidity = 0x4E85, 0x683A
        self.hung = False  # measures for ever, until it is reset
        self.turned_bits = 0  # transfers still to be spoilt
        self.resets = 0
        self._ready_at = 0.0
        self._answer = b""

    def write(self, data: bytes) -> None:
        if data == b"\xfe":
            self.hung, self.resets = False, self.resets + 1
            self._busy(0.015, b"")
        elif self.now < self._ready_at:
            raise NACK
        elif data == b"\xe7":
            self._busy(0, bytes((self.user,)))
        elif data[:1] == b"\xe6" and len(data) == 2:
            self.user = data[1]
        elif data == b"\xf3":
            self._busy(self.temperature_s, self._measured(self.temperature))
        elif data == b"\xf5":
            self._busy(self.humidity_s, self._measured(self.humidity))
        else:
            raise NACK

    def read(self, length: int) -> bytes:
        if self.hung or self.now < self._ready_at or not self._answer:
            raise NACK
        answer, self._answer = self._answer, b""
        return (answer + b"\xff" * length)[:length]

    def _busy(self, seconds: float, answer: bytes) -> None:
        self._ready_at, self._answer = self.now + seconds, answer

    def _measured(self, raw: int) -> bytes:
        spoilt = 0x10 if self.turned_bits > 0 else 0
        self.turned_bits -= 1
        return (raw ^ spoilt).to_bytes(2, "big") + bytes((remainder(raw),))


def remainder(raw: int) -> int:
    """The CRC of two bytes as what it is by definition: the rest of a division of polynomials."""
    rest = raw << 8
    for bit in range(23, 7, -1):
        if rest >> bit & 1:
            rest ^= 0x131 << (bit - 8)
    return rest


class FakeBmp180(Chip):
    """A BMP180 with the constants and the raw values of the data sheet's worked example."""

    CONSTANTS = (408, -72, -14383, 32741, 32757, 23153, 6190, 4, -32768, -8711, 2868)
    LONGEST_S = (0.0045, 0.0075, 0.0135, 0.0255)

    def __init__(self) -> None:
        super().__init__({0xD0: 0x55})
        for i, value in enumerate(self.CONSTANTS):
            self.registers[0xAA + 2 * i : 0xAC + 2 * i] = (value % 65536).to_bytes(2, "big")
        self.ut, self.up = 27898, 23843
        self.hung = False
        self._started_at = self._ready_at = 0.0
        self._result = bytes(3)

    def written(self, register: int, value: int) -> None:
        """A command to `ctrl_meas` starts a conversion; the reset ends what it hung in."""
        super().written(register, value)
        if register == 0xE0 and value == 0xB6:
            self.hung = False
            self._started_at = self.now + 0.010
        elif register == 0xF4:
            over = value >> 6
            if value & 0x1F == 0x0E:
                self._result = self.ut.to_bytes(2, "big") + b"\0"
                self._ready_at = self.now + 0.0045
            else:
                self._result = (self.up << 8 - over).to_bytes(3, "big")
                self._ready_at = self.now + self.LONGEST_S[over]

    def write(self, data: bytes) -> None:
        if self.now < self._started_at:
            raise NACK
        super().write(data)

    def read(self, length: int) -> bytes:
        if not self.hung and self.now >= self._ready_at:
            self.registers[0xF4] &= ~0x20
            self.registers[0xF6:0xF9] = self._result
        return super().read(length)


class FakeBh1750(Chip):
    """A BH1750 in a light of `lux`; it never refuses a read, it gives what it had before."""

    def __init__(self, lux: float = 33680 / 1.2) -> None:
        super().__init__()
        self.lux = lux
        self.on = self.hung = False
        self.time = 69
        self._data = self._next = 0
        self._ready_at: float | None = None

    def write(self, data: bytes) -> None:
        (command,) = data
        self._settle()
        if command in (0x00, 0x01):
            self.on = bool(command)
        elif command == 0x07 and self.on:
            self._data = 0
        elif command & 0xF8 == 0x40:
            self.time = (command & 0x07) << 5 | self.time & 0x1F
        elif command & 0xE0 == 0x60:
            self.time = self.time & 0xE0 | command & 0x1F
        elif command == 0x20 and not self.hung:
            self._next = min(round(self.lux * 1.2 * self.time / 69), 0xFFFF)
            self._ready_at = self.now + 0.180 * self.time / 69 - 1e-9

    def read(self, length: int) -> bytes:
        self._settle()
        return self._data.to_bytes(2, "big")[:length]

    def _settle(self) -> None:
        if self._ready_at is not None and self.now >= self._ready_at:
            self._data, self._ready_at, self.on = self._next, None, False
