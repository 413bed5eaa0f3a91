"""The I2C buses of the board: which there are, and how to open one, with the mend where not."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Protocol, cast

from clima_agent.sources.base import SensorError

TURN_ON = "turn it on by `sudo raspi-config nonint do_i2c 0`, or `dtparam=i2c_arm=on` in config.txt"
ADDRESSES = range(0x08, 0x78)  # the others are reserved by the I2C specification


class Bus(Protocol):
    """What drivers use of smbus2.SMBus; tests have one that speaks registers."""

    def read_byte(self, i2c_addr: int) -> int: ...
    def read_byte_data(self, i2c_addr: int, register: int) -> int: ...
    def read_word_data(self, i2c_addr: int, register: int) -> int: ...
    def read_i2c_block_data(self, i2c_addr: int, register: int, length: int) -> list[int]: ...
    def write_byte_data(self, i2c_addr: int, register: int, value: int) -> None: ...
    def close(self) -> None: ...


def buses(devices: Path = Path("/dev")) -> list[int]:
    """The numbers of the buses that the kernel shows."""
    return sorted(int(path.name[4:]) for path in devices.glob("i2c-*") if path.name[4:].isdigit())


def open_bus(number: int) -> Bus:
    """The bus, or SensorError with the line that mends it."""
    from smbus2 import SMBus  # noqa: PLC0415 - only stations with I2C need it

    device = f"/dev/i2c-{number}"
    try:
        return cast(Bus, SMBus(number))
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise SensorError(f"{device}: there is no such bus; {TURN_ON}") from error
        if error.errno in (errno.EACCES, errno.EPERM):
            user = os.environ.get("USER", "the agent's user")
            mend = f"`sudo usermod -aG i2c {user}`, then log in again"
            raise SensorError(f"{device}: not permitted; {mend}") from error
        raise SensorError(f"{device}: {error.strerror}") from error


def answering(bus: Bus) -> list[int]:
    """The addresses at which something answers, by reading one byte from each."""
    found = []
    for address in ADDRESSES:
        try:
            bus.read_byte(address)
        except OSError as error:
            if error.errno == errno.EBUSY:  # a kernel driver holds it: something is there
                found.append(address)
        else:
            found.append(address)
    return found
