"""Links that break: between agent and forwarder, and between forwarder and Elasticsearch.

Readings flow all the while. Whatever the link does, what was read is stored once.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.e2e.harness import Site, Station
from tests.e2e.proxy import Proxy
from tests.e2e.stores import ElasticsearchStore


@pytest.fixture
def link() -> Iterator[list[Proxy]]:
    """The proxies of a test, closed at its end."""
    made: list[Proxy] = []
    yield made
    for proxy in made:
        proxy.close()


def trouble(proxy: Proxy, site: Site, station: Station) -> None:
    """Break the link in every way, with readings before, meanwhile and after."""
    ways = (proxy.cut, proxy.silence, lambda: proxy.delay(0.4), proxy.drop_near)
    for way in ways:
        site.wait_stored(station, 50)
        way()
        station.wait_read(200)
        proxy.resume()
    site.wait_stored(station, 50)


@pytest.mark.slow
def test_a_link_to_the_forwarder_that_breaks_loses_and_doubles_nothing(
    site: Site, link: list[Proxy]
) -> None:
    """Cut, silent, slow, and gone for one side only: the station connects anew and goes on."""
    proxy = Proxy(site.port)
    link.append(proxy)
    site.start_forwarder()
    station = site.station("roof", port=proxy.port, speed=100)
    station.start()
    trouble(proxy, site, station)
    assert proxy.connections >= 3
    station.finish()
    site.assert_serves()
    site.assert_sound(station)


@pytest.mark.slow
def test_a_link_to_elasticsearch_that_breaks_loses_and_doubles_nothing(
    tmp_path: Path, store: ElasticsearchStore, station: str, link: list[Proxy]
) -> None:
    """Bulks that never arrive, arrive late, or are executed unseen, and the index rolls over."""
    proxy = Proxy(urlsplit(store.server.url).port or 0)
    link.append(proxy)
    site = Site(tmp_path, ElasticsearchStore(store.server, f"http://127.0.0.1:{proxy.port}"))
    try:
        site.start_forwarder()
        roof = site.station(station, speed=100)
        roof.start()
        trouble(proxy, site, roof)
        store.rollover()
        roof.finish()
        site.assert_serves()
        site.assert_sound(roof)
    finally:
        site.close()
