"""A station with every sensor there is a driver for, each on a bus that answers like the real one.

Run as a process: `python -m bench.wired CONFIG FOLDER`. It is `clima-agent run` with the real
drivers; what they talk to are the chips of `tests/agent/fake_bus.py`, whose values wander, 1-Wire
and processor files in the folder, and GPIO lines on which pulses come. The drivers wait as long as
the chips would take. The kernel's own part in a transfer is not in it.
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gpiod  # noqa: F401 - it is in the memory of a station with a rain gauge

from clima_agent import config
from clima_agent.commands.run import serve
from clima_agent.sources import (
    Sensor,
    Setting,
    Source,
    bh1750,
    bme280,
    bmp180,
    ds18b20,
    htu21d,
    system,
)
from clima_agent.sources.i2c import ChipSource
from clima_agent.sources.pulses import Pulse, PulseSource
from tests.agent.fake_bus import Chip, FakeBh1750, FakeBme280, FakeBmp180, FakeBus, FakeHtu21d

SENSORS = ("htu21d", "bme280", "bmp180", "bh1750", "ds18b20", "rain_gauge", "anemometer", "system")
W1 = "50 05 4b 46 7f ff 0c 10 1c : crc=1c YES\n50 05 4b 46 7f ff 0c 10 1c t={}\n"
PROBE = "28-0316a2799bff"
WANDERING = {"adc_temperature", "adc_pressure", "adc_humidity", "temperature", "humidity"}
WANDERING |= {"ut", "up", "lux"}


class Wandering(FakeBus):
    """A bus whose chip measures something else each time, and which takes its time."""

    def __init__(self, address: int, chip: Chip) -> None:
        super().__init__({address: chip})
        self._chance = random.Random(address)

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        time.sleep(seconds)

    def _chip(self, address: int) -> Chip:
        chip = super()._chip(address)
        for name in WANDERING & vars(chip).keys():
            setattr(chip, name, getattr(chip, name) + self._chance.choice((-4, 4)))
        return chip


class Turning:
    """A GPIO line with a pulse every so often, as a cup anemometer in a breeze has."""

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._number = 0
        self._last = time.monotonic()

    def pulses(self) -> list[Pulse]:
        found: list[Pulse] = []
        while self._last + self._every_s <= time.monotonic():
            self._last += self._every_s
            self._number += 1
            found.append(Pulse(self._number, self._last))
        return found

    def close(self) -> None:
        pass


def opened(folder: Path, sensors: Sequence[Sensor], setting: Setting) -> Mapping[str, Source]:
    """The sources, by the names of their drivers."""
    probe = folder / "w1" / PROBE
    probe.mkdir(parents=True, exist_ok=True)
    (probe / "w1_slave").write_text(W1.format(21562))
    zone = folder / "sys/class/thermal/thermal_zone0"
    zone.mkdir(parents=True, exist_ok=True)
    (zone / "temp").write_text("48312\n")
    switches = {name: _switch(each, setting) for each in sensors if (name := each.name) in _EVERY_S}
    return {
        "htu21d": _on_bus(htu21d.QUANTITIES, 0x40, FakeHtu21d(), htu21d.Htu21dChip),
        "bme280": _on_bus(
            bme280.QUANTITIES, 0x76, FakeBme280(), lambda bus, _: bme280.Bme280Chip(bus)
        ),
        "bmp180": _on_bus(
            bmp180.QUANTITIES,
            0x77,
            FakeBmp180(),
            lambda bus, sleep: bmp180.Bmp180Chip(bus, 3, sleep),
        ),
        "bh1750": _on_bus(
            bh1750.QUANTITIES,
            0x23,
            FakeBh1750(12_000),
            lambda bus, sleep: bh1750.Bh1750Chip(bus, 0x23, 1.0, sleep),
        ),
        "ds18b20": ds18b20.Ds18b20Source(PROBE, folder / "w1"),
        **switches,
        "system": system.SystemSource(300.0, folder),
    }


_EVERY_S = {"rain_gauge": 20.0, "anemometer": 0.3}


def _switch(options: Any, setting: Setting) -> Source:
    real = options.open(setting)
    values = real._values  # noqa: SLF001 - what is made of the pulses is to be the real thing
    return PulseSource(real.quantities, lambda: Turning(_EVERY_S[options.name]), values)


def _on_bus(
    quantities: tuple[str, ...],
    address: int,
    chip: Chip,
    find: Callable[[Any, Callable[[float], None]], Any],
) -> Source:
    bus = Wandering(address, chip)

    def connect() -> FakeBus:
        bus.closed = False
        return bus

    return ChipSource(quantities, connect, lambda opened: find(opened, bus.sleep))


def main() -> None:
    """The process."""
    read = partial(config.load, Path(sys.argv[1]), os.environ)
    serve(read(), partial(opened, Path(sys.argv[2])), read)


if __name__ == "__main__":
    main()
