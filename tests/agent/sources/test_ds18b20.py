"""The DS18B20 driver on the kernel's own files, as w1_therm writes them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from clima_agent.sources import SensorError
from clima_agent.sources.ds18b20 import Ds18b20Source, probes

NOW = datetime(2024, 5, 1, 12, tzinfo=UTC)
PROBE = "28-0316a2799bff"
WELL = "72 01 4b 46 7f ff 0e 10 57 : crc=57 YES\n72 01 4b 46 7f ff 0e 10 57 t=23125\n"
BELOW = "5e ff 4b 46 7f ff 02 10 4e : crc=4e YES\n5e ff 4b 46 7f ff 02 10 4e t=-10125\n"
TURNED = "72 01 4b 46 7f ff 0e 10 57 : crc=a1 NO\n72 01 4b 46 7f ff 0e 10 57 t=23125\n"
SHORTED = "00 00 00 00 00 00 00 00 00 : crc=00 YES\n00 00 00 00 00 00 00 00 00 t=0\n"
FRESH = "50 05 4b 46 7f ff 0c 10 1c : crc=1c YES\n50 05 4b 46 7f ff 0c 10 1c t=85000\n"


def bus(folder: Path, **devices: str) -> Path:
    """The kernel's folder with the master, and a folder for each probe."""
    (folder / "w1_bus_master1").mkdir()
    for name, text in devices.items():
        device = folder / name.replace("_", "-")
        device.mkdir()
        (device / "w1_slave").write_text(text, "ascii")
    return folder


@pytest.mark.parametrize(("text", "expected"), [(WELL, 23.125), (BELOW, -10.125)])
def test_reads_the_first_probe(tmp_path: Path, text: str, expected: float) -> None:
    """Which one, is said only where there are several."""
    devices = bus(tmp_path, **{"28_0316a2799bff": text})

    assert {"air_temperature": (expected, "°C")} == Ds18b20Source(devices=devices).read(NOW)


def test_reads_the_probe_that_is_named(tmp_path: Path) -> None:
    """By the name of its folder; other devices on the bus are no probes."""
    devices = bus(tmp_path, **{"28_000000000001": WELL, PROBE: BELOW, "00_800000000000": ""})

    value = Ds18b20Source(PROBE, devices).read(NOW)["air_temperature"].value

    assert -10.125 == value
    assert ["28-000000000001", PROBE] == probes(devices)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (TURNED, "answered rubbish, its CRC is wrong: 72 01 4b .*4.7 kΩ"),
        (SHORTED, "answered rubbish, its CRC is wrong: 00 00"),
        (FRESH, "has not measured: it lost its supply"),
        ("", "answered rubbish: ''"),
    ],
)
def test_rubbish_is_no_temperature(tmp_path: Path, text: str, problem: str) -> None:
    """Neither what the CRC denies, nor 0 °C of a shorted wire, nor 85 °C of a fresh start."""
    with pytest.raises(SensorError, match=f"{PROBE}: {problem}"):
        Ds18b20Source(devices=bus(tmp_path, **{PROBE: text})).read(NOW)


def test_no_bus_is_said_with_the_line_that_turns_it_on(tmp_path: Path) -> None:
    """And an absent probe with those that are there."""
    with pytest.raises(SensorError, match=r"there is no 1-Wire bus; .*dtoverlay=w1-gpio"):
        Ds18b20Source(devices=tmp_path / "none").read(NOW)
    with pytest.raises(SensorError, match=r"no such probe answers \(found: none\)"):
        Ds18b20Source(devices=bus(tmp_path)).read(NOW)
    with pytest.raises(SensorError, match="28-000000000009/w1_slave: no such probe answers"):
        Ds18b20Source("28-000000000009", tmp_path).read(NOW)
