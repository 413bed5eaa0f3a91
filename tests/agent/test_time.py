"""A station through boots, power cuts and clocks set wrong: every reading once, and dated right.

The agent, its spool and its keeper are real; the machine's clocks and what happens to them are the
test's. It knows the true time of each reading, and looks at what the spool would send.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from clima_agent import config
from clima_agent.agent import Agent, open_spool
from clima_agent.clock import Keeper
from clima_agent.inbox import Inbox
from clima_agent.pipeline import Draft
from clima_agent.sender import Sender
from clima_agent.spool import Spool, SpoolFullError, Start
from clima_agent.spool.undated import Date
from clima_core import keys
from clima_core.identity import Lane
from clima_core.reading import Values
from tests.agent.machine import Machine

INTERVAL_S = 10.0
PATIENCE_S = 60.0
STATION_KEYS = keys.generate()


class Event(NamedTuple):
    """Something that happens while a station runs; `size` in readings, or seconds ahead."""

    kind: Literal["read", "taken", "set_right", "set_by_hand"]
    size: int = 0


class Boot(NamedTuple):
    """From a power cut to the next: off for so long, what the clock shows then, what happens."""

    off_s: int
    shows: int
    events: Sequence[Event]


class Script:
    """In the place of a sampler: lets the time pass, and has a reading for each interval."""

    without_sensors = False

    def __init__(
        self,
        events: Sequence[Event],
        machine: Machine,
        keeper: Keeper,
        inbox: Inbox,
        truth: list[float],
    ) -> None:
        self._events = events
        self._machine = machine
        self._inbox = inbox
        self._keeper = keeper
        self._truth = truth

    def run(self, sink: Callable[[Draft, float | None], None], _: threading.Event) -> None:
        for event in self._events:
            match event.kind:
                case "read":
                    for _number in range(event.size):
                        self._machine.pass_(INTERVAL_S)
                        sink(*self._reading())
                case "taken":  # out of the inbox, all of it
                    self._until(lambda: not len(self._inbox))
                case "set_right":
                    self._machine.set_right()
                    self._until(lambda: self._keeper.known is not None)
                case "set_by_hand":
                    self._machine.set_by_hand(float(event.size))

    def close(self) -> None:
        pass

    def _until(self, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not done():
            assert time.monotonic() < deadline, "the agent does not look at its clock"
            self._inbox.ring()
            time.sleep(0.001)

    def _reading(self) -> tuple[Draft, float]:
        self._truth.append(self._machine.true)
        said: dict[str, Values] = {"witness": {"air_temperature": float(len(self._truth))}}
        moment = self._machine.moment()
        return Draft(self._keeper.stamp(moment).time, said, {"air_temperature": 20.0}, {}), moment


def lived(folder: Path, boots: Sequence[Boot]) -> tuple[list[float], list[dict[str, Any]]]:
    """The true times of all readings, and the records that the spool has in the end."""
    configured = station_in(folder)
    machine, truth = Machine(shows=0.0), list[float]()
    for boot in boots:
        machine.power_cut(boot.off_s, shows=float(boot.shows))
        keeper, inbox = Keeper(machine=machine), Inbox()
        script = Script(boot.events, machine, keeper, inbox, truth)
        spool = open_spool(configured, keeper.now)
        sender = Sender(spool, (), STATION_KEYS, monotonic=machine.moment, now=keeper.now)
        Agent(configured, script, spool, sender, inbox, keeper).run()
        inbox.close()
    return truth, weather(folder)


def station_in(folder: Path) -> config.Configuration:
    return config.Configuration(
        station=config.Station(id="roof"),
        spool=config.Spool(directory=folder, commit_window_s=3600.0),
    )


def weather(folder: Path) -> list[dict[str, Any]]:
    """The records that a spool has in the end; all of them have a date."""
    spool = Spool(folder / "spool.db", "roof")
    try:
        assert 0 == spool.undated
        lane = Lane(spool.journal, "w")
        last = spool.ledgers[lane].last
        bodies = spool.read(lane, 1, last, 2**30) if last else []
        return [msgspec.json.decode(body) for body in bodies]
    finally:
        spool.close()


def assert_dated(truth: Sequence[float], records: Sequence[dict[str, Any]]) -> None:
    """Each once, in order, and right to the second, or flagged and within what it admits."""
    numbers = [round(each["sensor"]["witness"]["air_temperature"]) for each in records]
    assert list(range(1, len(truth) + 1)) == numbers
    times = [datetime.fromisoformat(each["@timestamp"]).timestamp() for each in records]
    assert all(earlier < later for earlier, later in pairwise(times))
    for at, true, record in zip(times, truth, records, strict=True):
        local = datetime.fromtimestamp(at, UTC).date().isoformat()
        assert local == record["station"]["local_date"]
        if "clock" not in record.get("quality", {}):
            assert abs(at - true) < 1
        elif uncertainty := record.get("labels", {}).get("clock_uncertainty_s"):
            assert abs(at - true) <= float(uncertainty) + 1


def test_a_boot_without_network_is_dated_when_it_comes(tmp_path: Path) -> None:
    """The Pi boots with the time of its last shutdown; the router is back ten minutes later."""
    events = [Event("read", 60), Event("set_right"), Event("read", 6)]
    truth, records = lived(tmp_path, [Boot(3600, 1_699_999_000, events)])
    assert 66 == len(records)
    assert_dated(truth, records)
    assert not any("clock" in record.get("quality", {}) for record in records)


def test_power_goes_before_the_time_is_known(tmp_path: Path) -> None:
    """Between two boots that know the time, what one has read that did not is bounded by them."""
    known = [Event("set_right"), Event("read", 5)]
    truth, records = lived(
        tmp_path, [Boot(10, 0, known), Boot(30, 0, [Event("read", 5)]), Boot(30, 0, known)]
    )
    assert_dated(truth, records)
    flags = [record.get("quality", {}).get("clock") for record in records]
    assert [None] * 5 + [["estimated"]] * 5 + [None] * 5 == flags
    uncertain = [each["labels"]["clock_uncertainty_s"] for each in records if "labels" in each]
    assert all(float(each) <= 40 for each in uncertain)


class FullSpool(Spool):
    """On a disk without room to date anything, at first and until `room` says that there is."""

    room: Callable[[], bool]
    attempts = 0

    def date(self, running: Start, document: Date) -> int:
        self.attempts += 1
        if self.attempts == 1 or not self.room():
            raise SpoolFullError("the disk is full")
        return super().date(running, document)


def test_a_full_disk_puts_dating_off_and_misdates_nothing(tmp_path: Path) -> None:
    """It is tried again until there is room; what is read meanwhile is not numbered before it."""
    machine, truth = Machine(shows=0.0), list[float]()
    keeper, inbox = Keeper(machine=machine), Inbox()
    events = [Event("read", 20), Event("taken"), Event("set_right"), Event("read", 20)]
    script = Script(events, machine, keeper, inbox, truth)
    configured = station_in(tmp_path)
    spool = FullSpool(tmp_path / "spool.db", "roof", now=keeper.now)
    spool.room = lambda: len(truth) == 40
    sender = Sender(spool, (), STATION_KEYS, monotonic=machine.moment, now=keeper.now)
    Agent(configured, script, spool, sender, inbox, keeper).run()
    inbox.close()
    records = weather(tmp_path)
    assert_dated(truth, records)
    assert not any("clock" in record.get("quality", {}) for record in records)


def test_a_time_that_is_known_at_the_very_end_dates_what_came_before(tmp_path: Path) -> None:
    """By the forwarder's last word, say: what is kept after that must not be numbered before it."""
    machine, truth = Machine(shows=0.0), list[float]()
    keeper, inbox = Keeper(machine=machine), Inbox()

    class LastWord(Sender):
        def close(self) -> None:
            super().close()
            machine.set_right()

    spool = Spool(tmp_path / "spool.db", "roof", now=keeper.now)
    sender = LastWord(spool, (), STATION_KEYS, monotonic=machine.moment, now=keeper.now)
    script = Script([Event("read", 5)], machine, keeper, inbox, truth)
    Agent(station_in(tmp_path), script, spool, sender, inbox, keeper).run()
    inbox.close()
    assert_dated(truth, weather(tmp_path))


EVENTS = st.one_of(
    st.builds(Event, st.just("read"), st.integers(1, 8)),
    st.just(Event("set_right")),
    st.builds(Event, st.just("set_by_hand"), st.sampled_from([-86400, -30, 30, 86400 * 400])),
)
BOOTS = st.builds(
    Boot, st.integers(1, 10_000), st.integers(0, 2_000_000_000), st.lists(EVENTS, max_size=6)
)


@settings(max_examples=30)
@given(st.lists(BOOTS, max_size=6))
def test_whatever_happens_to_the_clock_each_reading_has_its_time(boots: list[Boot]) -> None:
    """In the end there is a network again."""
    last = Boot(60, 0, [Event("read", 1), Event("set_right"), Event("read", 1)])
    with tempfile.TemporaryDirectory() as folder:
        assert_dated(*lived(Path(folder), [*boots, last]))
