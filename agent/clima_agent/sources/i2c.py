"""The I2C buses of the board: which there are, how to open one, and what reads a chip on it.

A driver for a chip has a class that knows the chip and takes an open bus: making one finds the
chip and resets it, `measure` asks it. `ChipSource` makes a source of that: it opens the bus when
first needed, and anew after any failure; one lost transfer costs no reading, as a chip that has
worked is asked once more at once.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, ClassVar, Protocol, cast

from msgspec import Meta

from clima_agent import permissions
from clima_agent.sources.base import Measured, Options, SensorError

TURN_ON = "turn it on by `sudo raspi-config nonint do_i2c 0`, or `dtparam=i2c_arm=on` in config.txt"
SCAN = "`clima-agent scan` shows what is there"
ADDRESSES = range(0x08, 0x78)  # the others are reserved by the I2C specification
MENDS = {
    errno.EBUSY: "a kernel driver holds the chip; take its dtoverlay line out of config.txt",
    errno.ETIMEDOUT: "the bus is stuck: is SDA or SCL shorted, or a chip hung? power it off once",
}
CHIP_ID = 0xD0  # where Bosch's chips say which they are
CHIP_IDS = {0x55: "BMP180", 0x58: "BMP280", 0x60: "BME280", 0x61: "BME680"}


class Bus(Protocol):
    """What drivers use of smbus2.SMBus; tests have one that speaks registers."""

    def read_byte(self, i2c_addr: int) -> int: ...
    def read_byte_data(self, i2c_addr: int, register: int) -> int: ...
    def read_word_data(self, i2c_addr: int, register: int) -> int: ...
    def read_i2c_block_data(self, i2c_addr: int, register: int, length: int) -> list[int]: ...
    def write_byte(self, i2c_addr: int, value: int) -> None: ...
    def write_byte_data(self, i2c_addr: int, register: int, value: int) -> None: ...
    def i2c_rdwr(self, *i2c_msgs: Any) -> None: ...
    def close(self) -> None: ...


class OnI2c(Options, frozen=True, kw_only=True):
    """What the options of a driver have whose chip is on I2C; `ADDRESSES` are those it may have."""

    ADDRESSES: ClassVar[tuple[int, ...]]

    bus: Annotated[int, Meta(ge=0, le=99)] = 1
    address: int | None = None  # the first at which such a chip answers

    def __post_init__(self) -> None:
        if self.address not in (None, *self.ADDRESSES):
            right = " or ".join(f"{each:#04x}" for each in self.ADDRESSES)
            raise ValueError(f"address: expected {right}, found {self.address:#04x}")

    @property
    def place(self) -> str:
        return f"bus {self.bus}, " + (
            "the first address that answers"
            if self.address is None
            else f"address {self.address:#04x}"
        )

    @classmethod
    def identify(cls, bus: Bus, address: int) -> str | None:
        """The chip at this address, if it is one for this driver."""
        raise NotImplementedError


class Chip(Protocol):
    """A chip on an open bus. Making it may raise SensorError or OSError, and so may `measure`."""

    @property
    def quantities(self) -> tuple[str, ...]: ...

    def measure(self) -> Mapping[str, Measured]: ...


class ChipSource:
    """The source of a chip on a bus, which is opened when first needed."""

    def __init__(
        self,
        quantities: tuple[str, ...],
        connect: Callable[[], Bus],
        find: Callable[[Bus], Chip],
    ) -> None:
        """`quantities` are those that it has until a chip has answered that has fewer."""
        self._quantities = quantities
        self._connect = connect
        self._find = find
        self._bus: Bus | None = None
        self._chip: Chip | None = None

    @property
    def quantities(self) -> tuple[str, ...]:
        return self._quantities

    def read(self, _: datetime, /) -> Mapping[str, Measured]:
        """Measure now. A chip that had answered before is found anew and asked once more."""
        try:
            if self._chip is not None:
                try:
                    return self._chip.measure()
                except (SensorError, OSError) as error:
                    if isinstance(error, TimeoutError):  # it took a second: no time for another
                        raise
                    self.close()
            return self._found().measure()
        except SensorError:
            self.close()
            raise
        except OSError as error:
            self.close()
            raise SensorError(said(error)) from error

    def close(self) -> None:
        """Close the bus; the next `read` opens it again."""
        if self._bus is not None:
            self._bus.close()
        self._bus = self._chip = None

    def _found(self) -> Chip:
        self._bus = self._connect()
        self._chip = self._find(self._bus)
        self._quantities = self._chip.quantities
        return self._chip


def said(error: OSError) -> str:
    """What a failed transfer means, and the mend."""
    mend = MENDS.get(error.errno or 0, f"is it wired and supplied? {SCAN}")
    return f"no answer on the I2C bus ({error.strerror or error}): {mend}"


def buses(devices: Path = Path("/dev")) -> list[int]:
    """The numbers of the buses that the kernel shows."""
    return sorted(int(path.name[4:]) for path in devices.glob("i2c-*") if path.name[4:].isdigit())


def device(number: int, devices: Path = Path("/dev")) -> str:
    """The file of a bus."""
    return str(devices / f"i2c-{number}")


def open_bus(number: int, devices: Path = Path("/dev")) -> Bus:
    """The bus, or SensorError with the line that mends it."""
    from smbus2 import SMBus  # noqa: PLC0415 - only stations with I2C need it

    path = device(number, devices)
    try:
        return cast(Bus, SMBus(path))
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise SensorError(absent(path)) from error
        if error.errno in (errno.EACCES, errno.EPERM):
            mend = permissions.mend(path, "i2c")
            raise SensorError(f"{path}: not permitted; {mend}") from error
        raise SensorError(f"{path}: {error.strerror}") from error


def absent(path: str) -> str:
    """What is said of a bus that is not there."""
    return f"{path}: there is no such bus; {TURN_ON}"


def read(bus: Bus, address: int, length: int) -> bytes:
    """The bytes that a chip has ready, without naming a register first."""
    from smbus2 import i2c_msg  # noqa: PLC0415 - as above

    message = i2c_msg.read(address, length)
    bus.i2c_rdwr(message)
    return bytes(message)


def answering(bus: Bus) -> list[int]:
    """The addresses at which something answers, by reading one byte from each.

    TimeoutError from the first of them where the bus is stuck: each further one would take as long.
    """
    found = []
    for address in ADDRESSES:
        try:
            bus.read_byte(address)
        except TimeoutError:
            raise
        except OSError as error:
            if error.errno == errno.EBUSY:  # a kernel driver holds it: something is there
                found.append(address)
        else:
            found.append(address)
    return found


def find(bus: Bus, addresses: tuple[int, ...], chips: Mapping[int, str]) -> tuple[int, int]:
    """Address and id of the first of these Bosch chips; SensorError with what is there instead."""
    answers = []
    for address in addresses:
        try:
            chip = bus.read_byte_data(address, CHIP_ID)
        except OSError as error:
            if error.errno in MENDS:
                raise SensorError(f"0x{address:02x}: {said(error)}") from error
            answers.append(f"0x{address:02x}: no answer")
            continue
        if chip in chips:
            return address, chip
        other = f"a {CHIP_IDS[chip]}" if chip in CHIP_IDS else f"no {' or '.join(chips.values())}"
        answers.append(f"0x{address:02x}: chip id 0x{chip:02x}, which is {other}")
    raise SensorError("; ".join(answers) + f" ({SCAN})")
