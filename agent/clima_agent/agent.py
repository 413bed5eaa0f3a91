"""The agent: one thread samples, one keeps and sends.

The sampler's thread reads the sensors and leaves each reading in the inbox. This module's loop
owns the spool and the socket: it shows a fresh reading to whoever watches, appends it, syncs the
spool once per window, and lets the sender send what is synced. What happens to a record is
decided in one thread, so there is no lock and no order to get wrong. A sensor that hangs holds up
the sampler at most; a card that is slow to sync holds up sending, never sampling. Both threads
tell the service manager at each pass that they are alive (`service.py`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

import msgspec
import structlog
import zmq

from clima_agent import document, health
from clima_agent.clock import Keeper, Known
from clima_agent.config import Configuration
from clima_agent.connection import Forwarder
from clima_agent.inbox import Inbox, Item
from clima_agent.pipeline import Draft
from clima_agent.sampler import Sink
from clima_agent.sender import Sender
from clima_agent.service import Service
from clima_agent.spool import Limits, Spool, SpoolDamagedError, SpoolFullError, recover
from clima_agent.spool.undated import Start, Undated
from clima_core.identity import STREAMS, Stream

log = structlog.get_logger("clima_agent.agent")

MOST_UNSYNCED = 1000  # records, a full batch: a fast source need not wait for the window
MOST_APPENDED = 200  # in one transaction, so that a nearly full disk has room for its log
MOST_IN_INBOX = 2000  # then a source with a timeline of its own waits
FAREWELL_S = 5.0  # to have the last batches answered when told to stop
LONGEST_WAIT_S = 60.0
CLOCK_CHECK_S = 1.0  # how often to look whether the time is known, until it is


def spool_limits(config: Configuration) -> Limits:
    """The configured limits in the spool's terms."""
    spool = config.spool
    return Limits(spool.limit_bytes, spool.keep_bytes, spool.keep_days)


def open_spool(config: Configuration, now: Callable[[], datetime]) -> Spool:
    """The station's spool; a damaged one is put aside, and what it held is salvaged."""
    path = config.spool.directory / "spool.db"
    try:
        return Spool(path, config.station.id, spool_limits(config), now=now, report=log.error)
    except SpoolDamagedError as error:
        return recovered_spool(config, error, now)


def recovered_spool(
    config: Configuration, error: SpoolDamagedError, now: Callable[[], datetime]
) -> Spool:
    """A new spool in place of the damaged one, with what could be salvaged of it."""
    log.error("spool_damaged", reason=str(error))
    path = config.spool.directory / "spool.db"
    return recover(path, config.station.id, spool_limits(config), now=now, report=log.error)


class Sampling(Protocol):
    """What has readings: a `Sampler`, or what looks for something to sample."""

    @property
    def without_sensors(self) -> bool:
        """Whether there is nothing to read yet."""

    def run(self, sink: Sink, stop: threading.Event, /) -> None:
        """Until stopped, or until there is no more."""

    def close(self) -> None:
        """Let go of what it reads."""


class Agent:
    """Runs until `stop` is set, or until recorded sources are exhausted and all is delivered."""

    def __init__(
        self,
        config: Configuration,
        sampler: Sampling,
        spool: Spool,
        sender: Sender,
        inbox: Inbox,
        clock: Keeper,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        service: Service | None = None,
        reload: Callable[[], None] = lambda: None,
    ) -> None:
        """`reload` is called in the loop's thread after `wake_to_reload`; it may call `change`."""
        self.config = config
        self._sampler = sampler
        self._spool = spool
        self._sender = sender
        self._inbox = inbox
        self._monotonic = monotonic
        self._clock = clock
        self._service = service or Service({})
        self._reload = reload
        self._reload_wanted = False
        self._dated_by: Known | None = None  # what all that was kept undated was dated by
        # Out of the inbox, not yet in the spool.
        self._taken: dict[Stream, list[Mapping[str, Any]]] = {stream: [] for stream in STREAMS}
        self._undated: list[Undated] = []
        self._unsynced = 0
        self._sync_due: float | None = None
        self._health_due = 0.0
        self._sampled_all = threading.Event()
        self._no_more_sampling = threading.Event()
        self._sampling = threading.Thread()
        self._farewell: float | None = None  # when to leave, once told to
        self._failure: BaseException | None = None
        self.readings = 0
        self.stop = threading.Event()

    def run(self) -> None:
        """Sample, keep and send; whatever ends it, the spool is synced last."""
        self._service.beat()
        self._begin_sampling()
        self._service.ready()
        try:
            while True:
                if self._reload_wanted:
                    self._reload_wanted = False
                    self._reload()
                wait_s = self._step()
                leaving = self._finished() or self._may_leave()
                if self._failure is not None:
                    raise self._failure
                if leaving:
                    return
                self._wait(wait_s)
        finally:
            self._service.stopping()
            self.stop.set()
            self._end_sampling()
            self._sender.close()
            self._keep_the_rest()

    @property
    def spool(self) -> Spool:
        """What it keeps its records in; another one after damage."""
        return self._spool

    def wake(self) -> None:
        """Have the loop look at `stop`; may be called in a signal handler."""
        self.stop.set()
        self._no_more_sampling.set()
        self._inbox.ring()

    def wake_to_reload(self) -> None:
        """Have the loop read its configuration again; may be called in a signal handler."""
        self._reload_wanted = True
        self._inbox.ring()

    def change(
        self,
        config: Configuration,
        forwarders: Sequence[Forwarder],
        sampler: Callable[[], Sampling],
    ) -> None:
        """Go on with another configuration; `sampler` is called when the old one has ended.

        The station, its key and the spool's folder are those that it began with.
        """
        self._end_sampling()
        self._step()  # what was sampled is the new one's past
        self.config = config
        self._spool.limits = spool_limits(config)
        self._sender.prefer(forwarders)
        self._health_due = 0.0
        self._sampler = sampler()
        self._begin_sampling()

    def _begin_sampling(self) -> None:
        self._sampled_all.clear()
        self._no_more_sampling = enough = threading.Event()
        if self.stop.is_set():  # meanwhile
            enough.set()
        arguments = (self._sampler, enough)
        self._sampling = threading.Thread(
            target=self._sample, args=arguments, name="sampler", daemon=True
        )
        self._sampling.start()

    def _end_sampling(self) -> None:
        self._no_more_sampling.set()
        self._sampling.join(timeout=FAREWELL_S)

    # -- the sampler's thread --------------------------------------------------------------

    def _sample(self, sampler: Sampling, enough: threading.Event) -> None:
        self._service.beat()
        try:
            sampler.run(self._sampled, enough)
        except BaseException as error:  # noqa: BLE001 - the loop's thread raises it again
            self._failure = error
        finally:
            self._service.leave()
            sampler.close()
            if enough is self._no_more_sampling:
                self._sampled_all.set()  # before the bell: whoever wakes by it must know
            self._inbox.ring()

    def _sampled(self, draft: Draft, moment: float | None) -> None:
        if moment is None:  # a recording knows its times
            made = document.weather(draft, self.config.station, self._clock.now())
            self._inbox.put("w", made)
        else:
            stamp = self._clock.stamp(moment)
            made = document.weather(
                msgspec.structs.replace(draft, time=stamp.time), self.config.station
            )
            made = document.flagged(made, "w", stamp.flags, stamp.uncertainty_s)
            self._inbox.put("w", made, stamp.moment if self._dated_by else moment)
        self._service.beat()
        while len(self._inbox) > MOST_IN_INBOX and not self._no_more_sampling.wait(0.01):
            self._service.beat()

    # -- the loop --------------------------------------------------------------------------

    def _step(self) -> float:
        """Do what can be done now; returns the seconds until the sender has more to do."""
        try:
            self._take_in()
            self._report_health()
            self._sync_if_due()
            return self._sender.step()
        except SpoolDamagedError as error:
            self._recover(error)
        except SpoolFullError:  # not even a mark on a record that it is being sent
            self._sender.give_up("disk_full")
        return 0.0

    def _take_in(self) -> None:
        """Date what can be dated, show what is fresh, then keep all that came."""
        self._look_at_the_clock()
        for item in self._inbox.take():
            if item.stream == "w":
                self.readings += 1
                self._sender.live(item.document)
            self._sort(item)
        if self._undated:
            self._spool.keep_undated(self._undated)
            self._unsynced += len(self._undated)
            self._undated.clear()
        if self._dated_by is None and self._clock.known:  # what is older is numbered first
            return
        for stream, documents in self._taken.items():
            while part := documents[:MOST_APPENDED]:
                self._spool.append(stream, part)
                self._unsynced += len(part)
                del documents[: len(part)]

    def _sort(self, item: Item) -> None:
        """To be numbered now if its time is known, or to be kept until it is."""
        stream, made, moment = item
        if moment is not None and self._dated_by is None:
            boot = self._clock.machine.boot
            self._undated.append(Undated(boot, moment, stream, dict(made)))
            return
        if moment is not None:
            stamp = self._clock.stamp(moment)
            made = document.dated(made, stream, stamp.time, stamp.flags, stamp.uncertainty_s)
        self._taken[stream].append(made)

    def _look_at_the_clock(self) -> None:
        """When the time has become known, date what was kept until then, before all else.

        When it is put right the spool is told, too: an agent that begins anew in this boot may
        have to date by it what it takes in.
        """
        self._clock.check()
        known = self._clock.known
        if known is None or known == self._dated_by:
            return
        machine = self._clock.machine
        start = Start(machine.boot, known.offset_s, known_at=machine.moment(), flags=known.flags)
        try:
            count = self._spool.date(start, _dated)
        except SpoolFullError:  # it is tried again at the next pass
            return
        if self._dated_by is None:
            log.info("time_known", how=known.how, dated=count)
        else:
            log.warning("clock_adjusted", how=known.how)
        self._dated_by = known

    def _keep_the_rest(self) -> None:
        try:
            self._take_in()
        except SpoolDamagedError as error:
            self._recover(error)
            self._take_in()
        finally:
            self._spool.close()

    def _sync_if_due(self) -> None:
        moment = self._monotonic()
        if self._sync_due is None and self._spool.changed:
            self._sync_due = moment + self.config.spool.commit_window_s
        due = self._sync_due is not None and moment >= self._sync_due
        if due or self._unsynced >= MOST_UNSYNCED or (self._spool.changed and self._exhausted()):
            self._spool.sync()
            self._sync_due = None
            self._unsynced = 0

    def _report_health(self) -> None:
        moment = self._monotonic()
        if moment < self._health_due:
            return
        self._health_due = moment + self.config.sampling.health_interval_s
        stamp = self._clock.stamp(now := self._clock.machine.moment())
        figures = health.figures(self.config.spool.directory) | self._spool_figures(stamp.time)
        made = document.health(figures, stamp.time, self.config.station)
        made = document.flagged(made, "s", stamp.flags, stamp.uncertainty_s)
        self._inbox.put("s", made, stamp.moment if self._dated_by else now)
        link = "connected" if self._sender.connected else "not connected to any forwarder"
        waiting = figures["spool_waiting"]
        taken = f"{self.readings} readings taken"
        if self._sampler.without_sensors:
            taken = "no sensor found, looking again"
        self._service.status(f"{taken}, {waiting} records waiting, {link}")

    def _spool_figures(self, now: datetime) -> dict[str, float | int]:
        ledgers = self._spool.ledgers.values()
        figures: dict[str, float | int] = {
            "spool_bytes": self._spool.file.used_bytes,
            "spool_waiting": sum(len(ledger.waiting) for ledger in ledgers) + self._spool.undated,
            "spool_dropped": sum(len(r) for each in ledgers for r in each.dropped.values()),
        }
        if (oldest := self._spool.oldest_waiting()) is not None:
            figures["spool_oldest_age"] = max(0.0, (now - oldest) / timedelta(seconds=1))
        if self._sender.clock_offset_s is not None:
            figures["clock_offset"] = round(self._sender.clock_offset_s, 3)
        return figures

    def _wait(self, sender_wants_s: float) -> None:
        self._service.beat()
        moment = self._monotonic()
        waits = [sender_wants_s, self._health_due - moment, LONGEST_WAIT_S, self._service.every_s]
        waits += [due - moment for due in (self._sync_due, self._farewell) if due is not None]
        if self._dated_by is None:
            waits.append(CLOCK_CHECK_S)
        poller = zmq.Poller()
        poller.register(self._inbox.signal, zmq.POLLIN)
        for socket in self._sender.sockets:
            poller.register(socket, zmq.POLLIN)
        poller.poll(int(max(0.0, min(waits)) * 1000) + 1)

    def _recover(self, error: SpoolDamagedError) -> None:
        self._spool.file.close()
        self._spool = recovered_spool(self.config, error, self._clock.now)
        self._dated_by = None  # what was salvaged may have no date
        self._sender.use(self._spool)

    def _exhausted(self) -> bool:
        """Nothing more will be sampled, or waits to be appended."""
        return self._sampled_all.is_set() and not len(self._inbox) and not any(self._taken.values())

    def _finished(self) -> bool:
        """A recording was played to its end, and all of it is acknowledged and reported so."""
        if not self._exhausted() or self._spool.changed:
            return False
        if not self.config.forwarders:
            return True
        waiting = any(ledger.waiting for ledger in self._spool.ledgers.values())
        return not waiting and self._sender.reported_all()

    def _may_leave(self) -> bool:
        """Told to stop: leave when the last batches are answered, or it takes too long."""
        if not self.stop.is_set():
            return False
        if self._farewell is None:
            self._farewell = self._monotonic() + FAREWELL_S
            self._sync_due = self._monotonic()
        if self._monotonic() >= self._farewell:
            return True
        if not self._sender.connected:
            return self._exhausted()
        return self._exhausted() and not self._spool.changed and not self._sender.in_flight


def _dated(record: Undated, start: Start) -> document.Document:
    """An undated record's document, with the time that it turned out to be."""
    time, flags, uncertainty_s = start.at(record.moment)
    return document.dated(record.document, record.stream, time, flags, uncertainty_s)
