"""The sampling loop: when to read, and how one bad sensor is kept from spoiling the others.

Always true: ticks fall on multiples of the interval by the wall clock and are waited for by the
monotonic one, so they do not drift; a tick that was missed is skipped and counted, never made up
for; a clock that is stepped makes no tick twice and no burst of them. Every live source is read
in a thread of its own and waited for no longer than `answer_s`; one that fails or hangs is said
so once, tried again with capped back-off, and until then its quantities are null. A source that
counts is told which of its answers became a reading, so that the others are not lost.
"""

from __future__ import annotations

import heapq
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import count, groupby
from queue import Empty, SimpleQueue
from typing import NamedTuple, Protocol

import structlog

from clima_agent.clock import Keeper
from clima_agent.pipeline import Draft, Pipeline, Sample
from clima_agent.sources import Counting, Measured, Recorded, SensorError, Source
from clima_agent.units import KNOWN

STEP_S = 0.1  # less is no reason to pass a tick over
LATEST_S = 1.0  # a tick may come this late and still bear its own time
LOOK_AGAIN_S = 60.0  # the wall clock may be set while we wait
BACK_OFF_S = 300.0
ANSWER_S = 2.0

Answer = Mapping[str, Measured] | SensorError
Sink = Callable[[Draft, float | None], None]
"""A finished draft, and the moment it is of by the monotonic clock; None for a recording."""

log = structlog.get_logger("clima_agent.sampler")


class Clock(Protocol):
    """Time, and waiting for it."""

    def monotonic(self) -> float:
        """Seconds that only go forward."""

    def offset(self) -> float:
        """What makes them seconds since 1970; it changes when the clock is set."""

    def wait(self, stop: threading.Event, seconds: float) -> bool:
        """Wait by the monotonic clock; True as soon as `stop` is set."""


class SystemClock:
    """The machine's own clocks."""

    monotonic = staticmethod(time.monotonic)

    def offset(self) -> float:
        return time.time() - time.monotonic()

    def wait(self, stop: threading.Event, seconds: float) -> bool:
        return stop.wait(seconds)


class KeptClock:
    """The time as the keeper has it: what happens to the system's clock is none of our business."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self.monotonic = keeper.machine.moment

    def offset(self) -> float:
        return self._keeper.offset_s

    def wait(self, stop: threading.Event, seconds: float) -> bool:
        return stop.wait(seconds)


class Sampler:
    """Reads all sources at each tick and gives the finished draft to a sink."""

    without_sensors = False

    def __init__(
        self,
        sources: Mapping[str, Source],
        pipeline: Pipeline,
        *,
        interval_s: float,
        speed: float = 1.0,
        clock: Clock | None = None,
        answer_s: float = ANSWER_S,
        after: datetime | None = None,
    ) -> None:
        """`sources` by name, in order of preference; `speed` is the pace of recorded ones.

        A recording goes on `after` the last reading that was kept of it.
        """
        self._clock = clock or SystemClock()
        self._pipeline = pipeline
        self._interval_s = interval_s
        self._speed = speed
        self._after = after
        self._answer_s = min(answer_s, interval_s)
        self._sources = sources
        self._recorded = [each for each in sources.values() if isinstance(each, Recorded)]
        self._counting = {
            name: each for name, each in sources.items() if isinstance(each, Counting)
        }
        self._conditions = {name: _Condition(name, interval_s) for name in sources}
        self._questions = count()
        self._answers: SimpleQueue[_Answered] = SimpleQueue()
        self._workers = (
            {}
            if self._recorded
            else {name: _Worker(name, source, self._answers) for name, source in sources.items()}
        )

    def run(self, sink: Sink, stop: threading.Event) -> None:
        """Sample until stopped, or until recorded sources are exhausted."""
        for at, moment in self._ticks(stop):
            sink(self.take(at), moment)

    def times(self, stop: threading.Event) -> Iterator[datetime]:
        """The moments to sample at, each when it has come."""
        return (at for at, _ in self._ticks(stop))

    def _ticks(self, stop: threading.Event) -> Iterator[tuple[datetime, float | None]]:
        if self._recorded:
            times = paced(self._recorded, self._speed, self._clock, stop, self._after)
            return ((at, None) for at in times)
        return ticks(self._interval_s, self._clock, stop)

    def first(self) -> datetime:
        """The moment to take a single reading at: now, or where the recording begins."""
        timelines = [source.times() for source in self._recorded]
        now = datetime.fromtimestamp(self._clock.monotonic() + self._clock.offset(), UTC)
        return min((next(times, now) for times in timelines), default=now)

    def take(self, at: datetime) -> Draft:
        """Read all sources once, now, as of `at`."""
        answers = self._read_here(at) if self._recorded else self._read_in_threads(at)
        now = self._clock.monotonic()
        for name, answer in answers.items():
            self._conditions[name].note(answer, now)
        measured = {
            name: _said_by(source, answers.get(name)) for name, source in self._sources.items()
        }
        return self._pipeline(Sample(at, measured))

    def close(self) -> None:
        """Stop the workers and close the sources; one that hangs is left to its thread."""
        for worker in self._workers.values():
            worker.stop()
        if not self._workers:
            for source in self._sources.values():
                source.close()

    def _read_here(self, at: datetime) -> dict[str, Answer]:
        """Recorded sources have nothing to wait for, so they need no thread."""
        return {name: _attempt(source, at) for name, source in self._sources.items()}

    def _read_in_threads(self, at: datetime) -> dict[str, Answer]:
        """The answers of all workers; those not due to be tried have none."""
        now = self._clock.monotonic()
        due = {name for name in self._workers if self._conditions[name].due(now)}
        question = next(self._questions)
        waiting = {name for name in due if self._workers[name].ask(question, at)}
        answers: dict[str, Answer] = {}
        deadline = time.monotonic() + self._answer_s  # of real threads: never of a test's clock
        while waiting:
            try:
                answered = self._answers.get(timeout=max(0.0, deadline - time.monotonic()))
            except Empty:
                break
            if answered.question == question:  # one to an earlier tick is too late to be of use
                waiting.discard(answered.name)
                answers[answered.name] = answered.answer
                self._note_taken(answered)
        silent = SensorError(f"no answer within {self._answer_s:g} s")
        return answers | dict.fromkeys(due - answers.keys(), silent)

    def _note_taken(self, answered: _Answered) -> None:
        """Its worker is idle until it is asked again, so nobody reads the source meanwhile."""
        source = self._counting.get(answered.name)
        if source is not None and not isinstance(answered.answer, SensorError):
            source.taken()


def _said_by(source: Source, answer: Answer | None) -> Mapping[str, Measured]:
    """What a source said; when it failed, null for all that it should have measured."""
    if answer is None or isinstance(answer, SensorError):
        return {name: Measured(None, KNOWN[name].unit) for name in source.quantities}
    return answer


class _Condition:
    """Whether a source works, said once per change, and when a failed one is tried again."""

    def __init__(self, name: str, interval_s: float) -> None:
        self._log = log.bind(sensor=name)
        self._interval_s = interval_s
        self._failures = 0
        self._failed_at = self._retry_at = -math.inf

    def due(self, now: float) -> bool:
        return now >= self._retry_at

    def note(self, answer: Answer, now: float) -> None:
        if isinstance(answer, SensorError):
            self._failed(answer, now)
        elif self._failures:
            self._log.info(
                "sensor_recovered", failures=self._failures, failed_s=round(now - self._failed_at)
            )
            self._failures, self._retry_at = 0, -math.inf

    def _failed(self, error: SensorError, now: float) -> None:
        if not self._failures:
            self._failed_at = now
            self._log.warning("sensor_failed", reason=str(error))
        # The first retry is at the next tick; half an interval less, so as not to just miss one.
        back_off_s = min(BACK_OFF_S, self._interval_s * 2 ** min(self._failures, 30))
        self._retry_at = now + max(back_off_s - self._interval_s / 2, 0)
        self._failures += 1


class _Answered(NamedTuple):
    name: str
    question: int
    answer: Answer


class _Worker:
    """The thread of one source: it may hang as long as it likes."""

    def __init__(self, name: str, source: Source, answers: SimpleQueue[_Answered]) -> None:
        self._name = name
        self._source = source
        self._answers = answers
        self._asked: SimpleQueue[tuple[int, datetime] | None] = SimpleQueue()
        self._idle = True
        threading.Thread(target=self._work, name=f"sensor-{name}", daemon=True).start()

    def ask(self, question: int, at: datetime) -> bool:
        """Have the source read; False when it is still busy with an earlier question."""
        if not self._idle:
            return False
        self._idle = False
        self._asked.put((question, at))
        return True

    def stop(self) -> None:
        self._asked.put(None)

    def _work(self) -> None:
        while (asked := self._asked.get()) is not None:
            question, at = asked
            answer = _attempt(self._source, at)
            self._idle = True  # before the answer, so that who has it may ask again
            self._answers.put(_Answered(self._name, question, answer))
        self._source.close()


def _attempt(source: Source, at: datetime) -> Answer:
    """Read, whatever may come: a driver's bug must not stop the other sensors either."""
    try:
        return source.read(at)
    except SensorError as error:
        return error
    except Exception as error:
        log.exception("sensor_driver_broke")
        return SensorError(f"{type(error).__name__}: {error}")


def ticks(
    interval_s: float, clock: Clock, stop: threading.Event
) -> Iterator[tuple[datetime, float]]:
    """Wall-clock multiples of the interval, each when it has come; see the module's promises.

    With each its moment by the monotonic clock, by the offset that it was found right with: the
    clock may be set again before anybody asks.
    """
    last = -math.inf
    while True:
        now, offset = clock.monotonic(), clock.offset()
        wall = now + offset
        due = (math.floor(wall / interval_s) + 1) * interval_s
        if now + (due - wall) - last < interval_s / 2:
            due += interval_s  # a small step back has made the last tick come again
        if clock.wait(stop, min(due - wall, LOOK_AGAIN_S)):
            return
        now = clock.monotonic()
        late = now + offset - due
        checked = clock.offset()
        stepped = abs(checked - offset) > STEP_S
        if stepped or not 0 <= late <= min(LATEST_S, interval_s):
            continue  # not yet, or the clock was set, or we were held up: look again
        missed = int((now - last) / interval_s + 0.4) - 1 if last > -math.inf else 0
        if missed > 0:
            log.warning("ticks_missed", count=missed, interval_s=interval_s)
        last = now
        yield datetime.fromtimestamp(due, UTC), due - checked


def _wall(clock: Clock) -> float:
    return clock.monotonic() + clock.offset()


def paced(
    sources: Sequence[Recorded],
    speed: float,
    clock: Clock,
    stop: threading.Event,
    after: datetime | None = None,
) -> Iterator[datetime]:
    """The moments of all recorded sources in order, at `speed` times their own pace.

    None comes before its own time: a recording that goes on into the future is followed live.
    """
    began = clock.monotonic()
    first: datetime | None = None
    for at, _ in groupby(heapq.merge(*(source.times() for source in sources))):
        if after is not None and at <= after:
            continue
        first = first or at
        due = began + (at - first).total_seconds() / speed
        while (ahead := max(due - clock.monotonic(), at.timestamp() - _wall(clock))) > 0:
            if clock.wait(stop, min(ahead, LOOK_AGAIN_S)):
                return
        if stop.is_set():
            return
        yield at
