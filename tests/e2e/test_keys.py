"""Who is let in, and how fast somebody is put out: with real keys, on real connections."""

from __future__ import annotations

import shutil

import pytest

from clima_core import keys
from tests.e2e.harness import PATIENCE_S, Account, Site, wait_until

pytestmark = pytest.mark.slow


def test_a_station_with_a_wrong_key_gets_nothing_in(site: Site) -> None:
    """It is refused at the handshake and says so, with the mend; once let in all arrives."""
    site.start_forwarder()
    stranger = site.station("roof", speed="max", total=50, admitted=False)
    stranger.start()
    lost = stranger.wait_for("forwarder_lost")[0]
    assert "key_refused" == lost["reason"]
    assert "clima stations add roof" in lost["mend"]
    assert stranger.key().public == site.forwarder.wait_for("key_refused")[0]["public_key"]
    assert [] == site.store.readings("roof")
    stranger.kill()
    site.admit(stranger)
    stranger.start()
    assert 0 == stranger.ended()
    site.assert_sound(stranger)


def test_a_forwarder_with_another_key_is_sent_nothing(site: Site) -> None:
    """An agent speaks to the forwarder whose key it was given, and to nobody in its place."""
    site.start_forwarder()
    roof = site.station("roof", speed="max", total=50)
    right = roof.config.read_text()
    roof.config.write_text(right.replace(site.public_key, keys.generate().public))
    assert right != roof.config.read_text()
    roof.start()
    lost = roof.wait_for("forwarder_lost")[0]
    assert "handshake_broken_off" == lost["reason"]
    assert "public_key" in lost["mend"]
    assert [] == site.store.readings("roof")
    roof.kill()
    roof.config.write_text(right)
    roof.finish()
    site.assert_sound(roof)


def test_a_revoked_station_is_not_heard_again_though_it_stays_connected(site: Site) -> None:
    """Not one reading taken after `clima stations revoke` returned is stored; let in again, all."""
    site.start_forwarder()
    roof = site.station("roof", speed=100)
    honest = site.station("barn", speed=100)
    roof.start()
    honest.start()
    site.wait_stored(roof, 50)
    assert 0 == site.clima("stations", "revoke", "roof").returncode
    before = roof.read
    roof.wait_read(100)
    site.forwarder.wait_for("station_put_out")
    site.wait_stored(honest, 100)
    assert set() == {time for time, _ in site.store.readings("roof")} - before.keys()
    roof.kill()
    site.admit(roof)
    roof.finish()
    honest.finish()
    assert Account() == site.account(honest)
    site.assert_sound(roof)


def test_a_replaced_key_is_out_and_the_new_one_loses_nothing(site: Site) -> None:
    """`stations add --replace`: a new key on the same spool goes on where the old one was."""
    site.start_forwarder()
    roof = site.station("roof", speed=100)
    roof.start()
    site.wait_stored(roof, 50)
    old = roof.folder / "agent.key"
    shutil.copy(old, roof.folder / "old.key")
    roof.kill()
    old.unlink()
    site.admit(roof, "--replace")
    shutil.copy(old, roof.folder / "new.key")
    shutil.copy(roof.folder / "old.key", old)
    roof.start()

    def refused() -> bool:  # it may have lost the forwarder before, for another reason
        return any(lost["reason"] == "key_refused" for lost in roof.events("forwarder_lost"))

    wait_until("its key is refused", refused, PATIENCE_S, roof)
    count = site.stored("roof")
    roof.wait_read(100)
    site.assert_serves()
    assert count == site.stored("roof")
    roof.kill()
    shutil.copy(roof.folder / "new.key", old)
    roof.finish()
    site.assert_sound(roof)


def test_a_station_that_speaks_for_another_is_refused(site: Site) -> None:
    """A valid key is good for its own station alone."""
    site.start_forwarder()
    roof = site.station("roof", speed=100)
    roof.start()
    mallory = site.station("mallory", speed=100)
    mallory.config.write_text(mallory.config.read_text().replace('"mallory"', '"roof"'))
    mallory.start()
    assert "wrong_station" == mallory.wait_for("forwarder_lost")[0]["reason"]
    mallory.kill()
    roof.finish()
    wait_until("the forwarder still runs", site.ready, PATIENCE_S, site.forwarder)
    site.assert_sound(roof)
