"""The stand-in for Logstash, held to the cases that the real one is held to.

Where there is a real one, the same tests run against it from their own module.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import msgspec
import pytest

from clima_elk import elasticsearch as assets
from tests import logstash_standin
from tests.elasticsearch_server import Server
from tests.elk import test_logstash_pipelines as cases
from tests.logstash_server import Logstash


@pytest.fixture(scope="module")
def logstash(elasticsearch: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Logstash]:
    """The stand-in, looked at as if it were the real one; our templates are installed."""

    async def ask(method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        return made.store(method, path, body and msgspec.Raw(body))

    folder = tmp_path_factory.mktemp("logstash")
    lags = {"dead_letters_s": 0.5, "statistics_s": 0.5}
    for stand_in in logstash_standin.running(folder, elasticsearch.url, **lags):
        urls = {"readings": stand_in.url, "logs": stand_in.logs_url}
        urls |= {"statistics": stand_in.statistics_url, "elasticsearch": elasticsearch.url}
        made = Logstash(urls, stand_in.username, stand_in.password)
        asyncio.run(assets.install(ask))
        yield made


CASES = {name: case for name, case in vars(cases).items() if name.startswith("test_")}
globals().update(CASES)


def test_there_are_cases() -> None:
    """All of those of the real one."""
    assert len(CASES) > 5
