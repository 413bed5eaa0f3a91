"""Fixtures that several packages' tests share; real parts, or a skip that says why."""

import asyncio
import inspect
import os
import secrets
from collections.abc import Iterator

import pytest
from hypothesis import settings

from clima_core.identity import new_journal
from tests import elasticsearch_server
from tests.elasticsearch_server import Server

# How long an example takes says more of the machine than of the code; `timeout` ends what hangs.
settings.register_profile("clima", deadline=None)
settings.load_profile("clima")
pytest.register_assert_rewrite("tests.e2e.harness")  # so that its verdicts say what differs


def pytest_report_header() -> str:
    """Say which real parts the tests use."""
    return f"elasticsearch: {elasticsearch_server.provider() or 'none'}"


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test that is a coroutine in a loop of its own."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


def missing(part: str, reason: str) -> None:
    """Skip; but fail where `CLIMA_REQUIRE` (names with commas; .ci/run sets it) asks for it."""
    if part in os.environ.get("CLIMA_REQUIRE", "").split(","):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def elasticsearch() -> Iterator[Server]:
    """A real Elasticsearch, shared: a test keeps to a station of its own, or kills and restarts."""
    server = elasticsearch_server.launch()
    if server is None:
        missing("elasticsearch", "no Elasticsearch: see tests/elasticsearch_server.py for how")
        return
    yield server
    server.stop()


@pytest.fixture(scope="session")
def full_elasticsearch() -> Iterator[Server]:
    """One with all modules and security; the tests replace what Clima has there."""
    server = elasticsearch_server.launch_full()
    if server is None:
        missing("full-elasticsearch", "no full Elasticsearch: see tests/elasticsearch_server.py")
        return
    yield server
    server.stop()


@pytest.fixture
def station() -> str:
    """A station id that no other test has."""
    return f"test-{secrets.token_hex(6)}"


@pytest.fixture
def journal() -> str:
    """A journal of its own."""
    return new_journal()
