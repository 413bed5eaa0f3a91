"""What sensors there are: the I2C buses by address and chip id, and the probes on 1-Wire.

A station without any sensor in its configuration uses what is found when it starts, and says so.
What cannot be looked at (no bus, no permission) is a problem beside what was found, so that one
bus does not hide the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import msgspec
import structlog

from clima_agent.sources import DRIVERS, Sensor, SensorError, Setting, Source, i2c, open_all
from clima_agent.sources.ds18b20 import DEVICES, probes
from clima_core.errors import UnavailableError

USUAL = 1  # the bus on a Pi's header; those of its HDMI sockets are there even with I2C off

log = structlog.get_logger("clima_agent.discovery")


class Found(NamedTuple):
    """Something that answers; `driver` is None when Clima does not know it."""

    place: str
    chip: str | None
    driver: str | None
    options: dict[str, int | str]

    def sensor(self, name: str) -> Sensor:
        """The configuration of it."""
        table: dict[str, Any] = {"driver": self.driver, "name": name, **self.options}
        return cast(Sensor, msgspec.convert(table, Sensor))


class Findings(NamedTuple):
    """What answers, in the order of preference; and what could not be looked at, with the mend."""

    found: list[Found]
    problems: list[str]


def look(
    numbers: Sequence[int] | None = None,
    open_bus: Callable[[int], i2c.Bus] = i2c.open_bus,
    devices: Path = DEVICES,
) -> Findings:
    """Look at these I2C buses (all there are), then at 1-Wire.

    Ascending by address, which has hygrometers before the barometers, whose thermometers are
    worse.
    """
    numbers = i2c.buses() if numbers is None else numbers
    findings = Findings([], [])
    if not numbers:
        findings.problems.append(f"there is no I2C bus on this machine; {i2c.TURN_ON}")
    for number in numbers:
        try:
            findings.found.extend(_on_bus(number, open_bus))
        except SensorError as error:
            findings.problems.append(str(error))
    for device in probes(devices):
        findings.found.append(Found(f"1-Wire {device}", "DS18B20", "ds18b20", {"device": device}))
    if numbers and USUAL not in numbers and not any(each.driver for each in findings.found):
        findings.problems.append(i2c.absent(i2c.device(USUAL)))
    return findings


def named(found: Iterable[Found], taken: Iterable[str] = ()) -> Iterator[tuple[str, Found]]:
    """What Clima has a driver for, each with a name that is not taken; at most nine of a kind."""
    names = set(taken)
    for each in found:
        if each.driver:
            candidates = (each.driver, *(f"{each.driver}-{number}" for number in range(2, 10)))
            name = next((name for name in candidates if name not in names), None)
            if name:
                names.add(name)
                yield name, each


def found_sensors(findings: Findings) -> tuple[Sensor, ...]:
    """What is found, for a station that has nothing configured; UnavailableError when nothing."""
    if sensors := tuple(each.sensor(name) for name, each in named(findings.found)):
        return sensors
    problems = "; ".join(findings.problems) or f"nothing that Clima knows answers ({i2c.SCAN})"
    raise UnavailableError(f"sensors: none is configured, and none was found: {problems}")


def open_configured_or_found(sensors: Sequence[Sensor], setting: Setting) -> dict[str, Source]:
    """The sources of the sensors; of those that are found, when there are none."""
    if not sensors:
        sensors = found_sensors(look())
        log.warning("sensors_found", sensors=", ".join(sensor.name for sensor in sensors))
    return open_all(sensors, setting)


def _on_bus(number: int, open_bus: Callable[[int], i2c.Bus]) -> Iterator[Found]:
    bus = open_bus(number)
    try:
        answering = i2c.answering(bus)
        for address in i2c.ADDRESSES:  # an HTU21D that was not asked to measure answers no read
            chip, driver = _identified(bus, address)
            if driver or address in answering:
                place = f"bus {number}, address 0x{address:02x}"
                yield Found(place, chip, driver, {"bus": number, "address": address})
    except TimeoutError as error:  # silence would be taken for "nothing is wired"
        raise SensorError(f"{i2c.device(number)}: {i2c.said(error)}") from error
    finally:
        bus.close()


def _identified(bus: i2c.Bus, address: int) -> tuple[str | None, str | None]:
    """The chip, and the name of its driver."""
    for driver in DRIVERS:
        if issubclass(driver, i2c.OnI2c) and address in driver.ADDRESSES:
            try:
                chip = driver.identify(bus, address)
            except TimeoutError:
                raise
            except OSError:  # it took the first byte and not this one: not the chip we know
                continue
            if chip:
                return chip, str(driver.__struct_config__.tag)
    return None, None
