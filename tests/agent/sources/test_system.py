"""The board as a sensor, on a root of the test's own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from clima_agent.sources import SensorError
from clima_agent.sources.system import SystemSource

NOW = datetime(2024, 5, 1, 12, tzinfo=UTC)


def board(root: Path, celsius: float) -> None:
    zone = root / "sys/class/thermal/thermal_zone0"
    zone.mkdir(parents=True, exist_ok=True)
    (zone / "temp").write_text(f"{celsius * 1000:.0f}\n", "ascii")


def said(source: SystemSource, seconds: float) -> float | None:
    return source.read(NOW + timedelta(seconds=seconds))["cpu_temperature"].value


def test_follows_the_processor_as_slowly_as_what_it_warms(tmp_path: Path) -> None:
    """63 % of a step after the lag, all of it at first or when the clock was set back."""
    source = SystemSource(300, tmp_path)
    board(tmp_path, 40)
    assert 40 == said(source, 0)
    board(tmp_path, 50)

    assert pytest.approx(40, abs=0.4) == said(source, 10)
    for seconds in range(20, 301, 10):
        value = said(source, seconds)
    assert pytest.approx(46.32, abs=0.01) == value
    assert 50 == said(source, -3600)


def test_without_a_lag_it_is_the_processor_s_own(tmp_path: Path) -> None:
    """As it is this moment."""
    source = SystemSource(0, tmp_path)
    board(tmp_path, 40)
    said(source, 0)
    board(tmp_path, 50)

    assert 50 == said(source, 1)


def test_a_board_that_does_not_say(tmp_path: Path) -> None:
    """With the options that ask for it."""
    with pytest.raises(SensorError, match=r"take the sensor .*self_heating out"):
        SystemSource(0, tmp_path).read(NOW)
