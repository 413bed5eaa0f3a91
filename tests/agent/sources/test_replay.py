"""The replay driver: real files, and every way they can be wrong."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

import pytest

from clima_agent.sources import Measured, Setting
from clima_agent.sources.replay import Column, Replay, ReplaySource
from clima_core.errors import ConfigurationError

NOW = datetime(2026, 3, 4, 5, 6, 7, 890_000, tzinfo=UTC)
COLUMNS = {"t": Column(quantity="air_temperature", unit="degF")}
HEADER = "station,time,t\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "weather.csv"
    path.write_text(text, "utf-8")
    return path


def opened(path: Path, **options: str) -> ReplaySource:
    replay = Replay(path=path, columns=COLUMNS, **options)  # type: ignore[arg-type]
    return replay.open(Setting(NOW, 10))


def played(source: ReplaySource) -> list[tuple[datetime, dict[str, Measured]]]:
    return [(at, dict(source.read(at))) for at in source.times()]


def at(hour: int) -> datetime:
    return datetime(2013, 1, 1, hour, tzinfo=UTC)


def test_plays_the_lines_of_one_station(tmp_path: Path) -> None:
    """Other stations' lines are passed over; an empty field is absent; offsets become UTC."""
    path = write(
        tmp_path,
        HEADER
        + "JFK,2013-01-01T06:00:00Z,39.02\n"
        + "LGA,2013-01-01T06:00:00Z,40\n"
        + "JFK,2013-01-01T02:00:00-05:00,\n"
        + "JFK,2013-01-01T08:00:00, -1.5 \n",
    )

    assert played(opened(path, station="JFK")) == [
        (at(6), {"air_temperature": Measured(39.02, "degF")}),
        (at(7), {}),
        (at(8), {"air_temperature": Measured(-1.5, "degF")}),
    ]


def test_shifted_times_end_now(tmp_path: Path) -> None:
    """The last line is now, to the second; the distances stay as they were."""
    path = write(tmp_path, HEADER + "A,2013-01-01T06:00:00Z,1\nA,2013-01-01T09:30:00Z,2\n")

    times = [time for time, _ in played(opened(path, times="shifted"))]

    assert times[1] == NOW.replace(microsecond=0)
    assert times[1] - times[0] == at(9).replace(minute=30) - at(6)


def test_a_moment_that_is_not_its_own_has_no_values(tmp_path: Path) -> None:
    """Two recordings that are played together each speak at their own moments."""
    source = opened(write(tmp_path, HEADER + "A,2013-01-01T06:00:00Z,1\n"))
    next(source.times())

    assert source.read(at(7)) == {}
    assert len(source.read(at(6))) == 1


def test_repeated_times_go_on_for_ever(tmp_path: Path) -> None:
    """From a while ago on into the future, whole days apart, so that a morning stays a morning."""
    text = HEADER + "A,2013-01-01T06:00:00Z,1\nA,2013-01-02T05:30:00Z,2\nA,2013-01-02T07:00:00Z,3\n"
    replay = Replay(path=write(tmp_path, text), columns=COLUMNS, times="repeated", history_days=2)
    source = replay.open(Setting(NOW, 10))

    played = [(at, source.read(at)["air_temperature"].value) for at in islice(source.times(), 5)]

    begin = NOW - timedelta(days=2)
    assert begin <= played[0][0] < begin + timedelta(days=2)
    assert played[-1][0] > NOW
    assert sorted(at for at, _ in played) == [at for at, _ in played]
    assert {(6, 0): 1, (5, 30): 2, (7, 0): 3} == {(at.hour, at.minute): v for at, v in played}
    assert played[0][0] == next(source.times()), "asked again it begins again"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", 'line 1: no column "time"; the file is empty'),
        ("station,tiem,t\n", 'line 1: no column "time"; did you mean "tiem"?'),
        (HEADER, "holds no line to play"),
        (
            HEADER + "A,yesterday,1\n",
            'line 2: time: "yesterday" is not a time; write it as "2013-01-31T06:00:00Z"',
        ),
        (
            HEADER + "A,2013-01-01T06:00:00Z,1\nA,2013-01-01T07:00:00Z,12;5\n",
            'line 3: t: "12;5" is not a number; leave it empty where there is none',
        ),
        (
            HEADER + "A,2013-01-01T06:00:00Z,nan\n",
            'line 2: t: "nan" is not a number; leave it empty where there is none',
        ),
        (HEADER + "A,2013-01-01T06:00:00Z\n", "line 2: 2 fields; the header has 3"),
        (
            HEADER + "A,2013-01-01T06:00:00Z,1\nA,2013-01-01T06:00:00Z,1\n",
            "line 3: time: is not after the line before; sort the file",
        ),
        (HEADER + 'A,"2013"x,1\n', "line 2: is not CSV: ',' expected after '\"'"),
    ],
)
def test_a_bad_file_is_refused_when_opened(tmp_path: Path, text: str, problem: str) -> None:
    """One clear message: file, line, field, what was found, and the mend."""
    path = write(tmp_path, text)

    with pytest.raises(ConfigurationError) as failure:
        opened(path)

    assert failure.value.problems[0] == f"{path}: {problem}"


def test_a_station_that_is_not_in_the_file(tmp_path: Path) -> None:
    """Said with the nearest name that is there."""
    path = write(tmp_path, HEADER + "JFK,2013-01-01T06:00:00Z,1\n")

    with pytest.raises(ConfigurationError, match='no line has "JFC"; did you mean "JFK"'):
        opened(path, station="JFC")


def test_all_bad_lines_at_once_up_to_a_bound(tmp_path: Path) -> None:
    """Ten problems tell enough; a file of another kind would have one in every line."""
    path = write(tmp_path, HEADER + "A,never,1\n" * 500)

    with pytest.raises(ConfigurationError) as failure:
        opened(path)

    assert len(failure.value.problems) == 11
    assert failure.value.problems[-1] == f"{path}: and perhaps more after these"


@pytest.mark.parametrize("content", [None, b"station,time,t\nM\xfcnchen,x,1\n"])
def test_a_file_that_cannot_be_read(tmp_path: Path, content: bytes | None) -> None:
    """Missing, or in another encoding."""
    path = tmp_path / "weather.csv"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(ConfigurationError, match=r"cannot be read: No such file|is not UTF-8 text"):
        opened(path)


def test_columns_name_quantities_and_units_that_are_there() -> None:
    """With the nearest right name, or what is allowed."""
    with pytest.raises(ValueError, match='did you mean "air_temperature"'):
        Column(quantity="air_temprature")
    with pytest.raises(ValueError, match="allowed: °C, degC, degF, K"):
        Column(quantity="air_temperature", unit="hPa")
    with pytest.raises(ValueError, match="more than one holds air_temperature"):
        Replay(path=Path("x.csv"), columns={"a": COLUMNS["t"], "b": COLUMNS["t"]})
