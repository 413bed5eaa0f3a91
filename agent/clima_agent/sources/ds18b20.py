"""Maxim DS18B20 on the 1-Wire bus: temperature, as the kernel's driver w1_therm reads it.

The kernel has a folder for each probe on the bus. Its file `w1_slave` holds the nine bytes that
the probe sent and whether their CRC is right; reading it makes the probe measure, which takes
0.75 s. Probes on one bus are read one after the other: more than two take longer than the agent
waits, unless their resolution is lowered.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from clima_agent.sources.base import Measured, Options, SensorError, Setting

DEVICES = Path("/sys/bus/w1/devices")
TURN_ON = "turn 1-Wire on by `dtoverlay=w1-gpio` in config.txt (the probe's data wire on GPIO 4)"
FAMILIES = ("28-", "10-", "22-", "3b-", "42-")  # DS18B20, DS18S20, DS1822, DS1825, DS28EA00
BEFORE_MEASURING = 85.0  # °C, what the probe holds after power-on


class Ds18b20(Options, frozen=True, tag="ds18b20"):
    """`device` left out: the first probe on the bus."""

    name: Annotated[
        str,
        Meta(pattern=r"^ds18b20(-[2-9])?$", description='"ds18b20", or "ds18b20-2" to "ds18b20-9"'),
    ] = "ds18b20"
    device: (
        Annotated[
            str,
            Meta(
                pattern=r"^[0-9a-f]{2}-[0-9a-f]{12}$",
                description='the name of its folder in /sys/bus/w1/devices, "28-0316a2799bff"',
            ),
        ]
        | None
    ) = None

    @property
    def place(self) -> str:
        return f"1-Wire, {self.device or 'the first probe'}"

    def open(self, _: Setting, /) -> Ds18b20Source:
        return Ds18b20Source(self.device)


class Ds18b20Source:
    """A probe; `devices` is the kernel's folder of them."""

    quantities = ("air_temperature",)

    def __init__(self, device: str | None = None, devices: Path = DEVICES) -> None:
        self._device = device
        self._devices = devices

    def read(self, _: datetime, /) -> Mapping[str, Measured]:
        """Takes 0.75 s."""
        device = self._device or self._first()
        path = self._devices / device / "w1_slave"
        try:
            text = path.read_text("ascii", "replace")
        except FileNotFoundError:
            raise SensorError(f"{path}: {self._absent()}") from None
        except OSError as error:
            raise SensorError(f"{path}: cannot be read: {error.strerror}; {_WIRING}") from error
        return {"air_temperature": Measured(celsius(text, device), "°C")}

    def close(self) -> None:
        """Nothing is held."""

    def _first(self) -> str:
        found = probes(self._devices)
        if not found:
            raise SensorError(f"{self._devices}: {self._absent()}")
        return found[0]

    def _absent(self) -> str:
        if not self._devices.is_dir():
            return f"there is no 1-Wire bus; {TURN_ON}"
        found = ", ".join(probes(self._devices)) or "none"
        return f"no such probe answers (found: {found}); {_WIRING}"


_WIRING = "check the wiring, and the 4.7 kΩ from its data wire to 3.3 V"


def probes(devices: Path = DEVICES) -> list[str]:
    """The thermometers that the kernel sees."""
    return sorted(path.name for path in devices.glob("*-*") if path.name.startswith(FAMILIES))


def celsius(text: str, device: str) -> float:
    """The temperature in a `w1_slave` file; SensorError for rubbish."""
    raw = re.match(r"((?:[0-9a-f]{2} ){9}): crc=[0-9a-f]{2} (YES|NO)", text)
    said = re.search(r"t=(-?\d+)", text)
    if not raw or not said:
        raise SensorError(f"{device}: answered rubbish: {text[:80]!r}")
    if raw[2] == "NO" or not any(bytes.fromhex(raw[1])):  # the CRC of nothing but zeros is right
        raise SensorError(
            f"{device}: answered rubbish, its CRC is wrong: {raw[1].strip()}; {_WIRING}"
        )
    value = int(said[1]) / 1000
    if value == BEFORE_MEASURING:
        raise SensorError(f"{device}: has not measured: it lost its supply; {_WIRING}")
    return value
