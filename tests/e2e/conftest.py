"""A site on each kind of store."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.harness import Site
from tests.e2e.stores import ElasticsearchStore, SqliteStore
from tests.elasticsearch_server import Server


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A site that stores in SQLite; its forwarder is not started."""
    made = Site(tmp_path, SqliteStore(tmp_path / "readings.sqlite"))
    yield made
    made.close()


@pytest.fixture
def store(elasticsearch: Server) -> ElasticsearchStore:
    """The shared Elasticsearch as a store."""
    return ElasticsearchStore(elasticsearch)


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Figures that were measured, shown while the tests run."""

    def written(text: str) -> None:
        with capsys.disabled():
            sys.stdout.write(f"\n{text}\n")

    return written
