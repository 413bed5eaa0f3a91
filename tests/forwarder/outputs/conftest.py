"""Each store, real and empty of the test's own station."""

from __future__ import annotations

from pathlib import Path

import pytest

from clima_forwarder.outputs import Options, elasticsearch, sqlite


@pytest.fixture(params=["sqlite", "elasticsearch"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Options:
    """The options of a store that is there."""
    if request.param == "sqlite":
        return sqlite.Options(path=tmp_path / "readings.sqlite")
    return elasticsearch.Options(url=request.getfixturevalue("elasticsearch").url)
