"""`clima-agent scan`: what is on the I2C buses, and the configuration lines for it."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, Protocol, runtime_checkable

from clima_agent.sources import DRIVERS, SensorError, i2c
from clima_core.errors import EXIT_FINDING, EXIT_OK, UnavailableError

HELP = "list what is on the I2C buses, with the configuration lines for it"


@runtime_checkable
class OnI2c(Protocol):
    """What a driver's options have when its chip is on I2C."""

    ADDRESSES: tuple[int, ...]

    @classmethod
    def identify(cls, bus: i2c.Bus, address: int) -> str | None: ...


class Found(NamedTuple):
    """Something that answers; `driver` is None when Clima does not know it."""

    bus: int
    address: int
    chip: str | None
    driver: str | None

    def lines(self, number: int) -> str:
        """The configuration of it, as the `number`-th of its kind."""
        name = "" if number == 1 else f'name = "{self.driver}-{number}"\n'
        return (
            f'[[sensors]]\ndriver = "{self.driver}"\n{name}'
            f"bus = {self.bus}\naddress = 0x{self.address:02x}\n"
        )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("--json", action="store_true", help="one JSON object per line")


def run(arguments: argparse.Namespace) -> int:
    """Exit code 1 when nothing answers, 69 when there is no bus."""
    numbers = i2c.buses()
    if not numbers:
        raise UnavailableError(f"there is no I2C bus on this machine; {i2c.TURN_ON}")
    try:
        found = list(scan(numbers, i2c.open_bus))
    except SensorError as error:
        raise UnavailableError(str(error)) from error
    for each in found:
        print(json.dumps(each._asdict()) if arguments.json else _line(each))
    if not found and not arguments.json:
        print(f"nothing answers on {', '.join(f'/dev/i2c-{number}' for number in numbers)}")
    if not arguments.json:
        print(configuration_lines(found), end="")
    return EXIT_OK if found else EXIT_FINDING


def configuration_lines(found: Iterable[Found]) -> str:
    """The tables for what Clima knows, ready for agent.toml."""
    count: Counter[str] = Counter()
    text = ""
    for each in found:
        if each.driver:
            count[each.driver] += 1
            text += "\n" + each.lines(count[each.driver])
    return text


def scan(numbers: Iterable[int], open_bus: Callable[[int], i2c.Bus]) -> Iterator[Found]:
    """What answers on these buses, told apart by chip id where a driver knows it."""
    for number in numbers:
        bus = open_bus(number)
        try:
            for address in i2c.answering(bus):
                yield _identified(bus, number, address)
        finally:
            bus.close()


def _identified(bus: i2c.Bus, number: int, address: int) -> Found:
    for driver in DRIVERS:
        if isinstance(driver, OnI2c) and address in driver.ADDRESSES:
            try:
                chip = driver.identify(bus, address)
            except OSError:  # it took the first byte and not this one: not the chip we know
                continue
            if chip:
                return Found(number, address, chip, str(driver.__struct_config__.tag))
    return Found(number, address, None, None)


def _line(found: Found) -> str:
    chip = found.chip or "something that Clima has no driver for"
    return f"bus {found.bus}, address 0x{found.address:02x}: {chip}"
