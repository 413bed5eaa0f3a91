"""Fixtures of the agent's tests."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog


@pytest.fixture(autouse=True)
def logs_as_they_were() -> Iterator[None]:
    """A command sets up logging for its process; here the next test begins without that."""
    handlers = list(logging.root.handlers)
    yield
    structlog.reset_defaults()
    logging.captureWarnings(capture=False)
    logging.root.handlers[:] = handlers


@pytest.fixture
def alone_on_loopback() -> Iterator[None]:
    """Of all that runs on this machine only one test at a time is to be found by multicast."""
    fcntl = pytest.importorskip("fcntl")
    with Path(tempfile.gettempdir(), "clima-test-mdns.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture
def public_path(tmp_path: Path) -> Path:
    """A folder that everybody may look into, as pytest's own are not."""
    for each in (tmp_path, *tmp_path.parents):
        if each == Path.home():
            break
        if each.stat().st_mode & 0o005 != 0o005:
            each.chmod(0o755)
    return tmp_path
