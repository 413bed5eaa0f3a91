"""The sampling loop, on a clock that the tests move, and with sources that misbehave."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from clima_agent.pipeline import Draft, Pipeline
from clima_agent.sampler import Sampler, paced, ticks
from clima_agent.sources import Measured, SensorError, Source
from clima_agent.sources.pulses import Pulse, PulseSource

EPOCH = 1_700_000_000.0  # a multiple of 10


class FakeClock:
    """Time passes in `wait` alone, or when a test says so; `events` strike during a wait."""

    def __init__(self, wall: float = EPOCH + 3.2) -> None:
        self.now = wall
        self.since_boot = 50.0
        self.waits: list[float] = []
        self.events: list[Callable[[], None]] = []

    def offset(self) -> float:
        return self.now - self.since_boot

    def monotonic(self) -> float:
        return self.since_boot

    def wait(self, stop: threading.Event, seconds: float) -> bool:
        self.waits.append(seconds)
        self.held_up(seconds)
        if self.events:
            self.events.pop(0)()
        return stop.is_set()

    def held_up(self, seconds: float) -> None:
        self.now += seconds
        self.since_boot += seconds

    def step(self, seconds: float) -> None:
        self.now += seconds


class Fake:
    """A source that says what `answer` does."""

    quantities = ("air_temperature",)

    def __init__(self, answer: Callable[[], float | None] = lambda: 20.0) -> None:
        self.answer = answer
        self.reads = 0
        self.closed = threading.Event()

    def read(self, _: datetime, /) -> Mapping[str, Measured]:
        self.reads += 1
        return {"air_temperature": Measured(self.answer(), "°C")}

    def close(self) -> None:
        self.closed.set()


def failing(*failures: bool) -> Callable[[], float]:
    """Fails where True, in turn; well for ever after."""
    turns = iter(failures)

    def answer() -> float:
        if next(turns, False):
            raise SensorError("unplugged")
        return 20.0

    return answer


def seconds(ticking: Iterator[tuple[datetime, float]], count: int) -> list[float]:
    return [at.timestamp() - EPOCH for at, _ in islice(ticking, count)]


def test_ticks_are_multiples_of_the_interval_and_do_not_drift() -> None:
    """However long the work between them takes."""
    clock, got = FakeClock(), []
    for at, _ in islice(ticks(10, clock, threading.Event()), 5):
        got.append((at.timestamp() - EPOCH, clock.now - at.timestamp()))
        clock.held_up(0.7)

    assert [pytest.approx((10.0 * i, 0), abs=1e-6) for i in range(1, 6)] == got


def test_missed_ticks_are_skipped_and_said_once() -> None:
    """A stall of 35 s costs three ticks; none is made up for."""
    clock = FakeClock()
    times = ticks(10, clock, threading.Event())
    with capture_logs() as logs:
        got = seconds(times, 2)
        clock.held_up(35)
        got += seconds(times, 2)

    assert [10, 20, 60, 70] == got
    assert [{"event": "ticks_missed", "count": 3, "interval_s": 10, "log_level": "warning"}] == logs


def test_waking_late_from_a_wait_is_a_missed_tick() -> None:
    """A reading never bears a time more than a second off."""
    clock = FakeClock()
    clock.events.append(lambda: clock.held_up(4))

    assert [20] == seconds(ticks(10, clock, threading.Event()), 1)


def test_a_small_step_back_repeats_no_tick() -> None:
    """The same multiple comes again 0.2 s later, and is passed over."""
    clock = FakeClock()
    times = ticks(10, clock, threading.Event())
    got = seconds(times, 1)
    clock.step(-0.2)

    assert [10, 20, 30] == got + seconds(times, 2)


@pytest.mark.parametrize("step", [3600.0, -3600.0, 86400 * 365, -4.0, 4.0])
def test_a_stepped_clock_makes_no_burst(step: float) -> None:
    """The ticks follow the new time, at least half an interval apart."""
    clock = FakeClock()
    times = ticks(10, clock, threading.Event())
    next(times)
    clock.events.append(lambda: clock.step(step))
    moments = []
    for at, _ in islice(times, 4):
        assert pytest.approx(clock.now, abs=1) == at.timestamp()
        moments.append(clock.since_boot)

    assert all(5 <= b - a <= 15 for a, b in pairwise(moments))


@given(
    st.sampled_from([0.5, 1, 10, 60, 900]),
    st.lists(st.tuples(st.floats(-5000, 5000), st.floats(0, 100)), max_size=20),
    st.data(),
)
def test_ticks_keep_their_promises(
    interval_s: float, accidents: list[tuple[float, float]], data: st.DataObject
) -> None:
    """Whatever steps and stalls: right times, multiples, apart, never one twice in a row."""
    clock = FakeClock(EPOCH + data.draw(st.floats(0, 1000)))
    got: list[tuple[datetime, float]] = []
    for at, said in islice(ticks(interval_s, clock, threading.Event()), len(accidents) + 1):
        assert pytest.approx(clock.offset(), rel=0, abs=1e-3) == at.timestamp() - said
        assert 0 <= clock.now - at.timestamp() + 1e-5 <= min(1, interval_s) + 2e-5
        assert pytest.approx(round(at.timestamp() / interval_s)) == at.timestamp() / interval_s
        got.append((at, clock.since_boot))
        if len(got) <= len(accidents):
            step, stall = accidents[len(got) - 1]
            clock.held_up(stall)
            clock.step(step)
    for (at, moment), (later, later_moment) in pairwise(got):
        assert later_moment - moment >= interval_s / 2 - 1e-3
        assert at != later or abs(later_moment - moment) > interval_s / 2


def test_stop_ends_the_wait() -> None:
    """At once, without another reading."""
    clock, stop = FakeClock(), threading.Event()
    clock.events.append(stop.set)

    assert [] == list(ticks(10, clock, stop))


class KnownLater(FakeClock):
    """Its time becomes known, an hour away, right after a tick has looked at it."""

    looks = 0

    def offset(self) -> float:
        self.looks += 1
        if self.looks == 3:  # before the wait, after it, and then whoever asks
            self.step(3600)
        return super().offset()


def test_a_reading_is_of_the_moment_of_its_tick_whatever_the_clock_does_meanwhile() -> None:
    """It is dated by that moment: the time of day may be another one by then."""
    clock, stop, moments = KnownLater(), threading.Event(), list[float | None]()

    def sink(_: Draft, moment: float | None) -> None:
        moments.append(moment)
        stop.set()

    sampler(clock, one=Fake()).run(sink, stop)

    assert [pytest.approx(50 + 6.8)] == moments


def sampler(clock: FakeClock, answer_s: float = 10.0, **sources: Source) -> Sampler:
    """It waits for an answer in real time, whatever the clock says."""
    return Sampler(sources, Pipeline(), interval_s=10, clock=clock, answer_s=answer_s)


def taken(sampler: Sampler, count: int) -> list[Draft]:
    return list(map(sampler.take, islice(sampler.times(threading.Event()), count)))


def test_a_failed_sensor_is_null_and_flagged_and_said_once() -> None:
    """One line when it fails, one when it works again; the other sensor goes on meanwhile."""
    clock = FakeClock()
    other = Fake(lambda: 21.0)
    with capture_logs() as logs:
        both = sampler(clock, roof=Fake(failing(False, True, True)), wall=other)
        drafts = taken(both, 8)
        both.close()

    roof = [draft.sensors["roof"]["air_temperature"] for draft in drafts]
    assert [20.0, None, None, None, 20.0, 20.0, 20.0, 20.0] == roof
    assert [20.0, 21.0, 21.0, 21.0, 20.0] == [
        draft.weather["air_temperature"] for draft in drafts[:5]
    ]
    assert 8 == other.reads
    assert [
        ("sensor_failed", "roof"),
        ("sensor_recovered", "roof"),
    ] == [(line["event"], line["sensor"]) for line in logs]
    assert "unplugged" == logs[0]["reason"]
    assert {"failures": 2, "failed_s": 30} == {
        name: logs[1][name] for name in ("failures", "failed_s")
    }


def test_a_sensor_that_stays_broken_is_tried_less_and_less_often() -> None:
    """The pauses double up to five minutes; its quantity is null, failed, all the while."""
    clock = FakeClock()
    broken = Fake(failing(*[True] * 1000))
    alone = sampler(clock, roof=broken)

    drafts = taken(alone, 360)
    alone.close()

    assert {(None, "failed")} == {
        (draft.weather["air_temperature"], *draft.quality["air_temperature"]) for draft in drafts
    }
    assert 10 < broken.reads < 20


def test_a_sensor_that_hangs_holds_up_nobody() -> None:
    """It is waited for no longer than allowed, asked nothing more, and welcome when it is back."""
    clock, release = FakeClock(), threading.Event()

    def hang() -> float:
        release.wait(30)
        return 5.0

    stuck = Fake(hang)
    with capture_logs() as logs:
        both = sampler(clock, 1.0, stuck=stuck, well=Fake())
        drafts = taken(both, 4)
        assert 1 == stuck.reads
        release.set()
        while drafts[-1].sensors["stuck"]["air_temperature"] is None:
            drafts += taken(both, 1)
        both.close()

    assert [20.0] * 4 == [draft.weather["air_temperature"] for draft in drafts[:4]]
    assert 5.0 == drafts[-1].weather["air_temperature"]
    assert ["sensor_failed", "sensor_recovered"] == [line["event"] for line in logs]
    assert "no answer within 1 s" == logs[0]["reason"]
    assert stuck.closed.wait(5)


class HeldUpLine:
    """Two pulses come before each reading; what it has to tell may be held up."""

    def __init__(self) -> None:
        self.free = threading.Event()
        self.free.set()
        self.fell = 0

    def pulses(self) -> Iterator[Pulse]:
        self.fell += 2
        yield Pulse(self.fell - 1, 0.0)
        self.free.wait(30)
        yield Pulse(self.fell, 0.0)

    def close(self) -> None:
        pass


def test_rain_of_an_answer_that_came_too_late_is_in_the_next_reading() -> None:
    """None is lost and none told twice, however often the thread is held up."""
    clock, line = FakeClock(), HeldUpLine()
    gauge = PulseSource(
        ("precipitation_amount",),
        lambda: line,
        lambda stretch: {"precipitation_amount": Measured(stretch.pulses, "mm")},
        clock.monotonic,
    )
    alone = sampler(clock, 1.0, rain_gauge=gauge)
    drafts = taken(alone, 3)
    for _ in range(2):
        line.free.clear()
        drafts += taken(alone, 2)
        assert drafts[-1].weather["precipitation_amount"] is None
        line.free.set()
        while drafts[-1].weather["precipitation_amount"] is None:
            drafts += taken(alone, 1)
    alone.close()

    told = [draft.weather.get("precipitation_amount") or 0.0 for draft in drafts]
    assert line.fell == sum(told)
    assert 2.0 < max(told)


def test_a_bug_in_a_driver_is_a_failed_sensor() -> None:
    """With its traceback in the log, and without harm to the others."""
    with capture_logs() as logs:
        both = sampler(FakeClock(), broken=Fake(lambda: 1 / 0), well=Fake())
        (draft,) = taken(both, 1)
        both.close()

    assert 20.0 == draft.weather["air_temperature"]
    assert {"sensor_driver_broke", "sensor_failed"} == {line["event"] for line in logs}


class FakeRecording(Fake):
    """Speaks at its own moments."""

    def __init__(self, *minutes: int) -> None:
        super().__init__()
        self._times = [datetime(2013, 1, 1, tzinfo=UTC) + timedelta(minutes=m) for m in minutes]

    def times(self) -> Iterator[datetime]:
        yield from self._times


def test_recordings_are_followed_in_order_at_their_speed() -> None:
    """Two at once, each moment once; sixty times as fast is a second for a minute."""
    clock = FakeClock()
    recordings = [FakeRecording(0, 10, 20), FakeRecording(10, 15)]

    times = list(paced(recordings, 60, clock, threading.Event()))

    assert [0, 10, 15, 20] == [at.minute for at in times]
    assert pytest.approx([10, 5, 5]) == clock.waits


def test_no_reading_comes_before_its_time() -> None:
    """At top speed the past is played at once, and what is still to come when it has come."""
    clock = FakeClock()
    recording = FakeRecording(0, 2)
    clock.now = datetime(2013, 1, 1, 0, 0, 30, tzinfo=UTC).timestamp()

    came = {
        at.minute: clock.now for at in paced([recording], float("inf"), clock, threading.Event())
    }

    assert datetime(2013, 1, 1, 0, 0, 30, tzinfo=UTC).timestamp() == came[0]
    assert datetime(2013, 1, 1, 0, 2, tzinfo=UTC).timestamp() == pytest.approx(came[2])


def test_run_ends_with_the_recording() -> None:
    """At top speed nothing is waited for; every draft goes to the sink."""
    clock, drafts = FakeClock(), list[Draft]()
    played = Sampler(
        {"replay": FakeRecording(*range(60))},
        Pipeline(),
        interval_s=10,
        speed=float("inf"),
        clock=clock,
    )

    played.run(lambda draft, _: drafts.append(draft), threading.Event())

    assert 60 == len(drafts)
    assert [] == clock.waits
    assert 0 == played.first().minute


def test_a_slow_sink_delays_a_recording_and_loses_nothing() -> None:
    """What was recorded is played whole: it catches up instead of skipping."""
    clock = FakeClock()
    played = Sampler({"replay": FakeRecording(0, 1, 2, 3)}, Pipeline(), interval_s=10, clock=clock)
    drafts: list[Draft] = []

    def sink(draft: Draft, moment: float | None) -> None:
        assert moment is None, "a recording has times of its own"
        drafts.append(draft)
        clock.held_up(100)

    played.run(sink, threading.Event())

    assert [0, 1, 2, 3] == [draft.time.minute for draft in drafts]
    assert [] == clock.waits
