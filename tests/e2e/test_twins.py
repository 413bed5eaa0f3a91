"""Two that claim to be one: restored cards, cloned cards, squatted routing ids."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
import zmq

from clima_core import wire
from tests.e2e.harness import Account, Site, Station, wait_until
from tests.e2e.stores import ElasticsearchStore

pytestmark = pytest.mark.slow


def copy_of_spool(station: Station, name: str) -> None:
    """Keep the spool as it is now; the station must not be running."""
    assert not station.running
    shutil.copytree(station.spool, station.folder / name)


def restore(station: Station, name: str) -> None:
    """Put the copy in the place of the spool."""
    shutil.rmtree(station.spool)
    shutil.copytree(station.folder / name, station.spool)


@pytest.mark.parametrize("grown", [0, 400])
def test_a_restored_older_spool_begins_a_new_journal(site: Site, grown: int) -> None:
    """Nothing is lost or doubled, though its next sequences were used already, for other readings.

    Grown: away from its forwarder it has meanwhile counted past all that was ever stored.
    """
    site.start_forwarder()
    roof = site.station("roof", speed=200)
    roof.start()
    site.wait_stored(roof, 100)
    roof.stop()
    copy_of_spool(roof, "older")
    roof.start()
    site.wait_stored(roof, 200)
    roof.finish()  # what is not acknowledged would go with the spool
    assert Account() == site.account(roof)
    roof.end_never()
    restore(roof, "older")
    (roof.folder / "witness").rename(roof.folder / "witness.before")
    before = Station(site.folder, "roof", roof.config, int(roof.command[-2]), roof.command[-1])
    before.witness = roof.folder / "witness.before"
    roof.command[-2] = "77"  # other moments and values than those that were read before
    if grown:
        site.forwarder.stop()
        roof.start()
        roof.wait_read(grown)
        roof.stop()
        site.start_forwarder()
    roof.start()
    roof.wait_for("spool_rolled_back")
    roof.finish(more=100)
    site.assert_serves()
    site.assert_sound(roof, before)


def test_a_cloned_card_raises_an_alarm_and_loses_nothing(
    tmp_path: Path, store: ElasticsearchStore, station: str
) -> None:
    """Two devices with one key and one spool read on: every reading of both is stored, once.

    Both give the same numbers to different readings, and the index rolls over meanwhile.
    """
    site = Site(tmp_path, store)
    try:
        site.start_forwarder()
        roof = site.station(station, speed=100)
        roof.start()
        site.wait_stored(roof, 50)
        roof.stop()
        clone = site.station(station, name="clone", speed=100, admitted=False)
        shutil.copytree(roof.spool, clone.spool)
        shutil.copy(roof.folder / "agent.key", clone.folder / "agent.key")
        roof.start()
        clone.start()
        assert station == site.forwarder.wait_for("station_cloned")[0]["station"]
        for _ in range(2):
            roof.wait_read(100)
            clone.wait_read(100)
            store.rollover()
        roof.finish()
        clone.finish()
        site.assert_serves()
        site.assert_sound(roof, clone)
    finally:
        site.close()


def test_a_squatted_routing_id_shuts_nobody_out(site: Site) -> None:
    """A peer with a valid key of its own takes every routing id that it can think of."""
    site.start_forwarder()
    mallory = site.station("mallory")
    roof = site.station("roof", speed=100)
    pair, victim = mallory.key(), roof.key()
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    guesses = [b"roof", victim.public.encode(), b"clima", *(bytes([n]) for n in range(1, 40))]
    squatters = []
    for guess in guesses:
        squatter = context.socket(zmq.DEALER)
        squatters.append(squatter)
        squatter.linger = 0
        squatter.routing_id = guess
        squatter.curve_serverkey = site.public_key.encode()
        squatter.curve_publickey = pair.public.encode()
        squatter.curve_secretkey = pair.secret.reveal().encode()
        squatter.connect(f"tcp://127.0.0.1:{site.port}")
        squatter.send_multipart(wire.encode(wire.Ping(time=datetime.now(UTC))))
        assert squatter.poll(60_000), "the forwarder answers who has a key"
    roof.start()
    site.wait_stored(roof, 50)
    roof.finish()
    for squatter in squatters:
        squatter.close()
    context.term()
    wait_until("the forwarder is ready", site.ready)
    site.assert_sound(roof)
