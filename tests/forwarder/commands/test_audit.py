"""`clima audit` and its exit codes, over a file."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from clima_core.errors import EXIT_CONFIGURATION, EXIT_FINDING, EXIT_OK, EXIT_UNAVAILABLE
from clima_core.identity import Lane
from clima_core.wire import LaneReport, StationReport
from clima_forwarder.cli import main
from clima_forwarder.outputs import open_output, sqlite
from clima_forwarder.outputs.base import Output
from tests.forwarder.outputs.stores import START, documents

LANE = Lane("0123456789ab", "w")


async def _store(path: Path, sequences: list[int], last: int) -> Output:
    output = open_output(sqlite.Options(path=path))
    await output.open()
    await output.create(documents("roof", LANE, sequences))
    reported = datetime.now(UTC) - timedelta(hours=1)
    lanes = [LaneReport(*LANE, 1, last, START)]
    await output.report([StationReport("roof", reported, lanes)])
    return output


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Of ten readings, the fourth and the last are missing."""
    path = tmp_path / "readings.sqlite"

    async def fill() -> None:
        await (await _store(path, [1, 2, 3, 5, 6, 7, 8, 9], 10)).close()

    asyncio.run(fill())
    return path


def test_a_gap_is_shown_and_is_exit_code_1(
    database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the exact sequences, for people."""
    assert EXIT_FINDING == main(["audit", "--database", str(database)])
    shown = capsys.readouterr().out
    assert "roof 0123456789ab clima.weather: gaps: 4, 10" in shown
    assert "8 stored, 2 lost, 0 doubled" in shown


def test_scripts_get_everything(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As one array of lanes, ranges as pairs."""
    assert EXIT_FINDING == main(["audit", "--database", str(database), "--json"])
    (lane,) = json.loads(capsys.readouterr().out)
    assert ("roof", "clima.weather", 10, False) == tuple(
        lane[name] for name in ("station", "data_set", "last", "sound")
    )
    assert [[4, 4], [10, 10]] == lane["ranges"]["gaps"]


def test_a_whole_store_is_exit_code_0(tmp_path: Path) -> None:
    """Which a script can rely on."""
    path = tmp_path / "whole.sqlite"

    async def fill() -> None:
        await (await _store(path, [1, 2], 2)).close()

    asyncio.run(fill())
    assert EXIT_OK == main(["audit", "--database", str(path)])


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--database", "missing.sqlite"], EXIT_CONFIGURATION, "missing.sqlite: no such file"),
        (["--url", "nowhere"], EXIT_CONFIGURATION, "http://"),
        (["--url", "http://127.0.0.1:1"], EXIT_UNAVAILABLE, "is it running?"),
    ],
)
def test_a_store_that_is_not_there_is_said(
    arguments: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one message; never as "nothing lost"."""
    assert code == main(["audit", *arguments])
    assert said in capsys.readouterr().err


def test_a_station_nobody_knows_is_no_good_news(
    database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A misspelt name must not pass for a complete station."""
    assert EXIT_CONFIGURATION == main(["audit", "--database", str(database), "--station", "rof"])
    assert '"rof"' in capsys.readouterr().err


def test_repair_without_a_forwarder_is_said(
    database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """There is nobody to have the gaps sent again."""
    arguments = ["audit", "--database", str(database), "--repair"]
    assert EXIT_UNAVAILABLE == main([*arguments, "--forwarder", "http://127.0.0.1:1"])
    assert "no forwarder at http://127.0.0.1:1" in capsys.readouterr().err


async def test_repair_asks_for_the_gaps_and_waits_until_they_close(database: Path) -> None:
    """The forwarder is asked once, for exactly what is missing."""
    asked: list[Any] = []

    async def repair(request: web.Request) -> web.Response:
        asked.append(await request.json())
        output = await _store(database, [4, 10], 10)  # as the station would, by and by
        await output.close()
        return web.json_response({"asked": "roof"}, status=202)

    app = web.Application()
    app.router.add_post("/repair", repair)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    arguments = ["audit", "--database", str(database), "--repair", "--forwarder", url]
    assert EXIT_OK == await asyncio.to_thread(main, arguments)
    lane = {"station": "roof", "journal": LANE.journal, "stream": "w"}
    assert [{**lane, "ranges": [[4, 4], [10, 10]]}] == asked
    await runner.cleanup()
