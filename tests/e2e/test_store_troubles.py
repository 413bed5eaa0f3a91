"""An Elasticsearch in trouble: busy, broken, silent, or heard only in one direction.

A stand-in between forwarder and the real server makes the trouble; readings flow all the while.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.harness import Site, Station, wait_until
from tests.e2e.standin import Mode, StandIn
from tests.e2e.stores import ElasticsearchStore


@pytest.fixture
def stand_in(store: ElasticsearchStore) -> Iterator[StandIn]:
    """In front of the shared Elasticsearch."""
    made = StandIn(store.server.url)
    yield made
    made.close()


@pytest.fixture
def site(tmp_path: Path, store: ElasticsearchStore, stand_in: StandIn) -> Iterator[Site]:
    """Its forwarder knows the stand-in alone."""
    made = Site(tmp_path, ElasticsearchStore(store.server, stand_in.url, timeout_s=5.0))
    yield made
    made.close()


def trouble(
    site: Site, stand_in: StandIn, station: Station, mode: Mode, status: int = 503, times: int = 2
) -> None:
    """So many troubled answers, then honest ones until readings arrive again."""
    stand_in.turn(mode, status)
    wait_until(f"{mode} {status}", lambda: stand_in.troubled >= times)
    station.wait_read(50)
    stand_in.turn("honest")
    site.wait_stored(station, 50)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_answers_of_trouble_lose_and_double_nothing(
    site: Site, stand_in: StandIn, store: ElasticsearchStore, station: str
) -> None:
    """429, 401 while a password is changed, silence, half an answer, and half a bulk.

    After bulks that were executed and not answered the index rolls over, so that their `_id`s
    are free again: only looking for them first keeps them from being stored twice.
    """
    site.start_forwarder()
    roof = site.station(station, speed=100)
    roof.start()
    site.wait_stored(roof, 50)
    for status in (429, 401):
        trouble(site, stand_in, roof, "status", status)
    trouble(site, stand_in, roof, "some_busy")
    trouble(site, stand_in, roof, "hang", times=1)
    for _ in range(2):
        stand_in.turn("answer_lost")
        wait_until("answers are lost", lambda: stand_in.troubled >= 2)
        store.rollover()
        stand_in.turn("honest")
        site.wait_stored(roof, 50)
    roof.finish()
    site.assert_serves()
    site.assert_sound(roof)


@pytest.mark.slow
def test_while_the_store_takes_nothing_nothing_piles_up(
    site: Site, stand_in: StandIn, station: str
) -> None:
    """The readings wait on the station, `/readyz` says why, and the forwarder stays small."""
    site.start_forwarder()
    roof = site.station(station, speed="max")
    roof.start()
    site.wait_stored(roof, 200)
    site.forwarder.measure()
    before = site.forwarder.peak_bytes
    stand_in.turn("status", 503)
    wait_until("/readyz says that nothing is taken", lambda: not site.ready())
    roof.wait_read(2000)
    assert not site.ready()
    site.forwarder.measure()
    assert site.forwarder.peak_bytes < before + 30_000_000
    stand_in.turn("honest")
    roof.finish()
    site.assert_sound(roof)
