"""`clima audit` against a store that somebody has taken readings out of."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.harness import Account, Site, lanes_of
from tests.e2e.stores import ElasticsearchStore, SqliteStore

pytestmark = pytest.mark.slow


@pytest.fixture(params=["sqlite", "elasticsearch"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    """A site on either store."""
    made = Site(
        tmp_path,
        SqliteStore(tmp_path / "readings.sqlite")
        if request.param == "sqlite"
        else ElasticsearchStore(request.getfixturevalue("elasticsearch")),
    )
    yield made
    made.close()


def test_what_vanishes_from_the_store_shows_and_comes_back(site: Site, station: str) -> None:
    """Gaps in the middle and a lost tail: exit code 1, then `--repair` brings all of it back."""
    site.start_forwarder()
    roof = site.station(station, speed=500)
    roof.start()
    roof.wait_read(200)
    roof.finish()
    read = len(roof.read)
    site.forwarder.stop()
    assert 0 == site.audit("--station", station)[0]
    gone = [7, 8, 9, 100, *range(read - 19, read + 1)]
    site.store.delete(station, gone)
    code, lanes = site.audit("--station", station)
    (weather,) = (lane for lane in lanes if lane["stream"] == "w")
    assert (1, [[7, 9], [100, 100], [read - 19, read]]) == (code, weather["ranges"]["gaps"])
    assert 69 == site.clima("audit", "--repair", "--station", station).returncode, "no forwarder"

    site.start_forwarder()
    away = site.clima("audit", "--repair", "--wait", "0", "--station", station)
    assert 1 == away.returncode
    assert "not connected" in away.stderr

    witness_total = read + 50
    roof.end_after(10**9)
    opened = len(roof.events("session_opened"))
    roof.start()
    roof.wait_for("session_opened", opened + 1)
    code, lanes = site.audit("--repair", "--station", station)
    assert (0, 0) == (code, lanes_of(lanes)["gaps"])
    roof.end_after(max(witness_total, len(roof.read) + 50))
    assert 0 == roof.ended()
    assert Account() == site.account(roof)
    site.assert_sound(roof)


def test_an_unknown_station_is_said(site: Site) -> None:
    """A misspelt `--station` is not a sound one."""
    site.start_forwarder()
    assert 78 == site.clima("audit", "--station", "no-such").returncode
