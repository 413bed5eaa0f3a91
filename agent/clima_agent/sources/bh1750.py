"""ROHM BH1750FVI on I2C: illuminance.

One measurement at a time in high-resolution mode, after which the chip switches itself off. At its
usual sensitivity it ends at 54612 lx, and full sun has twice that: a saturated measurement is
taken again at the least sensitivity, which reaches 121557 lx; what is saturated there is null.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated, ClassVar

from msgspec import Meta

from clima_agent.sources import i2c
from clima_agent.sources.base import Measured, Setting

POWER_ON, RESET, ONE_TIME = 0x01, 0x07, 0x20
USUAL, LEAST = 69, 31  # of the register that sets the measurement time, and so the sensitivity
LONGEST_S = 0.180  # at the usual sensitivity
SATURATED = 0xFFFF
QUANTITIES = ("illuminance",)


class Bh1750(i2c.OnI2c, frozen=True, tag="bh1750"):
    """`sensitivity` 2 measures twice as long: finer steps, and the end at half the light."""

    ADDRESSES: ClassVar[tuple[int, ...]] = (0x23, 0x5C)

    name: Annotated[
        str, Meta(pattern=r"^bh1750(-[2-9])?$", description='"bh1750", or "bh1750-2" to "bh1750-9"')
    ] = "bh1750"
    address: int = 0x23
    sensitivity: Annotated[float, Meta(ge=0.45, le=3.68)] = 1.0

    def open(self, _: Setting, /) -> i2c.ChipSource:
        return i2c.ChipSource(
            QUANTITIES,
            lambda: i2c.open_bus(self.bus),
            lambda bus: Bh1750Chip(bus, self.address, self.sensitivity),
        )

    @classmethod
    def identify(cls, bus: i2c.Bus, address: int) -> str | None:
        """It has no id: what reads 0 after the command to empty its register is taken for one."""
        for command in (POWER_ON, RESET):
            bus.write_byte(address, command)
        return None if any(i2c.read(bus, address, 2)) else "BH1750"


class Bh1750Chip:
    """A chip that has been switched on."""

    quantities = QUANTITIES

    def __init__(
        self,
        bus: i2c.Bus,
        address: int = 0x23,
        sensitivity: float = 1.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._bus = bus
        self._address = address
        self._time = round(USUAL * sensitivity)
        self._sleep = sleep

    def measure(self) -> dict[str, Measured]:
        """Takes 180 ms at a sensitivity of 1; 80 ms more in full sun."""
        time_register = self._time
        raw = self._raw(time_register)
        if raw == SATURATED and time_register > LEAST:
            time_register = LEAST
            raw = self._raw(time_register)
        value = None if raw == SATURATED else lux(raw, time_register)
        return {"illuminance": Measured(value, "lx")}

    def _raw(self, time_register: int) -> int:
        for command in (
            POWER_ON,
            RESET,  # so that a chip that does not measure shows no light of earlier
            0b0100_0000 | time_register >> 5,
            0b0110_0000 | time_register & 0b1_1111,
            ONE_TIME,
        ):
            self._bus.write_byte(self._address, command)
        self._sleep(LONGEST_S * time_register / USUAL)
        return int.from_bytes(i2c.read(self._bus, self._address, 2), "big")


def lux(raw: int, time_register: int = USUAL) -> float:
    """Data sheet: 1.2 counts per lux at the usual measurement time."""
    return raw / 1.2 * USUAL / time_register
