"""The drivers, and `Sensor`, their registry: a new one is a module and a line here.

Driver modules import what their hardware needs in `open` or later, never at the top, so that
the agent holds in memory only the drivers that it uses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from clima_agent.sources.anemometer import Anemometer
from clima_agent.sources.base import (
    Counting,
    Measured,
    Options,
    Recorded,
    SensorError,
    Setting,
    Source,
)
from clima_agent.sources.bh1750 import Bh1750
from clima_agent.sources.bme280 import Bme280
from clima_agent.sources.bmp180 import Bmp180
from clima_agent.sources.ds18b20 import Ds18b20
from clima_agent.sources.htu21d import Htu21d
from clima_agent.sources.rain_gauge import RainGauge
from clima_agent.sources.replay import Replay
from clima_agent.sources.simulated import Simulated
from clima_agent.sources.system import System
from clima_core.errors import ConfigurationError

Sensor = (
    Anemometer  # a line for each driver
    | Bh1750
    | Bme280
    | Bmp180
    | Ds18b20
    | Htu21d
    | RainGauge
    | Replay
    | Simulated
    | System
)
DRIVERS: tuple[type[Options], ...] = get_args(Sensor)


def open_all(sensors: Sequence[Sensor], setting: Setting) -> dict[str, Source]:
    """Every sensor's source by its name, or ConfigurationError with all that is wrong with them."""
    opened: dict[str, Source] = {}
    problems: list[str] = []
    for sensor in sensors:
        try:
            opened[sensor.name] = sensor.open(setting)
        except ConfigurationError as error:
            problems.extend(f"sensors: {sensor.name}: {each}" for each in error.problems)
    if problems:
        for source in opened.values():
            source.close()
        raise ConfigurationError(problems)
    return opened


__all__ = [
    "DRIVERS",
    "Counting",
    "Measured",
    "Options",
    "Recorded",
    "Sensor",
    "SensorError",
    "Setting",
    "Source",
    "open_all",
]
