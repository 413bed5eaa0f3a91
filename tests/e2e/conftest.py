"""A site on each kind of store."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import missing
from tests.e2e.harness import Site
from tests.e2e.stores import ElasticsearchStore, SqliteStore
from tests.elasticsearch_server import Server

LONGEST_S = 400  # a few waits of PATIENCE_S, each of which says what it waited for
FAKETIME = "libfaketimeMT.so.1"  # Debian: apt install faketime


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test of this folder may take so long, unless it says how long itself."""
    for item in items:
        here = item.path.is_relative_to(Path(__file__).parent)
        if here and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(LONGEST_S))


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


@pytest.fixture(scope="session")
def faketime() -> str:
    """The library that shifts a process's clock."""
    found = next(Path("/usr/lib").rglob(FAKETIME), None)
    if found is None:
        missing("faketime", f"no {FAKETIME}: it comes with the package faketime")
    return str(found)
