"""A tipping-bucket rain gauge on a GPIO line: each tip closes a reed switch for a moment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from msgspec import Meta

from clima_agent.sources.base import Measured, Setting
from clima_agent.sources.pulses import GpioLine, OnGpio, PulseSource, Stretch

QUANTITIES = ("precipitation_amount",)


class RainGauge(OnGpio, frozen=True, kw_only=True, tag="rain_gauge"):
    """`mm_per_pulse` stands on the gauge: 0.2794 for most of the plastic ones, 0.2 for Davis."""

    name: Annotated[
        str,
        Meta(
            pattern=r"^rain_gauge(-[2-9])?$",
            description='"rain_gauge", or "rain_gauge-2" to "rain_gauge-9"',
        ),
    ] = "rain_gauge"
    mm_per_pulse: Annotated[float, Meta(gt=0, le=10)] = 0.2794
    debounce_ms: Annotated[float, Meta(ge=0, le=1000)] = 50.0

    def open(self, _: Setting, /) -> PulseSource:
        return PulseSource(QUANTITIES, lambda: GpioLine(self, self.debounce_ms), self.values)

    def values(self, stretch: Stretch) -> Mapping[str, Measured]:
        """What fell since the reading before."""
        return {"precipitation_amount": Measured(stretch.pulses * self.mm_per_pulse, "mm")}
