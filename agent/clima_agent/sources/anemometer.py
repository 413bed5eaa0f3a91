"""A cup anemometer on a GPIO line: a reed switch closes once or more in each turn.

`wind_speed` is the mean since the reading before; `wind_speed_of_gust` the highest mean of three
seconds in that time, as WMO-No. 8 (Volume I, chapter 5) defines it. Three seconds hold so few
pulses that a gust is known to a third of what one pulse a second means.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Annotated

from msgspec import Meta

from clima_agent.sources.base import Measured, Setting
from clima_agent.sources.pulses import GpioLine, OnGpio, PulseSource, Stretch

GUST_S = 3.0
QUANTITIES = ("wind_speed", "wind_speed_of_gust")


class Anemometer(OnGpio, frozen=True, kw_only=True, tag="anemometer"):
    """`speed_per_hz` in m/s at one pulse a second; `threshold` in m/s, what starts the cups."""

    name: Annotated[
        str,
        Meta(
            pattern=r"^anemometer(-[2-9])?$",
            description='"anemometer", or "anemometer-2" to "anemometer-9"',
        ),
    ] = "anemometer"
    speed_per_hz: Annotated[float, Meta(gt=0, le=100)] = 0.6667
    threshold: Annotated[float, Meta(ge=0, le=5)] = 0.0
    debounce_ms: Annotated[float, Meta(ge=0, le=100)] = 2.0

    def open(self, _: Setting, /) -> PulseSource:
        return PulseSource(QUANTITIES, lambda: GpioLine(self, self.debounce_ms), self.values)

    def values(self, stretch: Stretch) -> Mapping[str, Measured]:
        """How it blew since the reading before."""
        mean = stretch.pulses / stretch.seconds if stretch.seconds > 0 else 0.0
        gust = max(mean, highest(stretch.times, stretch.earlier))
        return {
            "wind_speed": Measured(self.speed(mean), "m/s"),
            "wind_speed_of_gust": Measured(self.speed(gust), "m/s"),
        }

    def speed(self, hertz: float) -> float:
        """Of the wind; cups that stand still are calm."""
        return self.threshold + hertz * self.speed_per_hz if hertz else 0.0


def highest(times: Sequence[float], earlier: Sequence[float]) -> float:
    """Pulses per second, in the fullest three seconds that end with one of `times`.

    They may begin with `earlier` ones. Both ascend.
    """
    if not times:
        return 0.0
    before = earlier[bisect_right(earlier, times[0] - GUST_S) :]
    seen = [*before, *times]
    most = first = 0
    for last in range(len(before), len(seen)):
        while seen[first] <= seen[last] - GUST_S:
            first += 1
        most = max(most, last - first + 1)
    return most / GUST_S
