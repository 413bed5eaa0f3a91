"""What is found on buses that speak registers, and what becomes of it in the configuration."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from pathlib import Path

import pytest

from clima_agent import config, settings_file
from clima_agent.discovery import Findings, Found, found_sensors, look
from clima_agent.sources import SensorError
from clima_agent.sources.bh1750 import Bh1750
from clima_agent.sources.bme280 import Bme280
from clima_agent.sources.bmp180 import Bmp180
from clima_agent.sources.ds18b20 import Ds18b20
from clima_agent.sources.htu21d import Htu21d
from clima_core.errors import ConfigurationError, UnavailableError
from tests.agent.fake_bus import (
    Chip,
    FakeBh1750,
    FakeBme280,
    FakeBmp180,
    FakeBus,
    FakeHtu21d,
)

PROBE = "28-0316a2799bff"
BME280 = Found("bus 1, address 0x76", "BME280", "bme280", {"bus": 1, "address": 0x76})
SECOND = Found("bus 1, address 0x77", "BME280", "bme280", {"bus": 1, "address": 0x77})
WIRE = Found(f"1-Wire {PROBE}", "DS18B20", "ds18b20", {"device": PROBE})


def phat() -> FakeBus:
    """The ANAVI Infrared pHAT."""
    return FakeBus({0x23: FakeBh1750(), 0x40: FakeHtu21d(), 0x77: FakeBmp180()})


def findings(buses: Mapping[int, FakeBus], devices: Path = Path("/nowhere")) -> Findings:
    def open_bus(number: int) -> FakeBus:
        return buses[number]

    return look(list(buses), open_bus, devices)


def test_chips_are_told_apart() -> None:
    """By their id or what they have in its place; what Clima does not know is still shown."""
    buses = {
        1: FakeBus({0x48: Chip(), 0x76: FakeBme280(), 0x77: FakeBme280(chip_id=0x58)}),
        3: FakeBus({0x40: Chip(), 0x76: Chip({0xD0: 0x61})}),
    }

    found = findings(buses).found

    assert [
        ("bus 1, address 0x48", None, None),
        ("bus 1, address 0x76", "BME280", "bme280"),
        ("bus 1, address 0x77", "BMP280", "bme280"),
        ("bus 3, address 0x40", None, None),
        ("bus 3, address 0x76", None, None),
    ] == [(each.place, each.chip, each.driver) for each in found]
    assert all(bus.closed for bus in buses.values())


def test_what_is_found_is_used_in_the_order_of_preference(tmp_path: Path) -> None:
    """A pHAT and a probe, with nothing configured: the hygrometer before the barometer."""
    (tmp_path / PROBE).mkdir()

    sensors = found_sensors(findings({1: phat()}, tmp_path))

    assert (Bh1750(), Htu21d(), Bmp180(), Ds18b20(device=PROBE)) == sensors


def test_one_bus_does_not_hide_another() -> None:
    """What could not be looked at is said beside what was found."""
    buses = {1: phat()}

    def open_bus(number: int) -> FakeBus:
        if number == 0:
            raise SensorError("/dev/i2c-0: not permitted; `sudo usermod -aG i2c clima`")
        return buses[number]

    both = look([0, 1], open_bus, Path("/nowhere"))

    assert ["/dev/i2c-0: not permitted; `sudo usermod -aG i2c clima`"] == both.problems
    assert 3 == len(found_sensors(both))


def test_nothing_found_is_said_with_the_reasons() -> None:
    """No bus at all, and a bus with nothing that Clima knows."""
    with pytest.raises(UnavailableError, match=r"none was found: there is no I2C bus .*raspi-conf"):
        found_sensors(look([], devices=Path("/nowhere")))
    with pytest.raises(UnavailableError, match="nothing that Clima knows answers"):
        found_sensors(findings({1: FakeBus({0x48: Chip()})}))


def test_a_chip_that_a_kernel_driver_holds_is_shown() -> None:
    """Something is there, but nobody else may ask it."""
    bus = phat()
    bus.fault = OSError(errno.EBUSY, "Device or resource busy")

    found = findings({1: bus}).found

    assert {None} == {each.driver for each in found}


def test_the_buses_of_hdmi_are_not_taken_for_the_one_on_the_header() -> None:
    """With I2C off they are there all the same: that it is off is what has to be said."""
    screen = {20: FakeBus({0x50: Chip()}), 21: FakeBus({})}

    (problem,) = findings(screen).problems

    assert problem.startswith("/dev/i2c-1: there is no such bus; turn it on by `sudo raspi-config")
    assert [] == findings({**screen, 3: phat()}).problems
    assert [] == findings({**screen, 1: FakeBus({})}).problems


def test_a_stuck_bus_is_said_and_left_at_once() -> None:
    """That nothing answers would have somebody look for the fault at the sensor."""
    stuck = FakeBus({})
    stuck.fault = OSError(errno.ETIMEDOUT, "Connection timed out")

    both = findings({0: stuck, 1: phat()})

    (problem,) = both.problems
    assert problem.startswith("/dev/i2c-0: no answer on the I2C bus (Connection timed out): ")
    assert (1, True) == (stuck.transfers, stuck.closed)
    assert 3 == len(found_sensors(both))


def test_the_lines_load(tmp_path: Path) -> None:
    """A second chip of a kind gets a name of its own; what is unknown has no lines."""
    file = tmp_path / "agent.toml"
    unknown = Found("bus 1, address 0x48", None, None, {"bus": 1, "address": 0x48})
    lines = settings_file.tables([unknown, BME280, SECOND, WIRE])
    file.write_text('[station]\nid = "roof"\n' + lines, "utf-8")

    assert (
        Bme280(bus=1, address=0x76),
        Bme280(name="bme280-2", bus=1, address=0x77),
        Ds18b20(device=PROBE),
    ) == config.load(file, {}).sensors


def test_a_configuration_is_made(tmp_path: Path) -> None:
    """Where there is none, folder and all; the station is called after the machine."""
    file = tmp_path / "etc/clima/agent.toml"

    assert ["bme280", "ds18b20"] == settings_file.add(file, [BME280, WIRE])
    made = config.load(file, {})

    assert (Bme280(bus=1, address=0x76), Ds18b20(device=PROBE)) == made.sensors
    assert made.station.id


def test_a_second_time_adds_nothing(tmp_path: Path) -> None:
    """Also where a sensor is configured without the address it was found at."""
    file = tmp_path / "agent.toml"
    file.write_text('[station]\nid = "roof"\n[[sensors]]\ndriver = "ds18b20"\n', "utf-8")

    assert ["bme280"] == settings_file.add(file, [BME280, WIRE])
    written = file.read_text("utf-8")
    assert [] == settings_file.add(file, [BME280, WIRE])

    assert written == file.read_text("utf-8")
    assert ["agent.toml"] == [path.name for path in tmp_path.iterdir()]


def test_what_stands_in_the_file_stays(tmp_path: Path) -> None:
    """Comments and order as well, and who may read it."""
    file = tmp_path / "agent.toml"
    text = (
        '# mine\n[station]\nid = "roof"\n\n'
        '[[sensors]]  # first\ndriver = "bme280"\naddress = 0x77\n'
    )
    file.write_text(text, "utf-8")
    file.chmod(0o640)

    assert ["bme280-2"] == settings_file.add(file, [BME280, SECOND])

    assert file.read_text("utf-8").startswith(text)
    assert 0o640 == file.stat().st_mode & 0o777


def test_what_does_not_fit_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    """A recording cannot be mixed with live sensors; said with the file and the option."""
    file = tmp_path / "agent.toml"
    text = (
        '[station]\nid = "roof"\n[[sensors]]\ndriver = "simulated"\n'
        "start = 2026-01-01T00:00:00Z\nend = 2026-01-02T00:00:00Z\n"
    )
    file.write_text(text, "utf-8")

    with pytest.raises(ConfigurationError) as failure:
        settings_file.add(file, [BME280])

    (problem,) = failure.value.problems
    assert problem.startswith(f"{file}: left as it was, as with what was found: sensors: recorded")
    assert text == file.read_text("utf-8")
    assert ["agent.toml"] == [path.name for path in tmp_path.iterdir()]
