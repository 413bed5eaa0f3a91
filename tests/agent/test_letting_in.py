"""`clima-agent enroll` and `status`, with a real forwarder's router beside them."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from clima_agent.cli import main
from clima_agent.lock import exclusive
from clima_agent.spool import Spool
from clima_core import __version__, keys
from clima_core.identity import Lane
from clima_core.ranges import Ranges
from tests.forwarder.running import Running, forwarder

STATION = (
    '[station]\nid = "roof"\n[spool]\ndirectory = "spool"\n[identity]\nkey_file = "agent.key"\n'
)


def configured(folder: Path, running: Running | None = None, key: str = "") -> str:
    """A configuration file, with the forwarder in it if there is one."""
    path = folder / "agent.toml"
    text = STATION
    if running:
        public = key or running.server_key
        text += f"[[forwarders]]\naddress = \"{running.router.address}\"\npublic_key = '{public}'\n"
    path.write_text(text, "utf-8")
    return str(path)


async def enrolled(config: str) -> int:
    """The exit code, while this loop goes on serving."""
    return await asyncio.to_thread(main, ["enroll", "--json", "-c", config])


def printed(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """The object that the command printed; the router of this process may have logged before."""
    found: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return found


async def test_enroll_says_whether_the_station_is_let_in(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """First it is not, and the command with the key that it prints lets it in."""
    async with forwarder(tmp_path / "stations") as running:
        config = configured(tmp_path, running)
        assert 1 == await enrolled(config)
        found = printed(capsys)
        (answer,) = found["forwarders"].values()
        assert "does not know this station's key" in answer

        running.stations.add("roof", keys.public_key(found["public_key"], "enroll"))
        assert 0 == await enrolled(config)
        assert {running.router.address: "welcome"} == printed(capsys)["forwarders"]
    assert found["fingerprint"] == keys.fingerprint(keys.load(tmp_path / "agent.key").public)


async def test_enroll_finds_out_a_wrong_forwarder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that does not prove the configured key; it is told nothing."""
    async with forwarder(tmp_path / "stations") as running:
        config = configured(tmp_path, running, key=keys.generate().public)
        assert 1 == await enrolled(config)
        (answer,) = printed(capsys)["forwarders"].values()
        assert "welcome" != answer
        assert 0 == len(running.router.sessions)


@pytest.mark.usefixtures("alone_on_loopback")
def test_enroll_where_no_forwarder_is_found_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The key is made all the same; it looks on the interface that it is told to."""
    assert 69 == main(["enroll", "--interface", "127.0.0.1", "-c", configured(tmp_path)])
    assert "clima-agent enroll ADDRESS" in capsys.readouterr().err
    assert keys.load(tmp_path / "agent.key")


def test_status_counts_what_the_spool_holds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """While an agent runs, and after."""
    config = configured(tmp_path)
    assert 69 == main(["status", "-c", config])
    (tmp_path / "spool").mkdir()
    with exclusive(tmp_path / "spool" / "spool.lock"):
        spool = Spool(tmp_path / "spool" / "spool.db", "roof")
        spool.append("w", [{"@timestamp": "2026-06-01T12:00:00.000Z"}] * 10)
        spool.sync()
        spool.acknowledge(Lane(spool.journal, "w"), Ranges([(1, 4)]))
        spool.sync()
        capsys.readouterr()
        assert 0 == main(["status", "--json", "-c", config])
        running = printed(capsys)
        spool.close()
    assert 0 == main(["status", "-c", config])
    stopped = capsys.readouterr().out

    assert (True, 6) == (running["running"], running["waiting"])
    (weather,) = [lane for lane in running["lanes"] if lane["stream"] == "w"]
    assert (10, 4, 6) == (weather["last"], weather["acknowledged"], weather["waiting"])
    assert "not running" in stopped
    assert "6 records waiting" in stopped


def test_status_shows_the_last_reading(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each value, what the sensors said, the flags; and how the station is."""
    config = configured(tmp_path)
    reading = {
        "@timestamp": "2026-06-01T12:00:00.000Z",
        "weather": {"air_temperature": 21.5, "air_pressure": None},
        "sensor": {"bme280": {"air_temperature": 21.9, "air_pressure": None}},
        "quality": {"air_pressure": ["failed"]},
    }
    (tmp_path / "spool").mkdir()
    spool = Spool(tmp_path / "spool" / "spool.db", "roof")
    spool.append("w", [reading | {"@timestamp": "2026-06-01T11:59:50.000Z"}, dict(reading)])
    spool.close()
    assert 0 == main(["status", "--json", "-c", config])
    found = printed(capsys)
    assert 0 == main(["status", "-c", config])
    said = capsys.readouterr().out

    assert reading == found["last"]
    assert found["board"]["disk_free"] > 0
    assert __version__ == found["version"]
    assert found["oldest_waiting"] is not None
    assert re.search(r"last reading +2026-06-01 12:00:00 UTC", said)
    assert re.search(r"air_temperature +21.5 °C +bme280 21.9", said)
    assert re.search(r"air_pressure +– +failed", said)
