"""A station without a sensor: by a clock of the test's own, and as a process."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from clima_agent.cli import main
from clima_agent.pipeline import Pipeline
from clima_agent.sampler import Sampler
from clima_agent.seeking import CAP_S, FIRST_S, Seeking
from clima_agent.sources import Source
from clima_agent.spool import Spool
from clima_core.errors import UnavailableError
from tests.agent.test_agent import Recording
from tests.agent.test_clones import agent, let_in, made, readings
from tests.forwarder.running import Running, forwarder, until

NO_I2C = "there is no I2C bus on this machine"


class Waits:
    """Time that passes at once, and is kept account of."""

    def __init__(self, stop_after: int = 1000) -> None:
        self.waited: list[float] = []
        self._stop_after = stop_after

    def monotonic(self) -> float:
        return sum(self.waited)

    def offset(self) -> float:
        return 1_700_000_000.0

    def wait(self, stop: threading.Event, seconds: float) -> bool:
        self.waited.append(seconds)
        return stop.is_set() or len(self.waited) >= self._stop_after


def seeking(clock: Waits, *reasons: str) -> Seeking:
    """Nothing is there for these reasons, one after the other; then a sensor is."""
    left = iter(reasons)

    def look() -> Mapping[str, Source]:
        if (reason := next(left, None)) is not None:
            raise UnavailableError(reason)
        return {"bme280": Recording(3)}

    def sampler(sources: Mapping[str, Source]) -> Sampler:
        pipeline = Pipeline(calibrations={}, checks={}, elevation_m=None)
        return Sampler(sources, pipeline, interval_s=1.0, speed=float("inf"), clock=clock)

    return Seeking(look, sampler, clock)


def test_it_samples_as_soon_as_something_is_there() -> None:
    """And until then it is known that there is nothing."""
    without = seeking(Waits(), NO_I2C, NO_I2C)
    seen: list[bool] = []

    without.run(lambda draft, moment: seen.append(without.without_sensors), threading.Event())
    without.close()

    assert [False, False, False] == seen
    assert seeking(Waits(), NO_I2C).without_sensors


def test_it_looks_ever_less_often() -> None:
    """Up to a cap, with some chance in it."""
    clock = Waits()
    seeking(clock, *[NO_I2C] * 10).run(lambda draft, moment: None, threading.Event())

    longest = [min(CAP_S, FIRST_S * 2**number) for number in range(10)]
    assert all(
        most / 2 <= waited <= most for waited, most in zip(clock.waited, longest, strict=False)
    )


def test_the_reason_is_said_when_it_changes() -> None:
    """One line, with the mend, and not one for each look."""
    with capture_logs() as log:
        without = seeking(Waits(), NO_I2C, NO_I2C, "not permitted", "not permitted", NO_I2C)
        without.run(lambda draft, moment: None, threading.Event())

    said = [(each["reason"], each["log_level"]) for each in log if each["event"] == "no_sensor"]
    assert [(NO_I2C, "warning"), ("not permitted", "warning"), (NO_I2C, "warning")] == said


def test_told_to_stop_it_does() -> None:
    """In the middle of waiting."""
    without = seeking(Waits(stop_after=2), *[NO_I2C] * 100)
    without.run(lambda draft, moment: pytest.fail("there is no reading"), threading.Event())
    without.close()
    assert without.without_sensors


@pytest.mark.skipif(any(Path("/dev").glob("i2c-*")), reason="this machine has I2C")
async def test_without_a_sensor_the_backlog_and_the_log_are_delivered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A station whose plug came off has a month of readings on its card."""
    async with forwarder(tmp_path / "stations") as running:
        card = made(tmp_path / "card", running)
        file = card / "agent.toml"
        file.write_text(file.read_text().replace('[[sensors]]\ndriver = "simulated"\n', ""))
        (card / "spool").mkdir()
        with closing(Spool(card / "spool/spool.db", "roof")) as spool:
            spool.append("w", [{"@timestamp": "2026-06-01T12:00:00.000Z"}] * 50)
        let_in(card, running)
        with agent(card):
            await until(lambda: readings(running, "roof") == 50)
            await until(lambda: any(b"no_sensor" in body for body in stored(running)))
            await until(lambda: any(":s:" in each for each in running.output.stored))
            capsys.readouterr()
            assert 0 == main(["status", "--json", "-c", str(file)])
    (silence,) = json.loads(capsys.readouterr().out.splitlines()[-1])["warnings"]
    assert silence.startswith("no reading since 2026-06-01 12:00:00 UTC; `clima-agent check`")


def stored(running: Running) -> list[bytes]:
    return [body for index in running.output.indices for body in index.values()]
