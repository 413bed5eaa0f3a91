"""The commands of the station, as a person calls them."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest

from clima_agent import board, config
from clima_agent.cli import COMMANDS, main
from clima_agent.clock import System
from clima_agent.commands.sample_config import text
from clima_agent.spool import Spool
from clima_core import keys

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


def test_check_says_whether_the_time_is_known(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the kernel says depends on the machine; a trusted clock is known anywhere."""
    main(["check", "--json", "-c", str(file)])
    (kernel,) = [each for each in lines(capsys) if each["message"].startswith("clock:")]
    file.write_text(file.read_text("utf-8") + '[clock]\ntrust = "system"\n', "utf-8")
    main(["check", "--json", "-c", str(file)])
    (system,) = [each for each in lines(capsys) if each["message"].startswith("clock:")]

    disciplined = System().disciplined()
    assert ("ok" if disciplined else "warning") == kernel["level"]
    assert disciplined or "timedatectl" in kernel["message"]
    assert ("ok", "clock: known, by the system") == (system["level"], system["message"])


def test_check_says_that_a_clock_was_never_set(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its battery is empty: nobody's NTP daemon has to do with that."""
    monkeypatch.setattr(System, "wall", lambda self: 3600.0)
    file.write_text(file.read_text("utf-8") + '[clock]\ntrust = "system"\n', "utf-8")
    main(["check", "--json", "-c", str(file)])
    (clock,) = [each for each in lines(capsys) if each["message"].startswith("clock:")]
    assert "warning" == clock["level"]
    assert "1970-01-01 01:00 UTC" in clock["message"]
    assert "battery is empty" in clock["message"]


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
    said = capsys.readouterr().err
    assert said.startswith("sensors: replay: ")
    assert 'w.csv: line 2: t: "warm" is not a number' in said


@pytest.mark.skipif(any(Path("/dev").glob("i2c-*")), reason="this machine has I2C")
def test_scan_without_i2c_says_how_to_turn_it_on(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 69, and the line for it."""
    assert 69 == main(["scan"])
    assert "raspi-config nonint do_i2c 0" in capsys.readouterr().err


@pytest.mark.skipif(any(Path("/dev").glob("i2c-*")), reason="this machine has I2C")
def test_no_sensor_configured_and_none_found(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`read` has nothing to show; `check` says the same, and what the agent does then."""
    file.write_text(file.read_text("utf-8").replace('[[sensors]]\ndriver = "simulated"\n', ""))

    problem = "sensors: none is configured, and none was found: there is no I2C bus"
    assert 69 == main(["read", "-c", str(file)])
    assert problem in capsys.readouterr().err
    assert 1 == main(["check", "-c", str(file)])
    said = capsys.readouterr().out
    assert f"problem  {problem}" in said
    assert "without one the agent sends what it has, and looks again" in said
    assert "warning  sensors: none; what is found is used" in said


def test_check_says_whose_the_card_is(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its own board's; none that can be told; another one's, with what to do."""
    serial = file.with_name("serial")
    file.write_text(
        file.read_text("utf-8").replace("key_file", 'serial_file = "serial"\nkey_file'), "utf-8"
    )
    said = []
    for number in ("10000000aaaa1111", "", "10000000bbbb2222"):
        serial.write_text(number, "ascii")
        here = board.place(config.load(file, {}))
        if here.other is None:
            board.bind(here)
            capsys.readouterr()
        main(["check", "--json", "-c", str(file)])
        said += [each for each in lines(capsys) if each["message"].startswith("board:")]

    own, none, other = said
    assert own["message"].endswith("key and spool are its own")
    assert "cannot be told" in none["message"]
    assert ["ok", "ok", "warning"] == [each["level"] for each in said]
    assert '"roof"; here it is "roof-' in other["message"]
    assert "`clima-agent enroll --moved`" in other["message"]


def test_status_of_a_damaged_spool_says_who_mends_it(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The agent that is started again."""
    spool = file.with_name("spool") / "spool.db"
    spool.parent.mkdir()
    Spool(spool, "roof").close()
    spool.write_bytes(spool.read_bytes()[:1024] + bytes(5 * 1024))

    assert 69 == main(["status", "-c", str(file)])
    assert "puts it aside when it starts, and saves what is left" in capsys.readouterr().err


def test_status_says_that_the_card_is_of_another_board(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Under which name this one goes, and how much waits under the other."""
    serial = file.with_name("serial")
    file.write_text(file.read_text("utf-8") + 'serial_file = "serial"\n', "utf-8")
    for number, readings in (("10000000aaaa1111", 3), ("10000000bbbb2222", 0)):
        serial.write_text(number, "ascii")
        here = board.place(config.load(file, {}))
        here.config.spool.directory.mkdir(parents=True)
        station = here.config.station.id
        with closing(Spool(here.config.spool.directory / "spool.db", station)) as spool:
            board.settle(here, spool)
            spool.append("w", [{"@timestamp": "2026-06-01T12:00:00.000Z"}] * readings)
    capsys.readouterr()
    assert 0 == main(["status", "--json", "-c", str(file)])
    found = json.loads(capsys.readouterr().out)
    assert 0 == main(["status", "-c", str(file)])
    said = capsys.readouterr().out

    assert (station, 0) == (found["station"], found["waiting"])
    assert ("roof", 3) == (found["identity"]["card_of"], found["identity"]["waiting_there"])
    assert 'card      is of "roof", on another board; holds 3 records of it' in said
    assert "`clima-agent enroll --moved`" in said
