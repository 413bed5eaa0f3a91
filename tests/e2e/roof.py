"""A station on a roof in accelerated time: the real agent, its real spool, a real forwarder.

The simulation owns the time, the power, the wires and the network, and nothing else. Time passes
only while the sampler waits for its next reading, in steps; after each the agent's loop has a pass.
While the link is up time waits for answers that are overdue, or a store that takes its usual 50 ms
would seem to take hours. The forwarder's clock is shifted by libfaketime from a file. The
agent lives in this process and its files on a `LosingDisk`, so power can go in the midst of a
transaction; a boot gets from the life before it just what such a disk has kept.

The witness is a sensor that counts: each reading says its number, and the simulation keeps at what
true time that was.
"""

from __future__ import annotations

import heapq
import os
import random
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import structlog
import zmq
from structlog.typing import EventDict, WrappedLogger

from clima_agent import config
from clima_agent.agent import Agent, open_spool
from clima_agent.clock import Keeper
from clima_agent.connection import Forwarder
from clima_agent.inbox import Inbox
from clima_agent.pipeline import Pipeline
from clima_agent.sampler import Sampler
from clima_agent.sender import Sender
from clima_agent.service import Service
from clima_agent.sources import Measured, Source, bmp180, htu21d
from clima_agent.sources.i2c import ChipSource
from clima_agent.spooled_log import SpooledLog
from clima_core import keys, logs
from clima_core.errors import ClimaError
from tests.agent.fake_bus import NACK, FakeBmp180, FakeBus, FakeHtu21d
from tests.agent.machine import Machine
from tests.agent.spool.losing import LosingDisk
from tests.e2e.fate import Boot, Fate, Fault, Link
from tests.e2e.harness import PATIENCE_S, Site
from tests.e2e.proxy import Proxy

BEGIN = datetime(2024, 2, 27, 18, tzinfo=UTC).timestamp()  # 72 hours from here is a leap day
STEP_S = 20.0
RESIDUAL_DRIFT = 3e-6  # of a crystal whose error NTP has found out
FORCED_CUT_S = 120.0  # a disk that is not written to loses power anyway
HEARTBEAT_S = 600  # three of them without a word end a session
OVERDUE_S = 2400.0  # an answer
LONGEST_END_S = 12 * 3600.0  # to deliver what three days have left
DEAD_S = 300.0  # how long a forwarder that died stays away
# Of real time, for a driver that hangs: no busy machine takes as long for one that does not, and
# it is less than what the agent waits for its sampler, which must not outlive a power cut.
HUNG_S = 3.0


class PowerCutError(Exception):
    """There is no computer any more."""


class Reading(NamedTuple):
    """What the witness knows of one."""

    true: float
    boot: int


class Life(NamedTuple):
    """What is known of a boot afterwards."""

    ended: float  # the true time of the power cut
    right_from: float | None  # when the kernel began to vouch for its clock
    right_until: float


class Pi(Machine):
    """The machine, with a crystal that drifts until NTP corrects it."""

    def __init__(self, drift: float) -> None:
        super().__init__(shows=0.0)
        self.true = self.booted = BEGIN
        self._crystal = drift
        self._drift = drift
        self._moment = 0.0

    def moment(self) -> float:
        return self._moment

    def pass_(self, seconds: float) -> None:
        drifted = 0.0 if self.synchronised else seconds * self._drift
        self._moment += seconds + drifted
        self.ahead += drifted
        self.true += seconds

    def power_cut(self, off_s: float, *, shows: float) -> None:
        super().power_cut(off_s, shows=shows)
        self._moment, self._drift = 0.0, self._crystal

    def disciplined_by_ntp(self, wrong_s: float) -> None:
        self.set_right()
        self.ahead, self._drift = wrong_s, RESIDUAL_DRIFT


class Pulse(Service):
    """Knows when the agent's loop has passed."""

    def __init__(self) -> None:
        super().__init__({})
        self.loop = threading.current_thread()
        self.beaten = threading.Event()

    def beat(self) -> None:
        super().beat()
        if threading.current_thread() is self.loop:
            self.beaten.set()


class Witness:
    """The sensor that counts."""

    quantities = ("illuminance",)

    def __init__(self, roof: Roof) -> None:
        self._roof = roof

    def read(self, _: datetime, /) -> Mapping[str, Measured]:
        roof = self._roof
        roof.read.append(Reading(roof.machine.true, roof.machine.boots))
        return {"illuminance": Measured(float(len(roof.read)), "lx")}

    def close(self) -> None:
        pass


class Hanging(FakeBus):
    """A bus whose driver may hang in the middle of a transfer."""

    def __init__(self, chips: Mapping[int, Any]) -> None:
        super().__init__(chips)
        self.free = threading.Event()
        self.free.set()

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        self.free.wait()


class Roof:
    """The simulation; `live` is all of it."""

    def __init__(
        self,
        folder: Path,
        site: Site,
        fate: Fate,
        *,
        seed: int,
        interval_s: float,
        window_s: float,
        station: str,
    ) -> None:
        self.machine = Pi(fate.drift)
        self.read: list[Reading] = []
        self.lives: dict[int, Life] = {}
        self.events: Counter[str] = Counter()
        self.station = station
        self.window_s = window_s
        self._site = site
        self._fate = fate
        self._chance = random.Random(seed)
        self._interval_s = interval_s
        self._folder = folder
        self._log = (folder / "agent.log").open("w", buffering=1)
        self._time_file = folder / "time"
        self._time = os.open(self._time_file, os.O_WRONLY | os.O_CREAT)
        self._proxy = Proxy(site.port)
        self._keys = keys.generate()
        self._disk = LosingDisk(self._chance)
        self._kept: dict[str, bytes] = {}
        self._due: list[tuple[float, int, int, Callable[[], None]]] = []
        self._numbers = count()
        self._link: Link = "up"
        self._forwarder_up = True
        self._right_from: float | None = None
        self._right_until: float | None = None
        self.agent: Agent | None = None
        self._tell_the_time()

    # -- all of it -------------------------------------------------------------------------

    def live(self) -> None:
        """Through all boots; in the end everything is delivered."""
        public = keys.hexadecimal(self._keys.public)
        done = self._site.clima("stations", "add", self.station, public)
        assert 0 == done.returncode, done.stderr
        self._foresee()
        try:
            with self._disk:
                for number, boot in enumerate(self._fate.boots, 1):
                    self._boot(boot, last=number == len(self._fate.boots))
        finally:
            self._proxy.close()
            structlog.reset_defaults()
            self._log.close()
            os.close(self._time)

    def environ(self, library: str) -> dict[str, str]:
        """What a process needs to have the simulation's time."""
        return {
            "LD_PRELOAD": library,
            "FAKETIME_TIMESTAMP_FILE": str(self._time_file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def _foresee(self) -> None:
        for at, state in self._fate.links:
            self._at(BEGIN + at, lambda state=state: self._set_link(state))  # type: ignore[misc]
        for at in self._fate.forwarder_dies:
            self._at(BEGIN + at, self._kill_forwarder)
            self._at(BEGIN + at + DEAD_S, self._start_forwarder)
        self._buses = {
            "htu21d": Hanging({0x40: FakeHtu21d()}),
            "bmp180": Hanging({0x77: FakeBmp180()}),
        }
        for at, chip, fault, for_s in self._fate.faults:
            self._at(BEGIN + at, lambda chip=chip, fault=fault: self._break(chip, fault))  # type: ignore[misc]
            self._at(BEGIN + at + for_s, lambda chip=chip: self._mend(chip))  # type: ignore[misc]

    # -- one life --------------------------------------------------------------------------

    def _boot(self, boot: Boot, *, last: bool) -> None:
        shown = {
            "saved": self.machine.true + self.machine.ahead - boot.off_s / 2,
            "epoch": 0.0,
            "future": self.machine.true + 9e7,
            "right": self.machine.true + boot.off_s,
        }
        self._pass(boot.off_s)
        self.machine.true -= boot.off_s  # `power_cut` lets it pass
        self.machine.power_cut(boot.off_s, shows=max(0.0, shown[boot.shows]))
        self._right_from = self._right_until = None
        self._plan(boot, last=last)
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            self._disk.begin(Path(folder), self._kept)
            try:
                self._run(Path(folder))
            except (PowerCutError, ClimaError):
                if self._disk.left is None:
                    raise
            if last:
                return
            self._disk.cut()
            assert self._disk.left is not None
            self._kept = self._disk.left
        self._bury()

    def _bury(self) -> None:
        """Note what is known of the life that has ended."""
        ended = self.machine.true
        self.lives[self.machine.boots] = Life(ended, self._right_from, self._right_until or ended)

    def _plan(self, boot: Boot, *, last: bool) -> None:
        now = self.machine.true
        if boot.ntp_after_s is not None:
            self._in_this_life(now + boot.ntp_after_s, lambda: self._ntp(boot.wrong_s))
        if boot.set_by_hand is not None:
            after, ahead = boot.set_by_hand
            self._in_this_life(now + after, lambda: self._set_by_hand(ahead))
        if last:
            self._in_this_life(now, lambda: self._set_link("up"))
            self._in_this_life(now + boot.up_s, self._end_when_delivered)
        else:
            self._in_this_life(
                now + boot.up_s,
                lambda: self._disk.strike(boot.struck_after, self._proxy.cut, torn=boot.torn),
            )
            self._in_this_life(now + boot.up_s + FORCED_CUT_S, self._disk.cut)

    def _run(self, folder: Path) -> None:
        """The agent, as `clima-agent run` puts it together, until there is no power."""
        address = f"tcp://127.0.0.1:{self._proxy.port}"
        configured = config.Configuration(
            station=config.Station(id=self.station, elevation_m=104.0, timezone="Europe/Lisbon"),
            sampling=config.Sampling(interval_s=self._interval_s, health_interval_s=600.0),
            spool=config.Spool(directory=folder, commit_window_s=self.window_s),
            forwarders=(config.Forwarder(address=address, public_key=self._site.public_key),),
        )
        keeper, inbox, pulse = Keeper(machine=self.machine), Inbox(), Pulse()
        logs.setup(
            "info",
            extra=[SpooledLog(inbox, configured.station, keeper), self._noted],
            stream=self._log,
        )
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        forwarder = Forwarder(address, self._site.public_key)
        if self._link == "up":
            self._proxy.resume()
        try:
            spool = open_spool(configured, keeper.now)
            sender = Sender(
                spool,
                [forwarder],
                self._keys,
                monotonic=self.machine.moment,
                now=keeper.now,
                told_time=keeper.told,
                context=context,
            )
            clock = Passing(self, keeper, inbox, sender, pulse)
            sampler = Sampler(
                self._sources(),
                Pipeline(elevation_m=104.0),
                clock=clock,
                interval_s=self._interval_s,
                answer_s=HUNG_S,
            )
            self.agent = Agent(
                configured,
                sampler,
                spool,
                sender,
                inbox,
                keeper,
                monotonic=self.machine.moment,
                service=pulse,
            )
            self.agent.run()
        finally:
            context.destroy(linger=0)
            inbox.close()

    def _sources(self) -> dict[str, Source]:
        def chip(name: str, quantities: tuple[str, ...], find: Callable[[Any], Any]) -> Source:
            bus = self._buses[name]

            def connect() -> FakeBus:
                bus.closed = False
                return bus

            return ChipSource(quantities, connect, find)

        return {
            "witness": Witness(self),
            "htu21d": chip(
                "htu21d", htu21d.QUANTITIES, lambda bus: htu21d.Htu21dChip(bus, bus.sleep)
            ),
            "bmp180": chip(
                "bmp180", bmp180.QUANTITIES, lambda bus: bmp180.Bmp180Chip(bus, 3, bus.sleep)
            ),
        }

    def _noted(self, _: WrappedLogger, __: str, event: EventDict) -> EventDict:
        self.events[str(event["event"])] += 1
        return event

    # -- time ------------------------------------------------------------------------------

    def _pass(self, seconds: float) -> None:
        """Time passes, and what is due happens, without a station."""
        until = self.machine.true + seconds
        while (step := self.step(until)) > 0:
            self.machine.pass_(step)
            self.happen()

    def step(self, until: float) -> float:
        """How far to go at once."""
        due = self._due[0][0] if self._due else until
        return max(min(until, max(due, self.machine.true + 1e-3)) - self.machine.true, 0.0)

    def happen(self) -> None:
        """What is due by now."""
        self._tell_the_time()
        while self._due and self._due[0][0] <= self.machine.true:
            _, _, boot, what = heapq.heappop(self._due)
            if boot in (0, self.machine.boots):
                what()

    def powerless(self) -> bool:
        return self._disk.left is not None

    @property
    def answered(self) -> bool:
        """Whether the network lets answers through now."""
        return self._link == "up" and self._forwarder_up and not self.powerless()

    def late(self) -> float:
        """By how much a wait takes longer than it should: a busy Pi."""
        if self._chance.random() < 0.005:
            return self._chance.uniform(1.5, 40.0)
        return self._chance.uniform(0, 0.3) if self._chance.random() < 0.1 else 0.0

    def _at(self, when: float, what: Callable[[], None], boot: int = 0) -> None:
        heapq.heappush(self._due, (when, next(self._numbers), boot, what))

    def _in_this_life(self, when: float, what: Callable[[], None]) -> None:
        self._at(when, what, self.machine.boots)

    def _tell_the_time(self) -> None:
        """In place, and always as many bytes: whoever reads sees the old or the new."""
        os.pwrite(self._time, f"{self.machine.true - time.time():+020.3f}\n".encode(), 0)

    # -- what happens ----------------------------------------------------------------------

    def _ntp(self, wrong_s: float) -> None:
        self.machine.disciplined_by_ntp(wrong_s)
        self._right_from = self._right_from or self.machine.true

    def _set_by_hand(self, ahead: float) -> None:
        self.machine.set_by_hand(ahead)
        if self._right_from is not None:
            self._right_until = self.machine.true

    def _set_link(self, state: Link) -> None:
        self._link = state
        self._proxy.resume()
        if state == "cut":
            self._proxy.cut()
        elif state == "silent":
            self._proxy.silence()

    def _kill_forwarder(self) -> None:
        self._forwarder_up = False
        self._site.forwarder.kill()

    def _start_forwarder(self) -> None:
        if not self._site.forwarder.running:
            self._site.start_forwarder()
        self._forwarder_up = True

    def _break(self, chip: str, fault: Fault) -> None:
        bus = self._buses[chip]
        match fault:
            case "gone":
                bus.fault = NACK
            case "stuck":
                bus.fault = TimeoutError(110, "Connection timed out")
            case "noisy":
                for each in bus.chips.values():
                    each.turned_bits = 10_000  # type: ignore[attr-defined]
            case "hung":
                bus.free.clear()

    def _mend(self, chip: str) -> None:
        bus = self._buses[chip]
        bus.fault = None
        bus.free.set()
        for each in bus.chips.values():
            each.turned_bits = 0  # type: ignore[attr-defined]

    def _end_when_delivered(self) -> None:
        assert self.agent is not None
        waiting = sum(len(each.waiting) for each in self.agent.spool.ledgers.values())
        assert self.machine.moment() < LONGEST_END_S, f"{waiting} records are not delivered"
        if waiting > 20:
            self._in_this_life(self.machine.true + STEP_S, self._end_when_delivered)
        else:
            self.agent.wake()


class Passing:
    """The sampler's clock: waiting is what lets time pass."""

    def __init__(
        self, roof: Roof, keeper: Keeper, inbox: Inbox, sender: Sender, pulse: Pulse
    ) -> None:
        self._roof = roof
        self._keeper = keeper
        self._inbox = inbox
        self._sender = sender
        self._pulse = pulse
        self._asked: float | None = None  # since when there is an answer to wait for
        self.monotonic = roof.machine.moment

    def offset(self) -> float:
        return self._keeper.offset_s

    def wait(self, stop: threading.Event, seconds: float) -> bool:
        roof = self._roof
        until = roof.machine.true + max(seconds, 0.0) + roof.late()
        while (step := roof.step(min(until, roof.machine.true + STEP_S))) > 0:
            roof.machine.pass_(step)
            roof.happen()
            self._settle()
            if stop.is_set():
                return True
        return stop.is_set()

    def _settle(self) -> None:
        """The agent's loop has had a pass, and no answer is overdue."""
        self._passed()
        deadline = time.monotonic() + PATIENCE_S
        while self._roof.answered and self._overdue():
            assert time.monotonic() < deadline, f"no answer: {vars(self._sender)}"
            time.sleep(0.0005)

    def _overdue(self) -> bool:
        """Whether the forwarder takes too long to store; all else it answers at once."""
        sender, now = self._sender, self.monotonic()
        if sender._socket is None or (sender._session is not None and not sender.in_flight):
            self._asked = None
        if sender._socket is None or sender.in_flight == 0:
            return sender._socket is not None and (
                sender._session is None or sender._pinged > sender._heard
            )
        self._asked = now if self._asked is None else self._asked
        return now - self._asked > OVERDUE_S

    def _passed(self) -> None:
        self._pulse.beaten.clear()
        self._inbox.ring()
        while not self._pulse.beaten.wait(0.2):
            agent = self._roof.agent
            if self._roof.powerless() or agent is None or agent.stop.is_set():
                break
        if self._roof.powerless():
            raise PowerCutError
