"""`clima readings`, over a file: a table, CSV and JSON lines."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from pathlib import Path

import pytest

from clima_core.errors import EXIT_OK
from clima_core.identity import Lane
from clima_core.reading import QUANTITIES
from clima_forwarder.cli import main
from clima_forwarder.outputs import open_output, sqlite
from tests.forwarder.outputs.stores import document

LANE = Lane("0123456789ab", "w")


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Three readings of one station, ten seconds apart, and one of another."""
    path = tmp_path / "readings.sqlite"
    weather = [
        {"air_temperature": 20.0, "relative_humidity": 50.0},
        {"air_temperature": 21.0, "relative_humidity": None},
        {"air_temperature": 23.5},
    ]

    async def fill() -> None:
        output = open_output(sqlite.Options(path=path))
        await output.open()
        batch = [document("roof", LANE, n, weather=each) for n, each in enumerate(weather, 1)]
        await output.create([*batch, document("barn", LANE, 1, weather={"wind_speed": 3.0})])
        await output.close()

    asyncio.run(fill())
    return path


def shown(capsys: pytest.CaptureFixture[str], database: Path, *arguments: str) -> str:
    """What the command prints."""
    assert EXIT_OK == main(["readings", "--database", str(database), *arguments])
    return capsys.readouterr().out


def test_a_table_has_what_was_measured(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With units; a dash is a value that cannot be used, blank was not measured."""
    table = shown(capsys, database, "--station", "roof")
    assert "air temperature" in table
    assert "°C" in table
    assert "wind speed" not in table
    row = next(line for line in table.splitlines() if "21.00" in line)
    assert "–" in row


def test_csv_has_the_same_columns_whatever_was_measured(
    database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """So that a script finds them."""
    rows = list(csv.DictReader(io.StringIO(shown(capsys, database, "--csv"))))
    assert ["time", "station", *QUANTITIES] == list(rows[0])
    assert ["barn", "roof", "roof", "roof"] == [row["station"] for row in rows]
    assert ("2024-05-01T00:00:10.000Z", "21.0", "") == (
        rows[2]["time"],
        rows[2]["air_temperature"],
        rows[2]["relative_humidity"],
    )


def test_json_lines_tell_null_from_absent(
    database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Between two moments."""
    lines = shown(
        capsys, database, "--json", "--from", "2024-05-01T00:00:10", "--to", "2024-05-01T00:00:20Z"
    )
    assert [
        {
            "time": "2024-05-01T00:00:10.000Z",
            "station": "roof",
            "air_temperature": 21.0,
            "relative_humidity": None,
        }
    ] == [json.loads(line) for line in lines.splitlines()]


def test_means_over_an_interval(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line per station and interval."""
    lines = shown(capsys, database, "--json", "--every", "1h").splitlines()
    assert [("barn", 3.0), ("roof", 21.5)] == [
        (line["station"], line.get("wind_speed", line.get("air_temperature")))
        for line in map(json.loads, lines)
    ]


@pytest.mark.parametrize("arguments", [["--every", "0m"], ["--every", "1w"], ["--from", "noon"]])
def test_a_time_that_is_none_is_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """With what is expected instead."""
    with pytest.raises(SystemExit, match="2"):
        main(["readings", *arguments])
    assert "expected" in capsys.readouterr().err
