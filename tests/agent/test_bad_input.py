"""What is wrong with a station, each with a message of its own that mends it; the rest goes on."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from clima_agent import config, permissions
from clima_agent.pipeline import Pipeline
from clima_agent.sampler import Sampler
from clima_agent.sources import SensorError, Setting, Source, i2c
from clima_agent.sources.bh1750 import Bh1750Chip
from clima_agent.sources.bme280 import Bme280Chip
from clima_agent.sources.bmp180 import Bmp180Chip
from clima_agent.sources.htu21d import Htu21dChip
from clima_agent.sources.simulated import Simulated
from clima_core import keys
from clima_core.errors import ConfigurationError
from tests.agent.fake_bus import Chip, FakeBme280, FakeBmp180, FakeBus, FakeHtu21d
from tests.agent.test_permissions import nobody

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
STATION = '[station]\nid = "roof"\n'
HEAT = ("air_temperature",)


def on(bus: FakeBus, find: Callable[..., i2c.Chip]) -> Source:
    """A chip's source on a bus of its own; time passes there at once."""
    return i2c.ChipSource(HEAT, lambda: bus, lambda _: find(bus, sleep=bus.sleep))


def broken() -> dict[str, tuple[Source, str]]:
    """Sensors that cannot be read, and what is said of each."""
    rubbish = FakeBmp180()
    rubbish.registers[0xAA:0xC0] = bytes(22)
    stuck = FakeBus({0x40: FakeHtu21d()})
    stuck.fault = OSError(errno.ETIMEDOUT, "Connection timed out")
    held = FakeBus({0x23: Chip()})
    held.fault = OSError(errno.EBUSY, "Device or resource busy")
    nowhere = Path("/nowhere")
    return {
        "bme280": (
            i2c.ChipSource(HEAT, lambda: i2c.open_bus(1, nowhere), Bme280Chip),
            "i2c-1: there is no such bus; turn it on by `sudo raspi-config nonint do_i2c 0`",
        ),
        "bme280-2": (
            on(FakeBus({0x77: FakeBme280(chip_id=0x55)}), lambda bus, sleep: Bme280Chip(bus)),
            "0x77: chip id 0x55, which is a BMP180",
        ),
        "bmp180": (on(FakeBus({0x77: rubbish}), Bmp180Chip), "0x77: answered rubbish"),
        "bmp180-2": (
            on(FakeBus({}), Bmp180Chip),
            "0x77: no answer (`clima-agent scan` shows what is there)",
        ),
        "htu21d": (
            on(stuck, Htu21dChip),
            "the bus is stuck: is SDA or SCL shorted",
        ),
        "htu21d-2": (
            on(FakeBus({0x40: Chip()}), Htu21dChip),
            "0x40: is no HTU21D, SHT21 or Si7021",
        ),
        "bh1750": (
            on(held, Bh1750Chip),
            "a kernel driver holds the chip; take its dtoverlay line out of config.txt",
        ),
    }


def test_each_has_its_own_message_and_the_others_go_on() -> None:
    """Seven that are broken, each in its way, and one that works."""
    sensors = broken()
    sources = {name: source for name, (source, _) in sensors.items()}
    sources["simulated"] = Simulated(seed=1).open(Setting(NOW, 10.0))
    pipeline = Pipeline(calibrations={}, checks={}, elevation_m=104)
    sampler = Sampler(sources, pipeline, interval_s=10.0, answer_s=10.0)
    with capture_logs() as log:
        draft = sampler.take(NOW)
        sampler.close()

    said = {each["sensor"]: each["reason"] for each in log if each["event"] == "sensor_failed"}
    assert sensors.keys() == said.keys()
    for name, (_, expected) in sensors.items():
        assert expected in said[name]
    assert draft.weather["air_temperature"] == draft.sensors["simulated"]["air_temperature"]
    assert "failed" not in draft.quality.get("air_temperature", ())
    assert None is draft.sensors["bme280"]["air_temperature"]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can be another")
def test_a_bus_that_is_not_permitted(public_path: Path) -> None:
    """With the command that mends it, by the group that the bus has."""
    (public_path / "i2c-1").touch(0o660)
    os.chown(public_path / "i2c-1", 0, 8)  # mail, on every Debian
    permissions.mend(public_path, "i2c")  # nobody may not even import what these need
    with pytest.raises(SensorError, match="i2c-1: Inappropriate ioctl"):
        i2c.open_bus(1, public_path)
    mend = r"i2c-1: not permitted; `sudo usermod -aG mail nobody`, then log in again"
    with nobody(), pytest.raises(SensorError, match=mend):
        i2c.open_bus(1, public_path)


def test_an_option_of_another_driver_names_it(tmp_path: Path) -> None:
    """And all such are said at once."""
    file = tmp_path / "agent.toml"
    file.write_text(
        f'{STATION}[[sensors]]\ndriver = "bmp180"\nsensitivity = 2.0\n'
        '[[sensors]]\ndriver = "ds18b20"\nline = 5\n[[sensors]]\ndriver = "bh1750"\nadress = 0x23\n'
    )
    with pytest.raises(ConfigurationError) as wrong:
        config.load(file, {})
    assert [
        f'{file}: sensors[0].sensitivity: unknown option of "bmp180"; "bh1750" has it',
        f'{file}: sensors[1].line: unknown option of "ds18b20"; "rain_gauge" has it',
        f'{file}: sensors[2].adress: unknown option; did you mean "address"?',
    ] == list(wrong.value.problems)


def test_a_missing_elevation_is_said_and_costs_one_quantity(tmp_path: Path) -> None:
    """No pressure at sea level; everything else is there."""
    file = tmp_path / "agent.toml"
    file.write_text(STATION + '[[sensors]]\ndriver = "simulated"\n')
    configured = config.load(file, {})
    source = Simulated(seed=1).open(Setting(NOW, 10.0))
    pipeline = Pipeline(calibrations={}, checks={}, elevation_m=configured.station.elevation_m)
    sampler = Sampler({"simulated": source}, pipeline, interval_s=10.0, answer_s=10.0)
    draft = sampler.take(NOW)
    sampler.close()

    (said,) = [text for text in config.warnings(configured) if "elevation" in text]
    assert "without it no pressure at sea level is worked out; give the barometer's height" in said
    assert "air_pressure" in draft.weather
    assert "air_pressure_at_mean_sea_level" not in draft.weather


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
def test_a_key_that_others_can_read_is_not_used(tmp_path: Path) -> None:
    """A configuration that a person must mend: exit code 78, with the command."""
    keys.load_or_create(tmp_path / "agent.key")
    (tmp_path / "agent.key").chmod(0o640)
    with pytest.raises(ConfigurationError, match=r"others can read this secret key; `chmod 600 /"):
        keys.load_or_create(tmp_path / "agent.key")
