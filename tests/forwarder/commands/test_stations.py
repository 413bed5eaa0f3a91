"""`clima stations`, as an operator types it."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest

from clima_core import keys
from clima_forwarder.cli import main
from clima_forwarder.pairing.requests import Pending, Requests


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The operator stands in an empty folder, and keeps the keys in `keys`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLIMA_FORWARDER_STATIONS__DIRECTORY", "keys")


def test_a_station_is_let_in_listed_and_put_out(capsys: pytest.CaptureFixture[str]) -> None:
    """The three commands of the README, with the key as `clima-agent enroll` prints it."""
    key = keys.generate().public
    assert 0 == main(["stations", "add", "jfk", keys.hexadecimal(key), "--name", "Kennedy"])
    assert f"jfk is let in; its key reads {keys.fingerprint(key)}\n" == capsys.readouterr().out

    assert 0 == main(["stations", "list"])
    columns = re.split(r"  +", capsys.readouterr().out.strip())
    assert ["jfk", keys.fingerprint(key), "Kennedy"] == [columns[0], columns[1], columns[3]]

    assert 0 == main(["stations", "revoke", "jfk"])
    assert "put out" in capsys.readouterr().out

    assert 0 == main(["stations", "list", "--json"])
    assert [] == json.loads(capsys.readouterr().out)


def test_the_list_for_scripts(capsys: pytest.CaptureFixture[str]) -> None:
    """One array, every field a text."""
    key = keys.generate().public
    main(["stations", "add", "jfk", keys.hexadecimal(key)])
    capsys.readouterr()
    main(["stations", "list", "--json"])
    (station,) = json.loads(capsys.readouterr().out)
    assert {"id", "name", "public_key", "fingerprint", "added"} == station.keys()
    assert ("jfk", key) == (station["id"], station["public_key"])


def test_a_key_file_is_as_good_as_a_key(tmp_path: Path) -> None:
    """The agent's public certificate may come on a stick."""
    keys.write_certificate(tmp_path / "from-the-pi", keys.generate().public, {})
    assert 0 == main(["stations", "add", "jfk", "from-the-pi"])


def test_problems_are_said_and_the_others_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """A broken file does not hide the stations that work; the exit code tells a script."""
    main(["stations", "add", "jfk", keys.hexadecimal(keys.generate().public)])
    Path("keys/lga.key").touch()
    capsys.readouterr()
    assert 78 == main(["stations", "list"])
    said = capsys.readouterr()
    assert said.out.startswith("jfk ")
    assert (
        f"{Path('keys/lga.key')}: is not a ZeroMQ certificate: it has no public-key\n" == said.err
    )


def test_nobody_asks(capsys: pytest.CaptureFixture[str]) -> None:
    """It is said what to do on the Pi; for scripts an empty array."""
    assert 0 == main(["stations", "pending"])
    assert "clima-agent enroll" in capsys.readouterr().out
    assert 0 == main(["stations", "pending", "--json"])
    assert [] == json.loads(capsys.readouterr().out)


def test_without_a_terminal_nobody_can_be_asked(capsys: pytest.CaptureFixture[str]) -> None:
    """`yes |` lets nobody in: who asks is listed, and how to go on."""
    asks = Pending("0" * 32, "roof", "", "ab" * 32, "10.0.0.7", time.time(), "482913")
    Requests(Path("keys")).add(asks)
    assert 1 == main(["stations", "add"])
    said = capsys.readouterr().out
    assert "roof     482 913  unknown  10.0.0.7" in said
    assert "ID and --digits" in said
    assert [asks] == Requests(Path("keys")).pending()


def test_a_key_and_digits_do_not_go_together() -> None:
    """One or the other; wrong usage is exit code 2."""
    with pytest.raises(SystemExit) as stopped:
        main(["stations", "add", "roof", "ab" * 32, "--digits", "482913"])
    assert 2 == stopped.value.code


def test_a_key_without_the_id_before_it(capsys: pytest.CaptureFixture[str]) -> None:
    """It is not taken for a station to wait for."""
    assert 78 == main(["stations", "add", "ab" * 32])
    assert "is no station id" in capsys.readouterr().err


def test_a_key_that_the_shell_took_apart(capsys: pytest.CaptureFixture[str]) -> None:
    """The message tells what was expected and how much of it arrived."""
    assert 78 == main(["stations", "add", "jfk", "rq:rM>}U?@Lns47E1%kR.o@n"])
    assert "expected 40 characters of Z85 or 64 hexadecimal digits" in capsys.readouterr().err
