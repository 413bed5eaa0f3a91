"""Bosch BME280 on I2C: temperature, humidity and pressure. A BMP280 works too, without humidity.

The chip is found by its id (register 0xD0), read in forced mode at single oversampling (Bosch's
advice for weather: it sleeps in between and does not warm itself), and compensated by RPi.bme280
with the constants from its own memory. After any failure the bus is opened anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Annotated, Any, ClassVar

from msgspec import Meta

from clima_agent.sources import i2c
from clima_agent.sources.base import Measured, Options, SensorError, Setting

CHIP_ID = 0xD0
BME280, BMP280 = 0x60, 0x58
CHIPS = {BME280: "BME280", BMP280: "BMP280"}
SKIPPED, SKIPPED_HUMIDITY = 0x80000, 0x8000  # what the data registers hold before a measurement


class Bme280(Options, frozen=True, tag="bme280"):
    """`address` left out: the first one at which such a chip answers."""

    ADDRESSES: ClassVar[tuple[int, ...]] = (0x76, 0x77)

    name: Annotated[
        str, Meta(pattern=r"^bme280(-[2-9])?$", description='"bme280", or "bme280-2" to "bme280-9"')
    ] = "bme280"
    bus: Annotated[int, Meta(ge=0, le=99)] = 1
    address: Annotated[int, Meta(ge=0x76, le=0x77, description="0x76 or 0x77")] | None = None

    def open(self, _: Setting, /) -> Bme280Source:
        addresses = self.ADDRESSES if self.address is None else (self.address,)
        return Bme280Source(lambda: i2c.open_bus(self.bus), addresses)

    @classmethod
    def identify(cls, bus: i2c.Bus, address: int) -> str | None:
        """The chip at this address, if it is one for this driver."""
        return CHIPS.get(bus.read_byte_data(address, CHIP_ID))


class Bme280Source:
    """The chip, on a bus that is opened when first needed."""

    def __init__(self, connect: Callable[[], i2c.Bus], addresses: tuple[int, ...]) -> None:
        self._connect = connect
        self._addresses = addresses
        self._chip: _Chip | None = None

    @property
    def quantities(self) -> tuple[str, ...]:
        """Humidity only where the chip that answered has it."""
        both = ("air_temperature", "air_pressure")
        return both if self._chip and self._chip.id == BMP280 else (*both, "relative_humidity")

    def read(self, _: datetime, /) -> Mapping[str, Measured]:
        """Measure now; the chip takes 16 ms."""
        try:
            self._chip = self._chip or _Chip(self._connect(), self._addresses)
            return self._chip.measure()
        except SensorError:
            self.close()
            raise
        except OSError as error:
            self.close()
            raise SensorError(f"no answer on the I2C bus ({error.strerror or error})") from error

    def close(self) -> None:
        """Close the bus; the next `read` opens it again."""
        if self._chip:
            self._chip.bus.close()
            self._chip = None


class _Chip:
    """A chip that has answered with an id we know, and its calibration."""

    def __init__(self, bus: i2c.Bus, addresses: tuple[int, ...]) -> None:
        # here: it brings pytz along, which a station without the chip can spare
        import bme280  # noqa: PLC0415

        self.bus = bus
        self._library: Any = bme280
        try:
            self.address, self.id = _found(bus, addresses)
            self._parameters: Any = bme280.load_calibration_params(bus, self.address)
        except BaseException:
            bus.close()
            raise

    def measure(self) -> dict[str, Measured]:
        sample = self._library.sample(self.bus, self.address, self._parameters)
        raw = sample.uncompensated
        if SKIPPED in (raw.temperature, raw.pressure):
            raise SensorError("the chip has not measured: it was reset, or its supply is weak")
        values = {
            "air_temperature": Measured(sample.temperature, "°C"),
            "air_pressure": Measured(sample.pressure, "hPa"),
        }
        if self.id == BME280:
            humidity = None if raw.humidity == SKIPPED_HUMIDITY else sample.humidity
            values["relative_humidity"] = Measured(humidity, "%")
        return values


def _found(bus: i2c.Bus, addresses: tuple[int, ...]) -> tuple[int, int]:
    """Address and id of the first chip of ours; else what was there instead."""
    said = []
    for address in addresses:
        try:
            chip = bus.read_byte_data(address, CHIP_ID)
        except OSError:
            said.append(f"0x{address:02x}: no answer")
            continue
        if chip in CHIPS:
            return address, chip
        said.append(f"0x{address:02x}: chip id 0x{chip:02x}, which is no BME280 or BMP280")
    raise SensorError("; ".join(said) + " (`clima-agent scan` shows what is there)")
