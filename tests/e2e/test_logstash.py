"""By way of a Logstash in every kind of trouble: nothing lost, nothing doubled.

A stand-in for Logstash writes to a real Elasticsearch; readings flow all the while. Each trouble
shows in `/readyz` while it lasts, and when it is over everything drains by itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from clima_core.wire import MAX_BATCH_RECORDS
from clima_forwarder.batches import CREDIT
from tests import logstash_standin
from tests.e2e.harness import Site, Station, wait_until
from tests.e2e.stores import WEATHER, ElasticsearchStore
from tests.logstash_standin import StandIn

pytestmark = pytest.mark.slow

CONFIRM_S = 2.0


class LogstashStore(ElasticsearchStore):
    """A real Elasticsearch that the forwarder writes to by way of Logstash."""

    def __init__(self, store: ElasticsearchStore, logstash: StandIn, confirm_s: float) -> None:
        super().__init__(store.server)
        self._logstash = logstash
        self._confirm_s = confirm_s

    @property
    def options(self) -> str:
        logstash = self._logstash
        return (
            f'type = "logstash"\nurl = "{logstash.url}"\nusername = "{logstash.username}"\n'
            f"password = {json.dumps(logstash.password)}\n"
            f'statistics_url = "{logstash.statistics_url}"\ntimeout_s = 2\n'
            f"confirm_s = {self._confirm_s}\n\n"
            f'[output.elasticsearch]\nurl = "{self.server.url}"'
        )


@pytest.fixture
def logstash(tmp_path: Path, store: ElasticsearchStore) -> Iterator[StandIn]:
    """Its statistics are as good as at once, and so are its dead letters."""
    lags = {"dead_letters_s": 0.5, "statistics_s": 0.5}
    yield from logstash_standin.running(tmp_path / "logstash", store.server.url, **lags)


@pytest.fixture
def confirm_s() -> float:
    """How long the forwarder waits for what does not come; a test may want another."""
    return CONFIRM_S


@pytest.fixture
def site(
    tmp_path: Path, store: ElasticsearchStore, logstash: StandIn, confirm_s: float
) -> Iterator[Site]:
    """Its forwarder writes to Logstash; not started."""
    made = Site(tmp_path, LogstashStore(store, logstash, confirm_s))
    yield made
    made.close()


@contextmanager
def read_only(store: ElasticsearchStore) -> Iterator[None]:
    """As Elasticsearch makes its indices itself when the disk is full."""
    path, name = f"/{WEATHER}/_settings", "index.blocks.read_only_allow_delete"
    store.server.request("PUT", path, {name: True})
    try:
        yield
    finally:
        store.server.request("PUT", path, {name: None})


def fill(logstash: StandIn) -> None:
    """Until readings are in its queue and go no further, and none is just being written.

    One that is written when Logstash dies, and again when it is back, is stored twice if the index
    rolls over in between: a limit that docs/architecture.md states.
    """
    logstash.trouble(hold=True)

    def full() -> bool:
        counts = logstash.counts()
        return counts.queued > 0 and counts.in_hand == 0

    wait_until("readings in the queue", full)


def flowing(site: Site, name: str) -> Station:
    """A station whose readings arrive."""
    site.start_forwarder()
    station = site.station(name, speed=100)
    station.start()
    site.wait_stored(station, 50)
    return station


def until_not_ready(site: Site, why: str) -> None:
    """Until `/readyz` gives this as the reason."""
    wait_until(f"not ready: {why}", lambda: why in site.problem(), 90, site.forwarder)


def until_drained(site: Site, station: Station) -> None:
    """Ready again, and readings arrive."""
    wait_until("ready again", site.ready, 90, site.forwarder)
    site.wait_stored(station, 50)


@pytest.mark.timeout(300)
def test_answers_of_trouble_lose_and_double_nothing(
    site: Site, logstash: StandIn, store: ElasticsearchStore, station: str
) -> None:
    """Busy, broken, with a full disk, silent, and heard in one direction; the index rolls over.

    After posts whose answer was lost the `_id`s are free again: only waiting for what may be in
    the queue, and looking for it, keeps them from being stored twice.
    """
    troubles: list[tuple[dict[str, Any], str]] = [
        ({"status": 429}, "answered 429"),
        ({"status": 500}, "answered 500"),  # a queue that cannot be written
        ({"hang": True}, "no answer in time"),
        ({"full": True}, "answered 429"),
        ({"lose_answer": True}, "broke off"),
    ]
    roof = flowing(site, station)
    for trouble, why in troubles:
        logstash.trouble(**trouble)
        until_not_ready(site, why)
        store.rollover()
        logstash.calm()
        until_drained(site, roof)
    roof.finish()
    site.assert_serves()
    site.assert_sound(roof)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("confirm_s", [20.0])  # nobody gives the gap up before all is looked at
def test_what_logstash_drops_or_doubles_is_stored_once(
    site: Site, logstash: StandIn, station: str
) -> None:
    """What it drops holds up nothing that comes after it, and is sent again."""
    roof = flowing(site, station)
    logstash.trouble(drop=5, double=True)
    wait_until("dropped", lambda: logstash.counts().dropped == 5)
    site.wait_stored(roof, 50)
    assert not site.forwarder.events("records_not_confirmed"), "they waited for the gap"
    site.forwarder.wait_for("records_not_confirmed")
    roof.finish()
    site.assert_sound(roof)
    assert 5 == logstash.counts().repeated


@pytest.mark.timeout(300)
def test_whoever_dies_with_readings_in_the_queue_nothing_is_lost_or_doubled(
    site: Site, logstash: StandIn, store: ElasticsearchStore, station: str
) -> None:
    """The forwarder, Logstash, and Logstash with its disk; the index rolls over meanwhile."""
    roof = flowing(site, station)

    fill(logstash)
    site.forwarder.kill()
    store.rollover()
    site.forwarder.start()
    until_not_ready(site, "in hand from before")
    logstash.calm()
    until_drained(site, roof)

    fill(logstash)
    logstash.kill()
    until_not_ready(site, "no connection to")
    store.rollover()
    logstash.start()
    until_drained(site, roof)

    fill(logstash)
    logstash.delete_queue()
    store.rollover()
    until_drained(site, roof)
    roof.finish()
    site.assert_serves()
    site.assert_sound(roof)


@pytest.mark.timeout(300)
def test_an_elasticsearch_that_is_read_only_is_waited_for(
    site: Site, logstash: StandIn, store: ElasticsearchStore, station: str
) -> None:
    """As at the flood stage: nothing is sent a second time, and all is stored when it is over."""
    roof = flowing(site, station)
    with read_only(store):
        until_not_ready(site, "does not get on")
    until_drained(site, roof)
    roof.finish()
    site.assert_sound(roof)
    assert 0 == logstash.counts().repeated


@pytest.mark.timeout(300)
def test_an_elasticsearch_that_dies_is_waited_for(
    site: Site, logstash: StandIn, store: ElasticsearchStore, station: str
) -> None:
    """What is in Logstash's queue then is stored when it is back."""
    roof = flowing(site, station)
    fill(logstash)
    store.server.kill()
    logstash.calm()
    until_not_ready(site, "no connection to")
    store.server.start()
    until_drained(site, roof)
    roof.finish()
    site.assert_sound(roof)


@pytest.mark.timeout(300)
def test_a_backlog_that_logstash_takes_long_for_is_sent_once(
    site: Site, logstash: StandIn, station: str
) -> None:
    """Many times as long as it takes to look again for what does not come; credit bounds it."""
    total, most = 6000, CREDIT * MAX_BATCH_RECORDS
    site.start_forwarder()
    logstash.trouble(slow_s=2 * CONFIRM_S)
    roof = site.station(station, speed="max", total=total)
    roof.start()
    roof.wait_read(total)
    wait_until("a backlog", lambda: logstash.counts().queued > MAX_BATCH_RECORDS, 90, roof)
    site.wait_stored(roof, 500)
    counts = logstash.counts()
    assert counts.queued <= most < total - 500, counts
    assert not site.forwarder.events("records_not_confirmed")
    logstash.calm()
    assert 0 == roof.ended(), roof.tail()
    site.assert_sound(roof)
    counts = logstash.counts()
    assert 0 == counts.repeated
    assert counts.posts < 200, counts
