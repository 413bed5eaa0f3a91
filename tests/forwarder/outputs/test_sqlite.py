"""The output `sqlite`: what can become of its file while it is in use."""

from __future__ import annotations

from pathlib import Path

import pytest

from clima_core.errors import UnavailableError
from clima_core.identity import Lane
from clima_forwarder.outputs import sqlite
from clima_forwarder.outputs.base import Found
from clima_forwarder.outputs.sqlite.output import STORED, Output
from tests.forwarder.outputs.stores import documents

LANE = Lane("0123456789ab", "w")
AWAY = "put it back, or restart"


@pytest.mark.parametrize("replaced", [False, True])
async def test_nothing_is_stored_in_a_file_that_is_not_there_any_more(
    tmp_path: Path, *, replaced: bool
) -> None:
    """SQLite goes on writing to it, and finds there what nobody else ever will."""
    path, aside = tmp_path / "readings.sqlite", tmp_path / "aside.sqlite"
    output = Output(sqlite.Options(path=path))
    await output.open()
    try:
        first, second = documents("roof", LANE, [1, 2])
        assert [STORED] == await output.create([first])
        path.rename(aside)
        if replaced:
            path.touch()
        with pytest.raises(UnavailableError, match=AWAY):
            await output.create([second])
        with pytest.raises(UnavailableError, match=AWAY):
            await output.find("roof", LANE, 1, 2, since=0.0)
        aside.replace(path)
        found = [Found(1, first.body), Found(2, second.body)]
        assert found == await output.find("roof", LANE, 1, 2, since=0.0)
    finally:
        await output.close()
