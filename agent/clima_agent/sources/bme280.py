"""Bosch BME280 on I2C: temperature, humidity and pressure. A BMP280 works too, without humidity.

The chip is found by its id (register 0xD0), read in forced mode at single oversampling (Bosch's
advice for weather: it sleeps in between and does not warm itself), and compensated by RPi.bme280
with the constants from its own memory. After any failure the bus is opened anew.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from msgspec import Meta

from clima_agent.sources import i2c
from clima_agent.sources.base import Measured, SensorError, Setting

BME280, BMP280 = 0x60, 0x58
CHIPS = {BME280: "BME280", BMP280: "BMP280"}
QUANTITIES = ("air_temperature", "air_pressure", "relative_humidity")
SKIPPED, SKIPPED_HUMIDITY = 0x80000, 0x8000  # what the data registers hold before a measurement


class Bme280(i2c.OnI2c, frozen=True, tag="bme280"):
    """`address` left out: the first one at which such a chip answers."""

    ADDRESSES: ClassVar[tuple[int, ...]] = (0x76, 0x77)

    name: Annotated[
        str, Meta(pattern=r"^bme280(-[2-9])?$", description='"bme280", or "bme280-2" to "bme280-9"')
    ] = "bme280"

    def open(self, _: Setting, /) -> i2c.ChipSource:
        addresses = self.ADDRESSES if self.address is None else (self.address,)
        return i2c.ChipSource(
            QUANTITIES, lambda: i2c.open_bus(self.bus), lambda bus: Bme280Chip(bus, addresses)
        )

    @classmethod
    def identify(cls, bus: i2c.Bus, address: int) -> str | None:
        """The chip at this address, if it is one for this driver."""
        return CHIPS.get(bus.read_byte_data(address, i2c.CHIP_ID))


class Bme280Chip:
    """A chip that has answered with an id we know, and its calibration."""

    def __init__(self, bus: i2c.Bus, addresses: tuple[int, ...] = Bme280.ADDRESSES) -> None:
        # here: it brings pytz along, which a station without the chip can spare
        import bme280  # noqa: PLC0415

        self._bus = bus
        self._library: Any = bme280
        self._address, self._id = i2c.find(bus, addresses, CHIPS)
        self._parameters: Any = bme280.load_calibration_params(bus, self._address)

    @property
    def quantities(self) -> tuple[str, ...]:
        """Humidity only where the chip has it."""
        return QUANTITIES if self._id == BME280 else QUANTITIES[:2]

    def measure(self) -> dict[str, Measured]:
        """The chip takes 16 ms."""
        sample = self._library.sample(self._bus, self._address, self._parameters)
        raw = sample.uncompensated
        if SKIPPED in (raw.temperature, raw.pressure):
            raise SensorError("the chip has not measured: it was reset, or its supply is weak")
        values = {
            "air_temperature": Measured(sample.temperature, "°C"),
            "air_pressure": Measured(sample.pressure, "hPa"),
        }
        if self._id == BME280:
            humidity = None if raw.humidity == SKIPPED_HUMIDITY else sample.humidity
            values["relative_humidity"] = Measured(humidity, "%")
        return values
