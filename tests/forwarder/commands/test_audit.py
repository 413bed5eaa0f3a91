"""`clima audit` and its exit codes, over a file."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
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


async def _store(
    path: Path, sequences: list[int], last: int, age: timedelta = timedelta(hours=1)
) -> Output:
    output = open_output(sqlite.Options(path=path))
    await output.open()
    await output.create(documents("roof", LANE, sequences))
    reported = datetime.now(UTC) - age
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


def test_a_report_from_the_future_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Somebody's clock was ahead; the readings themselves may be all there."""
    path = tmp_path / "ahead.sqlite"

    async def fill() -> None:
        await (await _store(path, [1, 2], 2, timedelta(days=-30))).close()

    asyncio.run(fill())
    assert EXIT_OK == main(["audit", "--database", str(path)])
    said = capsys.readouterr().out
    assert "roof 0123456789ab clima.weather: reported from the future, at " in said
    assert EXIT_OK == main(["audit", "--database", str(path), "--json"])
    assert json.loads(capsys.readouterr().out)[0]["ahead"]


def test_what_may_have_expired_or_not_is_said_as_that(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody can tell; of readings it would be exit code 1."""
    path, now = tmp_path / "doubtful.sqlite", datetime.now(UTC)
    health = Lane(LANE.journal, "s")
    young = now - timedelta(days=3)

    async def fill() -> None:
        output = await _store(path, [], 0)
        await output.create(
            [msgspec.structs.replace(d, timestamp=young) for d in documents("roof", health, [5, 6])]
        )
        await output.report([StationReport("roof", now, [LaneReport(*health, 1, 6, START)])])
        await output.close()

    asyncio.run(fill())
    command = ["audit", "--database", str(path)]
    assert EXIT_OK == main([*command, "--retention", "station=90"])
    said = capsys.readouterr().out
    assert "roof 0123456789ab clima.station: gap or expired: 1-4: " in said
    assert "2 stored, 0 lost, 4 lost or expired, 0 doubled" in said
    assert EXIT_FINDING == main(command)


def test_a_card_that_fell_silent_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With what it held, since when it says nothing, and exit code 1: somebody has to look."""
    path, now = tmp_path / "silent.sqlite", datetime.now(UTC)

    async def fill() -> None:
        output = await _store(path, [1, 2], 2)
        silent = LaneReport("ba9876543210", "w", 1, 9, START, [(5, 9)])
        await output.create(documents("roof", silent.lane, [1, 2, 3, 4]))
        await output.report([StationReport("roof", now - timedelta(days=9), [silent])])
        await output.close()

    asyncio.run(fill())
    assert EXIT_FINDING == main(["audit", "--database", str(path)])
    said = " ".join(capsys.readouterr().out.split())
    since = f"{now - timedelta(days=9):%Y-%m-%d %H:%M} UTC"
    card = f"the card of journal ba9876543210 has not spoken since {since}"
    assert f"roof ba9876543210 clima.weather: missing: 5-9: {card}" in said
    assert "6 stored, 0 lost, 5 missing, 0 doubled" in said
    assert EXIT_FINDING == main(["audit", "--database", str(path), "--json"])
    lanes = json.loads(capsys.readouterr().out)
    assert [[], [[5, 9]]] == [lane["ranges"]["missing"] for lane in lanes]


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
