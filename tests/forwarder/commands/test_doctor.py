"""`clima doctor`, as an operator and as a script see it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from clima_core import keys
from clima_core.errors import EXIT_CONFIGURATION, EXIT_FINDING, EXIT_OK
from clima_forwarder.cli import main
from clima_forwarder.stations import Stations
from tests.forwarder.daemon import configuration, daemon

Said = pytest.CaptureFixture[str]


async def test_a_chain_that_works_is_exit_code_0(tmp_path: Path, capsys: Said) -> None:
    """A station that has not come yet is a warning: 0, unless a script wants it strict."""
    Stations(tmp_path / "stations").add("roof", keys.generate().public)
    async with daemon(tmp_path) as running:
        await running.logged("store_available")
        started = running.started
        port = urlsplit(started["http"]).port
        config = configuration(
            tmp_path,
            stations=f"""
                listen = "{started["listen"]}"
                directory = "{tmp_path / "stations"}"
                key_file = "{tmp_path / "forwarder.key"}"
            """,
            pairing=f'listen = "{started["pairing"]}"',
            feed=f'address = "{started["feed"]}"',
            http=f"port = {port}",
        )
        command = ["doctor", "--config", str(config)]
        assert EXIT_OK == await asyncio.to_thread(main, command)
        lines = capsys.readouterr().out.splitlines()
        assert [] == [line for line in lines if line.startswith(("BROKEN", "unchecked"))]
        (late,) = [line for line in lines if line.startswith("warning")]
        assert "stations: roof: let in" in late
        assert " -> on the Pi: clima-agent enroll" in late
        assert lines[-1].endswith("1 warning")
        assert EXIT_FINDING == await asyncio.to_thread(main, [*command, "--strict"])


def test_a_broken_chain_is_exit_code_1_and_json_for_scripts(tmp_path: Path, capsys: Said) -> None:
    """Each finding is one object: its check, its state, what is wrong and what to do."""
    config = configuration(tmp_path, http="port = 1")
    assert EXIT_FINDING == main(["doctor", "--json", "--config", str(config)])
    found = json.loads(capsys.readouterr().out)
    assert {"check", "state", "text", "mend"} == set().union(*found)
    assert all(each["mend"] for each in found if each["state"] == "broken")
    assert "links" in {each["check"] for each in found if each["state"] == "broken"}


def test_a_wrong_configuration_is_said_as_everywhere(tmp_path: Path, capsys: Said) -> None:
    """The first link of the chain."""
    config = tmp_path / "forwarder.toml"
    config.write_text("[output]\ntype = 'elastic'\n", "utf-8")
    assert EXIT_CONFIGURATION == main(["doctor", "--config", str(config)])
    assert 'did you mean "elasticsearch"?' in capsys.readouterr().err


def test_no_secret_is_shown(tmp_path: Path, capsys: Said) -> None:
    """Whatever is wrong with it."""
    config = configuration(
        tmp_path,
        output="""
            type = "logstash"
            url = "http://127.0.0.1:1"
            username = "clima"
            password = "hush-1"
            [output.elasticsearch]
            url = "http://127.0.0.1:1"
            api_key = "hush-2"
        """,
    )
    for form in ([], ["--json"]):
        assert EXIT_FINDING == main(["doctor", *form, "--config", str(config)])
    said = capsys.readouterr()
    assert "hush" not in said.out + said.err
