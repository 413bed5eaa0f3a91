"""The board itself: the temperature of its processor, beside the readings that it warms.

No weather: it stands in the record under `sensor.system` alone, so that a correction for
self-heating can be done again from what is stored. What else there is to say of the board is in
the health report. The processor's temperature jumps with its load, and what sits beside it
follows slowly, so this one follows as slowly: a first-order lag of `lag_s`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from clima_agent import health
from clima_agent.sources.base import Measured, Options, SensorError, Setting


class System(Options, frozen=True, tag="system"):
    """For `calibration.<sensor>.air_temperature.self_heating`."""

    name: Annotated[str, Meta(pattern="^system$", description='"system"')] = "system"
    lag_s: Annotated[float, Meta(ge=0, le=3600)] = 300.0

    def open(self, _: Setting, /) -> SystemSource:
        return SystemSource(self.lag_s)


class SystemSource:
    """The board; `root` holds `sys`."""

    quantities = ("cpu_temperature",)

    def __init__(self, lag_s: float, root: Path = Path("/")) -> None:
        self._lag_s = lag_s
        self._root = root
        self._value = 0.0
        self._read_at: datetime | None = None

    def read(self, at: datetime, /) -> Mapping[str, Measured]:
        try:
            now = health.cpu_temperature(self._root)
        except (OSError, ValueError) as error:
            raise SensorError(
                f"this board does not say how warm its processor is ({error}); take the sensor"
                ' "system" and the option self_heating out of the configuration'
            ) from error
        self._value += (now - self._value) * self._share(at)
        self._read_at = at
        return {"cpu_temperature": Measured(self._value, "°C")}

    def close(self) -> None:
        """Nothing is held."""

    def _share(self, at: datetime) -> float:
        """How much of the way to the new value; all of it at first, or after the clock was set."""
        passed_s = -1.0 if self._read_at is None else (at - self._read_at).total_seconds()
        if passed_s < 0 or not self._lag_s:
            return 1.0
        return 1 - math.exp(-passed_s / self._lag_s)
