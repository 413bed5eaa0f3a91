"""`clima-agent run`: the station's daemon."""

from __future__ import annotations

import argparse
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

import msgspec
import structlog

from clima_agent import config, document
from clima_agent.agent import Agent, open_spool, utc_now
from clima_agent.cli import add_config
from clima_agent.connection import Forwarder
from clima_agent.inbox import Inbox
from clima_agent.lock import exclusive
from clima_agent.pipeline import Pipeline
from clima_agent.sampler import Sampler
from clima_agent.sender import Sender
from clima_agent.sources import Sensor, Setting, Source, open_all
from clima_agent.spool import Spool
from clima_agent.spooled_log import SpooledLog
from clima_core import keys, logs
from clima_core.errors import EXIT_OK

HELP = "run the station: sample, keep, send"
PATIENCE_S = 1.0
HISTORY = 3 * 360 + 60  # readings to remember after a restart: three hours at one per 10 s

OpenSources = Callable[[Sequence[Sensor], Setting], Mapping[str, Source]]

log = structlog.get_logger("clima_agent.run")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add_config(parser)


def run(arguments: argparse.Namespace) -> int:
    """Runs until SIGTERM or SIGINT; a recording ends by itself, delivered."""
    serve(config.load(arguments.config, os.environ), open_all)
    return EXIT_OK


def serve(configured: config.Configuration, open_sources: OpenSources) -> None:
    """Run the station; `open_sources` is `open_all`, or a test's, which brings its own witness."""
    forwarders = [Forwarder(each.address, each.key()) for each in configured.forwarders]
    pair = keys.load_or_create(configured.identity.key_file)
    inbox = Inbox()
    logs.setup(configured.log.level, extra=[SpooledLog(inbox, configured.station)])
    configured.spool.directory.mkdir(parents=True, exist_ok=True)
    with exclusive(configured.spool.directory / "spool.lock", PATIENCE_S):
        sources = open_sources(
            configured.sensors, Setting(datetime.now(UTC), configured.sampling.interval_s)
        )
        spool = open_spool(configured)
        sender = Sender(spool, forwarders, pair, monotonic=time.monotonic, now=utc_now)
        agent = Agent(configured, _sampler(configured, sources, spool), spool, sender, inbox)
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, lambda *_: agent.wake())
        log.info("agent_started", station=configured.station.id, journal=spool.journal)
        agent.run()
        log.info("agent_stopped", readings=agent.readings)


def _sampler(
    configured: config.Configuration, sources: Mapping[str, Source], spool: Spool
) -> Sampler:
    """The sampler, with the past that the spool remembers; a recording goes on after it."""
    pipeline = Pipeline(
        calibrations=configured.calibration,
        checks=configured.checks,
        elevation_m=configured.station.elevation_m,
    )
    past = [document.draft_of(msgspec.json.decode(body)) for body in spool.recent("w", HISTORY)]
    for draft in past:
        pipeline.history.add(draft)
    return Sampler(
        sources,
        pipeline,
        interval_s=configured.sampling.interval_s,
        speed=configured.sampling.factor,
        after=max((draft.time for draft in past), default=None),
    )
