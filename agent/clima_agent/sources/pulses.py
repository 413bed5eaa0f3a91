"""A GPIO line on which a switch closes: what rain gauges and cup anemometers have in common.

The kernel counts, not we: it debounces the switch, stamps and numbers each pulse and keeps the last
1024. So nothing runs between two readings, and none is missed: where more came than it kept, their
number still tells how many there were. Pulses before the first reading, and while the agent is not
running, are nobody's.

What always holds: each pulse that was counted is told by every answer until one of them has become
a reading, and by none after that. So an answer that came too late loses nothing, nor does a line
that fails after it.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, NamedTuple, Protocol

from msgspec import Meta

from clima_agent import permissions
from clima_agent.sources.base import Measured, Options, SensorError

KEPT = 1024  # by the kernel, which takes no more than 16 for each of 64 lines
MOST_TIMES = 16 * KEPT  # of pulses that are in no reading yet, however long that lasts
MENDS = {
    errno.EBUSY: "is taken: does clima-agent run, or does an overlay in config.txt use the line?",
    errno.ENOENT: "is not there; `ls /dev/gpiochip*` shows which are",
    errno.EINVAL: "has no such line; `gpioinfo` shows which there are",
}


class OnGpio(Options, frozen=True, kw_only=True):
    """A switch between the line and ground; the line is pulled up inside the board."""

    line: Annotated[int, Meta(ge=0, le=1023, description="the number of a GPIO, 17 for GPIO17")]
    chip: Annotated[str, Meta(pattern="^/dev/", description='"/dev/gpiochip0"')] = "/dev/gpiochip0"

    @property
    def place(self) -> str:
        return f"{self.chip}, line {self.line}"


class Pulse(NamedTuple):
    """The how-manieth since the line was opened, and when, in seconds of the monotonic clock."""

    number: int
    at: float


class Line(Protocol):
    """An open line; any of it may raise OSError."""

    def pulses(self) -> Iterable[Pulse]:
        """Those since the last call that are still kept, in order; does not wait for more."""

    def close(self) -> None: ...


class Stretch(NamedTuple):
    """What came between two readings."""

    seconds: float
    pulses: int
    times: list[float]  # of those that were kept
    earlier: list[float]  # of those that are in readings already: a gust may begin with them


class PulseSource:
    """Opens the line at the first reading, which has nothing yet to tell."""

    def __init__(
        self,
        quantities: tuple[str, ...],
        connect: Callable[[], Line],
        values: Callable[[Stretch], Mapping[str, Measured]],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.quantities = quantities
        self._connect = connect
        self._values = values
        self._monotonic = monotonic
        self._line: Line | None = None
        self._number = 0  # of the last pulse of this line that was counted
        self._looked = 0.0  # at this line, when
        self._to_tell = False  # whether a stretch was counted to its end since the last reading
        self._seconds, self._pulses = 0.0, 0  # counted, and in no reading yet
        self._times: list[float] = []
        self._earlier: list[float] = []

    def read(self, _: datetime, /) -> Mapping[str, Measured]:
        """What came since the last answer that became a reading."""
        try:
            if self._line is None:
                self._line, self._number, self._looked = self._connect(), 0, self._monotonic()
            else:
                self._count(self._line)
        except OSError as error:
            self.close()
            raise SensorError(f"the GPIO line cannot be read: {error.strerror or error}") from error
        if not self._to_tell:
            return {}
        return self._values(Stretch(self._seconds, self._pulses, self._times, self._earlier))

    def taken(self) -> None:
        """The last answer is a reading: what it told is not told again."""
        if self._to_tell:
            self._earlier = [*self._earlier, *self._times][-KEPT:]
            self._to_tell, self._seconds, self._pulses, self._times = False, 0.0, 0, []

    def close(self) -> None:
        if self._line is not None:
            self._line.close()
            self._line = None

    def _count(self, line: Line) -> None:
        """Add what came since the last look: each pulse at once, as the line gives it only once."""
        for pulse in line.pulses():
            self._pulses += pulse.number - self._number
            self._number = pulse.number
            self._times.append(pulse.at)
        del self._times[:-MOST_TIMES]
        now = self._monotonic()
        self._seconds += now - self._looked
        self._looked, self._to_tell = now, True


class GpioLine:
    """A line of the kernel's character device, by libgpiod."""

    def __init__(self, options: OnGpio, debounce_ms: float) -> None:
        """SensorError, with the mend, when it cannot be had."""
        import gpiod  # noqa: PLC0415 - only stations with such a sensor need it

        try:
            self._request: Any = gpiod.request_lines(
                options.chip,
                {options.line: settings(debounce_ms)},
                consumer="clima-agent",
                event_buffer_size=KEPT,
            )
        except (OSError, ValueError) as error:
            raise SensorError(refused(options, error)) from error

    def pulses(self) -> Iterator[Pulse]:
        while self._request.wait_edge_events(timedelta()):
            for event in self._request.read_edge_events():
                yield Pulse(event.line_seqno, event.timestamp_ns / 1e9)

    def close(self) -> None:
        self._request.release()


def settings(debounce_ms: float) -> Any:
    """How the line is asked for: its switch closes to ground, and bounces."""
    import gpiod  # noqa: PLC0415 - as above

    return gpiod.LineSettings(
        direction=gpiod.line.Direction.INPUT,
        edge_detection=gpiod.line.Edge.FALLING,
        bias=gpiod.line.Bias.PULL_UP,
        debounce_period=timedelta(milliseconds=debounce_ms),
        event_clock=gpiod.line.Clock.MONOTONIC,
    )


def refused(options: OnGpio, error: OSError | ValueError) -> str:
    """Why the line cannot be had, with the mend."""
    number = error.errno if isinstance(error, OSError) else errno.EINVAL
    mend = MENDS.get(number or 0, f"cannot be opened: {error}")
    if number in (errno.EACCES, errno.EPERM):
        mend = f"is not permitted; {permissions.mend(options.chip, 'gpio')}"
    return f"{options.chip}, line {options.line}: {mend}"
