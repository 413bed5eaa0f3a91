"""The engine, for whoever needs one."""

from __future__ import annotations

import pytest

from tests.compose.engine import Engine, find
from tests.conftest import missing


@pytest.fixture(scope="session")
def engine() -> Engine:
    """Docker and Compose, with images; else a skip that says why."""
    found = find()
    if isinstance(found, str):
        missing("docker", found)
        raise AssertionError(found)
    return found
