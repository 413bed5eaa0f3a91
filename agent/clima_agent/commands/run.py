"""`clima-agent run`: the station's daemon."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import msgspec
import structlog

from clima_agent import board, config, document, reload
from clima_agent.agent import Agent, Sampling, open_spool
from clima_agent.cli import add_config
from clima_agent.clock import Keeper
from clima_agent.connection import Forwarder
from clima_agent.discovery import open_configured_or_found
from clima_agent.inbox import Inbox
from clima_agent.lock import exclusive
from clima_agent.pipeline import Pipeline
from clima_agent.provenance import Statement
from clima_agent.sampler import Clock, KeptClock, Sampler
from clima_agent.seeking import Seeking
from clima_agent.sender import Sender
from clima_agent.service import Beating, Service
from clima_agent.sources import Sensor, Setting, Source
from clima_agent.spool import Spool
from clima_agent.spooled_log import SpooledLog
from clima_core import files, keys, logs
from clima_core.errors import EXIT_OK, ClimaError, UnavailableError

HELP = "run the station: sample, keep, send"
PATIENCE_S = 1.0
RESTART = "sudo systemctl restart clima-agent"
REFUSED = "the configuration from before still holds; look with `clima-agent check`, then reload"
HISTORY = 3 * 360 + 60  # readings to remember after a restart: three hours at one per 10 s

OpenSources = Callable[[Sequence[Sensor], Setting], Mapping[str, Source]]

log = structlog.get_logger("clima_agent.run")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add_config(parser)


def run(arguments: argparse.Namespace) -> int:
    """Runs until SIGTERM or SIGINT; a recording ends by itself, delivered."""
    read = partial(config.load, arguments.config, os.environ)
    serve(read(), open_configured_or_found, read)
    return EXIT_OK


def serve(
    configured: config.Configuration,
    open_sources: OpenSources,
    read: Callable[[], config.Configuration] | None = None,
) -> None:
    """Run the station; on SIGHUP as `read` then has it.

    `open_sources` may be a test's, which brings its own witness.
    """
    station = _Station(board.place(configured), open_sources, read)
    folder = station.config.spool.directory
    files.make_directory(folder)
    with exclusive(folder / "spool.lock", PATIENCE_S):
        station.run()


class _Station:
    """Its parts, put together; what is wrong with the configuration is raised before any of it."""

    def __init__(
        self,
        here: board.Place,
        open_sources: OpenSources,
        read: Callable[[], config.Configuration] | None,
    ) -> None:
        self._here = here
        self._read = read
        self.config = here.config
        self._service = Service(os.environ)
        self._forwarders = _forwarders(self.config)
        self._keys = _key(self.config, os.environ)
        self._inbox = Inbox()
        self._clock = Keeper(self.config.clock.trust, self.config.clock.forwarder_after_s)
        ticking = Beating(KeptClock(self._clock), self._service)
        self._samplers = _Samplers(open_sources, self._clock, ticking)
        _log(self.config, self._inbox, self._clock)

    def run(self) -> None:
        """Until a signal ends it, or a recording is delivered; with the spool's lock held."""
        agent = self._agent()
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, lambda *_: agent.wake())
        if self._read and not sys.stdin.isatty():  # on a terminal: the terminal has gone
            signal.signal(signal.SIGHUP, lambda *_: agent.wake_to_reload())
        log.info("agent_started", station=self.config.station.id, journal=agent.spool.journal)
        agent.run()
        log.info("agent_stopped", readings=agent.readings)

    def _agent(self) -> Agent:
        sampler = self._samplers.of(self.config)
        spool = open_spool(self.config, self._clock.now)
        board.settle(self._here, spool)
        agent = Agent(
            self.config,
            sampler(spool),
            spool,
            Sender(
                spool,
                self._forwarders,
                self._keys,
                monotonic=time.monotonic,
                now=self._clock.now,
                told_time=self._clock.told,
            ),
            self._inbox,
            self._clock,
            service=self._service,
            reload=lambda: self._reload(agent),
        )
        return agent

    def _reload(self, agent: Agent) -> None:
        """Change, or say why not; the service manager is told when it is over either way."""
        self._service.reloading()
        try:
            self._change(agent)
        except ClimaError as error:
            log.error("configuration_refused", reason=str(error), mend=REFUSED)
        finally:
            self._service.ready()

    def _change(self, agent: Agent) -> None:
        """Have the agent go on as the file now says; what is wrong with it is raised."""
        read = self._read() if self._read else self._here.configured
        new, waiting = reload.fixed(agent.config, board.place(read, self._here.board).config)
        forwarders = _forwarders(new)
        sampler = self._samplers.of(new)
        _log(new, self._inbox, self._clock)
        agent.change(new, forwarders, lambda: sampler(agent.spool))
        log.info("configuration_reloaded")
        if waiting:
            log.warning("restart_needed", options=waiting, mend=RESTART)


def _key(configured: config.Configuration, environ: Mapping[str, str]) -> keys.KeyPair:
    """The station's key: a credential of that name that systemd hands over, or the file."""
    path = configured.identity.key_file
    if folder := environ.get("CREDENTIALS_DIRECTORY"):
        handed = Path(folder) / path.name
        if handed.exists():
            return keys.load(handed, guarded=True)
    return keys.load_or_create(path)


def _forwarders(configured: config.Configuration) -> list[Forwarder]:
    return [Forwarder(each.address, each.key()) for each in configured.forwarders]


def _log(configured: config.Configuration, inbox: Inbox, clock: Keeper) -> None:
    """To the journal and the spool from now on; first, what may not be meant as it stands."""
    logs.setup(configured.log.level, extra=[SpooledLog(inbox, configured.station, clock)])
    for text in config.warnings(configured):
        log.warning("configuration_doubtful", option=text)


class _Samplers:
    """Makes what samples as a configuration has it."""

    def __init__(self, open_sources: OpenSources, keeper: Keeper, clock: Clock) -> None:
        self._open_sources = open_sources
        self._keeper = keeper
        self._clock = clock

    def of(self, configured: config.Configuration) -> Callable[[Spool], Sampling]:
        """Opens the sources now, so that what is wrong is raised; the rest is for when it begins.

        Where there is no sensor at all, one is looked for.
        """
        look = partial(self._look, configured)
        try:
            sources = look()
        except UnavailableError:
            return lambda spool: Seeking(look, _made(configured, spool, self._clock), self._clock)
        return lambda spool: _made(configured, spool, self._clock)(sources)

    def _look(self, configured: config.Configuration) -> Mapping[str, Source]:
        setting = Setting(self._keeper.now(), configured.sampling.interval_s)
        return self._open_sources(configured.sensors, setting)


def _made(
    configured: config.Configuration, spool: Spool, clock: Clock
) -> Callable[[Mapping[str, Source]], Sampler]:
    """Makes the sampler, with the past that the spool remembers; a recording goes on after it."""
    pipeline = Pipeline(
        calibrations=configured.calibration,
        checks=configured.checks,
        elevation_m=configured.station.elevation_m,
        last=Statement(configured).stated,
    )
    past = [document.draft_of(msgspec.json.decode(body)) for body in spool.recent("w", HISTORY)]
    for draft in past:
        pipeline.history.add(draft)
    return partial(
        Sampler,
        pipeline=pipeline,
        interval_s=configured.sampling.interval_s,
        speed=configured.sampling.factor,
        clock=clock,
        after=max((draft.time for draft in past), default=None),
    )
