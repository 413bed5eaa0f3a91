"""Clocks that disagree: it may be the forwarder's that is wrong."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.e2e.harness import Site, lanes_of


@pytest.mark.slow
def test_readings_wait_while_the_forwarders_clock_is_an_hour_behind(
    site: Site, faketime: str
) -> None:
    """They seem to come from the future: they stay on the station, and are no dead letters.

    When the clock is right they are stored, with the times that they had.
    """
    recent = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=20)
    site.forwarder.environ = {
        "LD_PRELOAD": faketime,
        "FAKETIME": "-1h",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    site.start_forwarder()
    roof = site.station("roof", speed="max", total=300, begin=recent)
    roof.start()
    ahead = roof.wait_for("clock_ahead")[0]
    times = [
        datetime.fromisoformat(str(ahead[name])) for name in ("forwarder_time", "station_time")
    ]
    assert timedelta(minutes=59) < times[1] - times[0] < timedelta(minutes=61)
    assert [] == site.store.readings("roof")
    site.forwarder.stop()
    site.forwarder.environ = {}
    site.start_forwarder()
    roof.finish(more=0)
    site.assert_serves()
    site.assert_sound(roof)
    assert [] == site.forwarder.events("dead_letter")
    assert 0 == lanes_of(site.audit("--station", "roof")[1])["dead"]
