"""A station without a sensor: it goes on, delivers what it has, and looks again until there is one.

No sensor is configured, and none was found: a plug is loose, I2C is off, the bus is not there yet.
In the sampler's place this looks again and again, with capped back-off, and samples as soon as
something is there. Why there is none is said once, and again when the reason is another.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

import structlog

from clima_agent.sampler import Clock, Sampler, Sink
from clima_agent.sources import Source
from clima_core.backoff import pause_s
from clima_core.errors import UnavailableError

log = structlog.get_logger("clima_agent.seeking")

FIRST_S, CAP_S = 10.0, 300.0
MEND = "`clima-agent scan` shows what is there; what the station has is sent meanwhile"


class Seeking:
    """Looks for sensors, in the sampler's thread; then is the sampler."""

    def __init__(
        self,
        look: Callable[[], Mapping[str, Source]],
        made: Callable[[Mapping[str, Source]], Sampler],
        clock: Clock,
    ) -> None:
        """`look` raises UnavailableError while there is nothing."""
        self._look = look
        self._made = made
        self._clock = clock
        self._sampler: Sampler | None = None

    @property
    def without_sensors(self) -> bool:
        return self._sampler is None

    def run(self, sink: Sink, stop: threading.Event) -> None:
        """Until stopped."""
        if (sources := self._found(stop)) is not None:
            self._sampler = self._made(sources)
            self._sampler.run(sink, stop)

    def close(self) -> None:
        if self._sampler is not None:
            self._sampler.close()

    def _found(self, stop: threading.Event) -> Mapping[str, Source] | None:
        said, failures = "", 0
        while True:
            try:
                return self._look()
            except UnavailableError as error:
                if str(error) != said:
                    said = str(error)
                    log.warning("no_sensor", reason=said, mend=MEND)
            if self._clock.wait(stop, pause_s(failures, FIRST_S, CAP_S)):
                return None
            failures += 1
