"""The whole station on a real engine, through Logstash: what it has accepted is not stored yet."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.compose.engine import OVERRIDES, Engine
from tests.compose.flow import assert_complete, assert_flows, playing, wait_until_they_pile_up
from tests.compose.station import Station, docker

pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def station(engine: Engine) -> Iterator[Station]:
    """All services; a stand-in for Logstash where there is no image of it."""
    with playing(engine, *([OVERRIDES / "standin.yaml"] if engine.lab else [])) as made:
        yield made


def test_faults_of_logstash_lose_nothing(station: Station) -> None:
    """Killed, hanging, cut off, and with its queue lost: nothing is lost, nothing doubled."""
    assert_flows(station)
    station.kill("logstash")
    wait_until_they_pile_up(station)
    station.start("logstash")
    assert_flows(station)
    station.pause("logstash")
    wait_until_they_pile_up(station)
    station.unpause("logstash")
    assert_flows(station)
    station.pause("elasticsearch")  # what Logstash has accepted meanwhile goes with its queue
    wait_until_they_pile_up(station)
    station.kill("logstash")
    station.compose("rm", "--force", "logstash")
    queue = "standin" if "standin.yaml" in station.names else "logstash-data"
    docker("volume", "rm", station.volume(queue))
    station.unpause("elasticsearch")
    station.compose("up", "--detach", "--no-deps", "logstash")
    assert_flows(station)
    station.cut("logstash", "inner")
    wait_until_they_pile_up(station)
    station.join("logstash", "inner")
    station.crash("forwarder")
    assert_flows(station)
    assert_complete(station)
