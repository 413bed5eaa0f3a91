"""The commands of the station, as a person calls them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clima_agent.cli import COMMANDS, main
from clima_agent.commands.sample_config import text
from clima_agent.commands.scan import Found, configuration_lines, scan
from clima_core import keys
from tests.agent.fake_bus import Bme280Chip, Chip, FakeBus

SIMULATED = '[station]\nid = "roof"\n[[sensors]]\ndriver = "simulated"\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A configuration whose spool and key are in the test's own folder."""
    path = tmp_path / "agent.toml"
    path.write_text(
        SIMULATED + '[spool]\ndirectory = "spool"\n[identity]\nkey_file = "agent.key"\n', "utf-8"
    )
    return path


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, str]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Also without a configuration."""
    with pytest.raises(SystemExit) as done:
        main([command, "--help"])

    assert 0 == done.value.code
    assert "usage: clima-agent" in capsys.readouterr().out


def test_sample_config_prints_the_example(capsys: pytest.CaptureFixture[str]) -> None:
    """To be sent into a file."""
    assert 0 == main(["sample-config"])
    assert text() == capsys.readouterr().out


def test_check_says_what_is_right_and_what_is_missing(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A machine that does not go with a right file is exit code 1, with the mend."""
    assert 1 == main(["check", "--json", "-c", str(file)])
    before = lines(capsys)
    keys.load_or_create(file.with_name("agent.key"))
    assert 0 == main(["check", "-c", str(file)])
    after = capsys.readouterr().out

    assert ["syntax", "topology", "environment"] == list(dict.fromkeys(f["layer"] for f in before))
    (problem,) = [each["message"] for each in before if each["level"] == "problem"]
    assert problem.endswith("agent.key: missing; `clima-agent enroll` makes it")
    assert "sensors: simulated: 9 values" in after
    assert "problem" not in after


def test_check_looks_at_forwarder_sensor_and_spool(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each wrong thing is one finding of its own."""
    file.with_name("spool").write_text("a file", "ascii")
    key = keys.load_or_create(file.with_name("agent.key")).public
    file.write_text(
        file.read_text("utf-8").replace('"simulated"', '"bme280"\nbus = 99')
        + f'[[forwarders]]\naddress = "tcp://127.0.0.1:1"\npublic_key = "{key}"\n'
        + '[[forwarders]]\naddress = "tcp://127.0.0.1:2"\npublic_key_file = "gone"\n',
        "utf-8",
    )

    assert 1 == main(["check", "--json", "-c", str(file)])
    found = [each["message"] for each in lines(capsys) if each["level"] == "problem"]

    assert 4 == len(found)
    assert "spool is not a directory" in found[0]
    assert "/dev/i2c-99: there is no such bus" in found[1]
    assert "forwarders: tcp://127.0.0.1:1: Connection refused" == found[2]
    assert "gone: no such key file" in found[3]


def test_check_of_a_wrong_file_is_exit_78(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Syntax first; topology only once that is right; the machine only after both."""
    file.write_text("[station]\nidd = 1\n", "utf-8")
    assert 78 == main(["check", "-c", str(file)])
    assert "syntax       problem" in capsys.readouterr().out
    file.write_text(SIMULATED + "[checks.snow]\nmaximum = 1\n", "utf-8")
    assert 78 == main(["check", "-c", str(file)])
    said = capsys.readouterr().out
    assert "topology     problem  checks.snow: there is no quantity of that name" in said
    assert "environment" not in said


def test_check_can_leave_the_machine_out(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For a file that is made for another machine."""
    assert 0 == main(["check", "--no-environment", "-c", str(file)])
    assert "environment" not in capsys.readouterr().out


def test_read_shows_raw_and_corrected(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Once, as a table or as JSON in the record's own names."""
    file.write_text(
        file.read_text("utf-8") + "[calibration.simulated.air_temperature]\noffset = 10\n", "utf-8"
    )
    assert 0 == main(["read", "--json", "-c", str(file)])
    said = json.loads(capsys.readouterr().out)
    assert 0 == main(["read", "--once", "-c", str(file)])
    table = capsys.readouterr().out

    raw = said["sensor"]["simulated"]["air_temperature"]
    assert pytest.approx(raw + 10) == said["weather"]["air_temperature"]
    assert "air_temperature" in table
    assert "°C      simulated" in table


def test_read_says_when_a_sensor_fails(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1; the value is a dash, its flag beside it, the reason on standard error."""
    file.write_text(file.read_text("utf-8").replace('"simulated"', '"bme280"\nbus = 99'), "utf-8")

    assert 1 == main(["read", "-c", str(file)])
    said = capsys.readouterr()
    assert "failed" in said.out
    assert "no such bus" in said.err


def test_read_of_a_recording_is_its_first_line(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """There is no "now" in a file."""
    (tmp_path / "w.csv").write_text("time,t\n2013-01-01T06:00:00Z,4\n", "utf-8")
    replay = '"replay"\npath = "w.csv"\ncolumns.t = { quantity = "air_temperature" }\n'
    file.write_text(file.read_text("utf-8").replace('"simulated"', replay), "utf-8")

    assert 0 == main(["read", "--json", "-c", str(file)])
    said = json.loads(capsys.readouterr().out)
    assert "2013-01-01T06:00:00.000Z" == said["@timestamp"]
    assert {"air_temperature": 4.0} == said["weather"]


def test_read_watch_goes_on_to_the_end(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a recording, at its speed."""
    (tmp_path / "w.csv").write_text("time,t\n2013-01-01,4\n2013-01-02,5\n", "utf-8")
    replay = '"replay"\npath = "w.csv"\ncolumns.t = { quantity = "air_temperature" }\n'
    file.write_text(
        file.read_text("utf-8").replace('"simulated"', replay) + '[sampling]\nspeed = "max"\n',
        "utf-8",
    )

    assert 0 == main(["read", "--watch", "--json", "-c", str(file)])
    assert 2 == len(lines(capsys))


def test_a_bad_recording_is_exit_78(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With file, line and field, before anything is read."""
    (tmp_path / "w.csv").write_text("time,t\n2013-01-01T06:00:00Z,warm\n", "utf-8")
    replay = '"replay"\npath = "w.csv"\ncolumns.t = { quantity = "air_temperature" }\n'
    file.write_text(file.read_text("utf-8").replace('"simulated"', replay), "utf-8")

    assert 78 == main(["read", "-c", str(file)])
    assert 'w.csv: line 2: t: "warm" is not a number' in capsys.readouterr().err


def test_scan_tells_chips_apart() -> None:
    """By their id; what Clima does not know is still shown."""
    buses = {
        1: FakeBus({0x23: Chip(), 0x76: Bme280Chip(), 0x77: Bme280Chip(chip_id=0x58)}),
        3: FakeBus({0x76: Chip({0xD0: 0x55})}),
    }

    found = list(scan(buses, buses.__getitem__))

    assert [
        Found(1, 0x23, None, None),
        Found(1, 0x76, "BME280", "bme280"),
        Found(1, 0x77, "BMP280", "bme280"),
        Found(3, 0x76, None, None),
    ] == found
    assert all(bus.closed for bus in buses.values())


def test_scan_prints_lines_that_load(tmp_path: Path) -> None:
    """A second chip of a kind gets a name of its own."""
    found = [Found(1, 0x76, "BME280", "bme280"), Found(1, 0x77, "BME280", "bme280")]
    file = tmp_path / "agent.toml"
    file.write_text('[station]\nid = "roof"\n' + configuration_lines(found), "utf-8")

    assert 0 == main(["check", "--no-environment", "-c", str(file)])
    assert 'name = "bme280-2"\nbus = 1\naddress = 0x77\n' in configuration_lines(found)


@pytest.mark.skipif(any(Path("/dev").glob("i2c-*")), reason="this machine has I2C")
def test_scan_without_i2c_says_how_to_turn_it_on(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 69, and the line for it."""
    assert 69 == main(["scan"])
    assert "raspi-config nonint do_i2c 0" in capsys.readouterr().err
