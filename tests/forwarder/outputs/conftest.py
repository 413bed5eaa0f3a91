"""Each store, real and empty of the test's own station."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest

from clima_core.configuration import Secret
from clima_forwarder.outputs import Options, elasticsearch, logstash, sqlite
from tests import logstash_server, logstash_standin
from tests.elasticsearch_server import Server
from tests.forwarder.outputs.stores import STATISTICS_S, through
from tests.logstash_standin import StandIn


@pytest.fixture(scope="session")
def shared_logstash(
    elasticsearch: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[StandIn]:
    """A stand-in that nobody troubles."""
    folder = tmp_path_factory.mktemp("logstash")
    lags = {"dead_letters_s": 0.5, "statistics_s": STATISTICS_S}
    yield from logstash_standin.running(folder, elasticsearch.url, **lags)


def real_logstash() -> Options:
    """The one that `CLIMA_TEST_LOGSTASH_URL` and its like name; skips where there is none."""
    given = logstash_server.given()
    if given is None:
        pytest.skip("no CLIMA_TEST_LOGSTASH_URL: see tests/logstash_server.py")
    parts = urlsplit(given.elasticsearch)
    return logstash.Options(
        url=given.readings,
        username=given.username,
        password=Secret(given.password),
        statistics_url=given.statistics,
        elasticsearch=elasticsearch.Options(
            url=urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])),
            username=parts.username,
            password=Secret(parts.password) if parts.password else None,
        ),
    )


@pytest.fixture(params=["sqlite", "elasticsearch", "logstash", "real logstash"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Options:
    """The options of a store that is there."""
    if request.param == "sqlite":
        return sqlite.Options(path=tmp_path / "readings.sqlite")
    if request.param == "real logstash":
        return real_logstash()
    server: Server = request.getfixturevalue("elasticsearch")
    if request.param == "elasticsearch":
        return elasticsearch.Options(url=server.url)
    return through(request.getfixturevalue("shared_logstash"), server)
