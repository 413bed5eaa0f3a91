"""The agent: one thread samples, one keeps and sends.

The sampler's thread reads the sensors and leaves each reading in the inbox. This module's loop
owns the spool and the socket: it shows a fresh reading to whoever watches, appends it, syncs the
spool once per window, and lets the sender send what is synced. What happens to a record is
decided in one thread, so there is no lock and no order to get wrong. A sensor that hangs holds up
the sampler at most; a card that is slow to sync holds up sending, never sampling.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
import zmq

from clima_agent import document, health
from clima_agent.config import Configuration
from clima_agent.inbox import Inbox
from clima_agent.pipeline import Draft
from clima_agent.sampler import Sampler
from clima_agent.sender import Sender
from clima_agent.spool import Limits, Spool, SpoolDamagedError, SpoolFullError, recover
from clima_core.identity import STREAMS, Stream

log = structlog.get_logger("clima_agent.agent")

MOST_UNSYNCED = 1000  # records, a full batch: a fast source need not wait for the window
MOST_APPENDED = 200  # in one transaction, so that a nearly full disk has room for its log
MOST_IN_INBOX = 2000  # then a source with a timeline of its own waits
FAREWELL_S = 5.0  # to have the last batches answered when told to stop
LONGEST_WAIT_S = 60.0


def utc_now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


def spool_limits(config: Configuration) -> Limits:
    """The configured limits in the spool's terms."""
    spool = config.spool
    return Limits(spool.limit_bytes, spool.keep_bytes, spool.keep_days)


def open_spool(config: Configuration) -> Spool:
    """The station's spool; a damaged one is put aside, and what it held is salvaged."""
    path = config.spool.directory / "spool.db"
    limits = spool_limits(config)
    try:
        return Spool(path, config.station.id, limits, now=utc_now, report=log.error)
    except SpoolDamagedError as error:
        return recovered_spool(config, error)


def recovered_spool(config: Configuration, error: SpoolDamagedError) -> Spool:
    """A new spool in place of the damaged one, with what could be salvaged of it."""
    log.error("spool_damaged", reason=str(error))
    path = config.spool.directory / "spool.db"
    limits = spool_limits(config)
    return recover(path, config.station.id, limits, now=utc_now, report=log.error)


class Agent:
    """Runs until `stop` is set, or until recorded sources are exhausted and all is delivered."""

    def __init__(
        self,
        config: Configuration,
        sampler: Sampler,
        spool: Spool,
        sender: Sender,
        inbox: Inbox,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._config = config
        self._sampler = sampler
        self._spool = spool
        self._sender = sender
        self._inbox = inbox
        self._monotonic = monotonic
        self._now = now
        # Out of the inbox, not yet in the spool.
        self._taken: dict[Stream, list[Mapping[str, Any]]] = {stream: [] for stream in STREAMS}
        self._unsynced = 0
        self._sync_due: float | None = None
        self._health_due = 0.0
        self._sampled_all = threading.Event()
        self._farewell: float | None = None  # when to leave, once told to
        self._failure: BaseException | None = None
        self.readings = 0
        self.stop = threading.Event()

    def run(self) -> None:
        """Sample, keep and send; whatever ends it, the spool is synced last."""
        sampling = threading.Thread(target=self._sample, name="sampler", daemon=True)
        sampling.start()
        try:
            while True:
                wait_s = self._step()
                leaving = self._finished() or self._may_leave()
                if self._failure is not None:
                    raise self._failure
                if leaving:
                    return
                self._wait(wait_s)
        finally:
            self.stop.set()
            sampling.join(timeout=FAREWELL_S)
            self._sender.close()
            self._keep_the_rest()

    def wake(self) -> None:
        """Have the loop look at `stop`; may be called in a signal handler."""
        self.stop.set()
        self._inbox.ring()

    # -- the sampler's thread --------------------------------------------------------------

    def _sample(self) -> None:
        try:
            self._sampler.run(self._sampled, self.stop)
        except BaseException as error:  # noqa: BLE001 - the loop's thread raises it again
            self._failure = error
        finally:
            self._sampler.close()
            self._sampled_all.set()  # before the bell: whoever wakes by it must know
            self._inbox.ring()

    def _sampled(self, draft: Draft) -> None:
        self._inbox.put("w", document.weather(draft, self._config.station, self._now()))
        while len(self._inbox) > MOST_IN_INBOX and not self.stop.wait(0.01):
            pass

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
        """Show what is fresh, then append all that came."""
        for item in self._inbox.take():
            if item.stream == "w":
                self.readings += 1
                self._sender.live(item.document)
            self._taken[item.stream].append(item.document)
        for stream, documents in self._taken.items():
            while part := documents[:MOST_APPENDED]:
                self._spool.append(stream, part)
                self._unsynced += len(part)
                del documents[: len(part)]

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
            self._sync_due = moment + self._config.spool.commit_window_s
        due = self._sync_due is not None and moment >= self._sync_due
        if due or self._unsynced >= MOST_UNSYNCED or (self._spool.changed and self._exhausted()):
            self._spool.sync()
            self._sync_due = None
            self._unsynced = 0

    def _report_health(self) -> None:
        moment = self._monotonic()
        if moment < self._health_due:
            return
        self._health_due = moment + self._config.sampling.health_interval_s
        now = self._now()
        figures = health.figures(self._config.spool.directory) | self._spool_figures(now)
        self._inbox.put("s", document.health(figures, now, self._config.station, now))

    def _spool_figures(self, now: datetime) -> dict[str, float | int]:
        ledgers = self._spool.ledgers.values()
        figures: dict[str, float | int] = {
            "spool_bytes": self._spool.file.used_bytes,
            "spool_waiting": sum(len(ledger.waiting) for ledger in ledgers),
            "spool_dropped": sum(len(r) for each in ledgers for r in each.dropped.values()),
        }
        if (oldest := self._spool.oldest_waiting()) is not None:
            figures["spool_oldest_age"] = max(0.0, (now - oldest) / timedelta(seconds=1))
        if self._sender.clock_offset_s is not None:
            figures["clock_offset"] = round(self._sender.clock_offset_s, 3)
        return figures

    def _wait(self, sender_wants_s: float) -> None:
        moment = self._monotonic()
        waits = [sender_wants_s, self._health_due - moment, LONGEST_WAIT_S]
        waits += [due - moment for due in (self._sync_due, self._farewell) if due is not None]
        poller = zmq.Poller()
        poller.register(self._inbox.signal, zmq.POLLIN)
        for socket in self._sender.sockets:
            poller.register(socket, zmq.POLLIN)
        poller.poll(int(max(0.0, min(waits)) * 1000) + 1)

    def _recover(self, error: SpoolDamagedError) -> None:
        self._spool.file.close()
        self._spool = recovered_spool(self._config, error)
        self._sender.use(self._spool)

    def _exhausted(self) -> bool:
        """Nothing more will be sampled, or waits to be appended."""
        return self._sampled_all.is_set() and not len(self._inbox) and not any(self._taken.values())

    def _finished(self) -> bool:
        """A recording was played to its end, and all of it is acknowledged and reported so."""
        if not self._exhausted() or self._spool.changed:
            return False
        if not self._config.forwarders:
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
        return self._exhausted() and not self._sender.in_flight
