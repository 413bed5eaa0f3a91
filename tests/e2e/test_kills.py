"""`kill -9` of every part, again and again, at random moments, while readings flow.

The short run is part of `make test`; `make chaos` runs the full one. The moments are random but
seeded: CLIMA_CHAOS_SEED has another run of it.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.harness import Site
from tests.e2e.stores import ElasticsearchStore
from tests.elasticsearch_server import Server

AGENT_BYTES, FORWARDER_BYTES = 60_000_000, 120_000_000
SEED = int(os.environ.get("CLIMA_CHAOS_SEED", "1"))


class Killer:
    """Kills parts of a site and starts them again, until all kills are done."""

    def __init__(self, site: Site, store: ElasticsearchStore, seed: int) -> None:
        self._site = site
        self._store = store
        self._random = random.Random(seed)
        self._starter = ThreadPoolExecutor(1)
        self._restart: Future[None] | None = None

    def run(self, kills: int, of_elasticsearch: int, rollovers: int) -> None:
        """So many kills in all, those of Elasticsearch and the rollovers spread among them."""
        spread = [round((n + 0.5) * kills / of_elasticsearch) for n in range(of_elasticsearch)]
        rolled = [round((n + 0.5) * kills / rollovers) + 1 for n in range(rollovers)]
        with self._starter:
            for number in range(kills):
                if number in spread:
                    self._kill_elasticsearch(self._store.server)
                else:
                    self._kill_one()
                if number in rolled:
                    self.settle()
                    self._store.rollover()
                # Paced, not waited for: a kill must be able to strike at any moment of a start.
                time.sleep(self._random.uniform(0.05, 1.6))
            self.settle()

    def settle(self) -> None:
        """Until Elasticsearch is back, if it was killed; raises what kept it from starting."""
        if self._restart is not None:
            self._restart.result()

    def _kill_one(self) -> None:
        part = self._random.choice([self._site.forwarder, *self._site.stations])
        part.kill()
        part.start()

    def _kill_elasticsearch(self, server: Server) -> None:
        """The others go on dying while it starts again."""
        self.settle()
        server.kill()
        self._restart = self._starter.submit(server.start)


def survive(
    folder: Path,
    store: ElasticsearchStore,
    name: str,
    say: Callable[[str], None],
    *,
    kills: int,
    of_elasticsearch: int,
    rollovers: int,
    readings: int,
    speed: int,
) -> None:
    """Two stations through all kills: what both have read is stored, once."""
    site = Site(folder, store)
    try:
        site.start_forwarder()
        stations = [site.station(f"{name}-{n}", speed=speed) for n in (1, 2)]
        for station in stations:
            station.start()
            station.wait_read(10)
        began = time.monotonic()
        Killer(site, store, SEED).run(kills, of_elasticsearch, rollovers)
        killing_s = time.monotonic() - began
        for station in stations:
            assert len(station.read) > 100, "no readings flowed"
            station.wait_read(max(0, readings // 2 - len(station.read)), 900)
        for station in stations:
            station.end_after(len(station.read) + 100)
        for station in stations:
            assert 0 == station.ended(300), station.tail()
        site.assert_serves()
        site.forwarder.measure()
        for station in stations:
            site.assert_sound(station)
        count = sum(len(station.read) for station in stations)
        peak = max(station.peak_bytes for station in stations)
        say(
            f"{kills} kills ({of_elasticsearch} of Elasticsearch) in {killing_s:.0f} s,"
            f" {rollovers} rollovers, {count} readings, seed {SEED}: lost 0, doubled 0;"
            f" at most {peak / 1e6:.0f} MB in an agent,"
            f" {site.forwarder.peak_bytes / 1e6:.0f} MB in the forwarder"
        )
        assert peak < AGENT_BYTES
        assert site.forwarder.peak_bytes < FORWARDER_BYTES
    finally:
        site.close()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_kill_9_at_random_moments_loses_and_doubles_nothing(
    tmp_path: Path, store: ElasticsearchStore, station: str, say: Callable[[str], None]
) -> None:
    """Agents, forwarder and Elasticsearch die in any order, and the index rolls over."""
    survive(
        tmp_path,
        store,
        station,
        say,
        kills=20,
        of_elasticsearch=2,
        rollovers=2,
        readings=10_000,
        speed=150,
    )


@pytest.mark.chaos
@pytest.mark.timeout(3600)
def test_200_kills_over_100_000_readings_lose_and_double_nothing(
    tmp_path: Path, store: ElasticsearchStore, station: str, say: Callable[[str], None]
) -> None:
    """The same for longer: ten of the kills are Elasticsearch's."""
    survive(
        tmp_path,
        store,
        station,
        say,
        kills=200,
        of_elasticsearch=10,
        rollovers=12,
        readings=100_000,
        speed=200,
    )
