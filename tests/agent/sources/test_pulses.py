"""Rain gauge and anemometer, on a line that numbers and forgets pulses as the kernel does."""

from __future__ import annotations

import errno
import itertools
import re
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import gpiod
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clima_agent.sources import SensorError, Setting
from clima_agent.sources.anemometer import GUST_S, Anemometer, highest
from clima_agent.sources.pulses import KEPT, MOST_TIMES, Pulse, PulseSource, refused, settings
from clima_agent.sources.rain_gauge import RainGauge

NOW = datetime(2024, 5, 1, 12, tzinfo=UTC)


class FakeLine:
    """Numbers each pulse, and keeps the last 1024."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.fault: OSError | None = None
        self.fails_after = 0  # pulses that it gives away before its fault
        self.closed = False
        self._number = 0
        self._kept: deque[Pulse] = deque(maxlen=1024)

    def at(self, *seconds: float) -> None:
        """Pulses so many seconds after now; then it is the last of them."""
        began = self.now
        for each in seconds:
            self.now = began + each
            self._number += 1
            self._kept.append(Pulse(self._number, self.now))

    def every(self, seconds: float, count: int) -> None:
        self.at(*(seconds * number for number in range(1, count + 1)))

    def pulses(self) -> Iterator[Pulse]:
        given = 0
        while not (self.fault and given == self.fails_after):
            if not self._kept:
                return
            given += 1
            yield self._kept.popleft()
        raise self.fault

    def close(self) -> None:
        self.closed = True


def source(options: RainGauge | Anemometer, *lines: FakeLine) -> PulseSource:
    opened = options.open(Setting(NOW, 10))
    left = iter(lines)
    current = list(lines)
    return PulseSource(
        opened.quantities, lambda: next(left), opened._values, lambda: current[0].now
    )


def values(source: PulseSource) -> dict[str, float | None]:
    """An answer that becomes a reading."""
    answer = unused(source)
    source.taken()
    return answer


def unused(source: PulseSource) -> dict[str, float | None]:
    """An answer that comes too late."""
    return {name: round(value or 0.0, 6) for name, (value, _) in source.read(NOW).items()}


def test_rain_is_what_fell_since_the_reading_before() -> None:
    """The first reading has none before it, and so nothing to tell."""
    line = FakeLine()
    gauge = source(RainGauge(line=17, mm_per_pulse=0.2), line)

    assert {} == values(gauge)
    line.at(1, 2, 9)
    assert {"precipitation_amount": 0.6} == values(gauge)
    assert {"precipitation_amount": 0.0} == values(gauge)


def test_no_pulse_is_missed_when_more_come_than_the_kernel_keeps() -> None:
    """Their number goes on."""
    line = FakeLine()
    gauge = source(RainGauge(line=17, mm_per_pulse=0.2), line)
    values(gauge)
    line.every(0.1, 5000)

    assert {"precipitation_amount": 1000.0} == values(gauge)


def test_wind_is_the_mean_and_its_highest_three_seconds() -> None:
    """One pulse a second for 5 s, four a second for 3 s, none for 2 s: 17 in 10 s, 12 in 3."""
    line = FakeLine()
    cups = source(Anemometer(line=27, speed_per_hz=1.0), line)
    values(cups)
    line.every(1, 5)
    line.every(0.25, 12)
    line.now += 2

    assert {"wind_speed": 1.7, "wind_speed_of_gust": 4.0} == values(cups)


def test_cups_that_stand_still_are_calm() -> None:
    """Whatever it takes to start them; turning, that is added."""
    line = FakeLine()
    cups = source(Anemometer(line=27, speed_per_hz=2.0, threshold=0.3), line)
    values(cups)
    line.now += 10
    calm = values(cups)
    line.every(1, 10)

    assert {"wind_speed": 0.0, "wind_speed_of_gust": 0.0} == calm
    assert {"wind_speed": 2.3, "wind_speed_of_gust": 2.3} == values(cups)


def test_a_gust_may_begin_in_the_reading_before() -> None:
    """Three seconds at ten a second, with the reading in their middle."""
    times = [number / 10 for number in range(1, 31)]

    assert [5.0, 10.0] == [highest(times[:15], []), highest(times[15:], times[:15])]


@given(st.lists(st.floats(0.01, 5), min_size=1, max_size=200), st.integers(1, 20))
def test_gusts_against_all_windows(gaps: list[float], size: int) -> None:
    """However the pulses come and wherever readings cut them: the most in any three seconds."""
    times = list(itertools.accumulate(gaps))

    found = max(highest(times[at : at + size], times[:at]) for at in range(0, len(times), size))

    most = max(sum(last - GUST_S < at <= last for at in times) for last in times)
    assert most / GUST_S == found


def test_without_a_pulse_there_is_no_gust() -> None:
    """Also after some."""
    assert [0, 1 / GUST_S, 0] == [highest([], []), highest([1.0], []), highest([], [1.0])]


def test_what_became_no_reading_is_in_the_next_one() -> None:
    """An answer that came too late was read by nobody: its rain has fallen all the same."""
    line = FakeLine()
    gauge = source(RainGauge(line=17, mm_per_pulse=0.2), line)
    values(gauge)
    line.every(1, 5)
    assert {"precipitation_amount": 1.0} == unused(gauge)
    line.every(1, 5)
    assert {"precipitation_amount": 2.0} == unused(gauge)
    assert {"precipitation_amount": 2.0} == values(gauge)
    assert {"precipitation_amount": 0.0} == values(gauge)


def test_wind_that_became_no_reading_is_in_the_mean_and_the_gust_of_the_next_one() -> None:
    """Over all of its time, and no pulse of it twice."""
    line = FakeLine()
    cups = source(Anemometer(line=27, speed_per_hz=1.0), line)
    values(cups)
    line.every(0.25, 12)
    line.now += 7
    late = unused(cups)
    line.now += 10

    assert {"wind_speed": 1.2, "wind_speed_of_gust": 4.0} == late
    assert {"wind_speed": 0.6, "wind_speed_of_gust": 4.0} == values(cups)
    line.now += 1
    assert {"wind_speed": 0.0, "wind_speed_of_gust": 0.0} == values(cups)


def test_a_gust_may_begin_in_a_reading_that_was_used() -> None:
    """Also where an answer that was not used lies in between."""
    line = FakeLine()
    cups = source(Anemometer(line=27, speed_per_hz=1.0), line)
    values(cups)
    line.every(0.5, 2)
    values(cups)
    line.every(0.5, 2)
    unused(cups)
    line.every(0.5, 2)

    assert {"wind_speed": 2.0, "wind_speed_of_gust": 2.0} == values(cups)


def test_what_was_counted_outlives_the_line() -> None:
    """It fails after an answer that was not used, and in the middle of being read."""
    lines = [FakeLine(), FakeLine()]
    gauge = source(RainGauge(line=17, mm_per_pulse=1.0), *lines)
    values(gauge)
    lines[0].every(1, 3)
    unused(gauge)
    lines[0].every(1, 9)
    lines[0].fault, lines[0].fails_after = OSError(errno.ENODEV, "No such device"), 2
    with pytest.raises(SensorError):
        gauge.read(NOW)
    assert {"precipitation_amount": 5.0} == values(gauge)
    lines[1].at(1)
    assert {"precipitation_amount": 1.0} == values(gauge)


@given(st.lists(st.tuples(st.integers(0, 40), st.sampled_from(["used", "late", "fails"]))))
def test_each_pulse_is_in_one_reading(events: list[tuple[int, str]]) -> None:
    """Whatever becomes of the answers; a line that fails takes those with it that it had left."""
    lines = [FakeLine() for _ in range(len(events) + 1)]
    gauge = source(RainGauge(line=17, mm_per_pulse=1.0), *lines)
    line, lost, fell = 0, 0, 0
    told = values(gauge).get("precipitation_amount") or 0.0
    for count, what in [*events, (0, "used"), (0, "used")]:
        if gauge._line:
            lines[line].at(*range(count))
            fell += count
        if what == "fails" and gauge._line:
            lines[line].fault, lines[line].fails_after = OSError(errno.EIO, "I/O error"), count // 2
            lost += count - count // 2
            with pytest.raises(SensorError):
                gauge.read(NOW)
            line += 1
        else:
            answer = (values if what == "used" else unused)(gauge)
            told += (answer.get("precipitation_amount") or 0.0) if what == "used" else 0.0
    assert fell - lost == told


def test_times_that_no_reading_takes_are_not_kept_for_ever() -> None:
    """Their number is."""
    line = FakeLine()
    gauge = source(RainGauge(line=17, mm_per_pulse=1.0), line)
    values(gauge)
    for _ in range(MOST_TIMES // KEPT + 2):
        line.every(0.01, KEPT)
        unused(gauge)
    assert MOST_TIMES == len(gauge._times)
    assert {"precipitation_amount": float(MOST_TIMES + 2 * KEPT)} == values(gauge)


def test_a_line_that_fails_is_opened_anew() -> None:
    """Pulses of two openings are never taken together."""
    lines = [FakeLine(), FakeLine()]
    gauge = source(RainGauge(line=17, mm_per_pulse=1.0), *lines)
    values(gauge)
    lines[0].at(1, 2, 3)
    values(gauge)
    lines[0].fault = OSError(errno.ENODEV, "No such device")

    with pytest.raises(SensorError, match="the GPIO line cannot be read: No such device"):
        gauge.read(NOW)
    assert lines[0].closed
    assert {} == values(gauge)
    lines[1].at(1)
    assert {"precipitation_amount": 1.0} == values(gauge)


@pytest.mark.parametrize(
    ("error", "mend"),
    [
        (OSError(errno.EBUSY, "Device or resource busy"), "is taken: does clima-agent run"),
        (PermissionError(errno.EACCES, "Permission denied"), "usermod -aG gpio"),
        (OSError(errno.EINVAL, "Invalid argument"), "has no such line"),
        (ValueError("offset is out of range"), "has no such line"),
        (OSError(errno.EIO, "Input/output error"), "cannot be opened: .*Input/output error"),
    ],
)
def test_a_line_that_cannot_be_had(error: OSError | ValueError, mend: str) -> None:
    """Chip, line and mend."""
    said = refused(RainGauge(line=17), error)

    assert re.fullmatch(f"/dev/gpiochip0, line 17: .*{mend}.*", said)


def test_a_board_without_gpio_says_so() -> None:
    """Through libgpiod itself."""
    gauge = RainGauge(line=17, chip="/dev/gpiochip99").open(Setting(NOW, 10))

    with pytest.raises(SensorError, match="/dev/gpiochip99, line 17: is not there"):
        gauge.read(NOW)
    gauge.close()


def test_the_line_is_asked_for_as_the_switch_needs_it() -> None:
    """Debounced, pulled up, counted when it closes, timed by the clock that is never stepped."""
    asked = settings(2.5)

    assert timedelta(microseconds=2500) == asked.debounce_period
    assert gpiod.line.Bias.PULL_UP == asked.bias
    assert gpiod.line.Edge.FALLING == asked.edge_detection
    assert gpiod.line.Clock.MONOTONIC == asked.event_clock
