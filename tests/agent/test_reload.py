"""`clima-agent run` as a service: what it tells the service manager, and SIGHUP."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clima_core import keys

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGHUP on Windows")

SENSOR = '[[sensors]]\ndriver = "simulated"\n'
PATIENCE_S = 60


class Daemon:
    """The agent in a process of its own, with our socket for a service manager's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "agent.toml"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(folder / "notify"))
        self._socket.settimeout(PATIENCE_S)
        self.configure(SENSOR)
        self._log = (folder / "log").open("w+")
        environ = {
            "NOTIFY_SOCKET": str(folder / "notify"),
            "WATCHDOG_USEC": "3000000",
            "CREDENTIALS_DIRECTORY": str(folder / "credentials"),
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "clima_agent", "run", "-c", str(self.file)],
            stdin=subprocess.DEVNULL,
            stderr=self._log,
            env=environ,
        )

    def configure(self, tables: str, station: str = "roof") -> None:
        self.file.write_text(
            f'[station]\nid = "{station}"\n[sampling]\ninterval_s = 2\n'
            '[clock]\ntrust = "system"\n'
            f'[spool]\ndirectory = "spool"\n[identity]\nkey_file = "agent.key"\n{tables}',
            "utf-8",
        )

    def wait_for(self, beginning: str) -> str:
        """The next datagram that begins like this."""
        while not (said := self._socket.recv(4096).decode()).startswith(beginning):
            assert self.process.poll() is None
        return said

    def reload(self) -> None:
        """Until it says that it is done."""
        self.process.send_signal(signal.SIGHUP)
        self.wait_for("RELOADING=1\nMONOTONIC_USEC=")
        self.wait_for("READY=1")

    def logged(self, event: str) -> list[dict[str, Any]]:
        lines = map(json.loads, (self.folder / "log").read_text("utf-8").splitlines())
        return [line for line in lines if line["event"] == event]

    def wait_logged(self, event: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not self.logged(event):
            assert self.process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def close(self) -> int:
        self.process.terminate()
        code = self.process.wait(PATIENCE_S)
        self._socket.close()
        self._log.close()
        return code


def test_a_key_that_systemd_hands_over(tmp_path: Path) -> None:
    """Is used, though an access list makes it look readable by a group; none is made beside it."""
    handed = tmp_path / "credentials/agent.key"
    keys.load_or_create(handed)
    handed.chmod(0o440)
    daemon = Daemon(tmp_path)
    daemon.wait_for("READY=1")
    assert 0 == daemon.close()
    assert not (tmp_path / "agent.key").exists()


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    running = Daemon(tmp_path)
    running.wait_for("READY=1")
    yield running
    running.close()


def test_ready_alive_and_stopping(daemon: Daemon) -> None:
    """In this order; a status line between; and it ends with 0, having said that it stops."""
    assert (daemon.folder / "spool/spool.db").exists()
    assert daemon.wait_for("STATUS=").endswith("not connected to any forwarder")
    daemon.wait_for("WATCHDOG=1")
    daemon.wait_for("WATCHDOG=1")
    daemon.process.terminate()
    daemon.wait_for("STOPPING=1")
    assert 0 == daemon.close()


def test_a_good_configuration_takes_effect(daemon: Daemon) -> None:
    """The sensors of the new file are read, and the same process goes on."""
    daemon.configure('[[sensors]]\ndriver = "ds18b20"\n')
    daemon.reload()
    assert 1 == len(daemon.logged("configuration_reloaded"))
    daemon.wait_logged("sensor_failed")
    assert 0 == daemon.close()
    assert ["ds18b20"] == [line["sensor"] for line in daemon.logged("sensor_failed")]
    assert 1 == len(daemon.logged("agent_started"))


@pytest.mark.parametrize(
    ("tables", "reason"),
    [
        ('[[sensors]]\ndriver = "snow"\n', "sensors"),
        ("[checks.snow]\nmaximum = 1\n", "checks.snow: there is no quantity of that name"),
        ('[[sensors]]\ndriver = "replay"\npath = "gone.csv"\ncolumns = {}\n', "gone.csv"),
        (
            '[[forwarders]]\naddress = "tcp://127.0.0.1:1"\npublic_key_file = "gone.pub"\n',
            "gone.pub: no such key file",
        ),
    ],
)
def test_a_bad_configuration_is_said_and_changes_nothing(
    daemon: Daemon, tables: str, reason: str
) -> None:
    """The file by itself, or what it needs of the machine: the old one goes on."""
    daemon.configure(SENSOR + tables if "[[sensors]]" not in tables else tables)
    daemon.reload()
    (refused,) = daemon.logged("configuration_refused")
    assert reason in refused["reason"]
    assert [] == daemon.logged("configuration_reloaded")
    daemon.wait_for("WATCHDOG=1")
    assert 0 == daemon.close()
    assert [] == daemon.logged("sensor_failed")


def test_what_needs_a_restart_is_said(daemon: Daemon) -> None:
    """Another station is another identity; the rest of the file takes effect."""
    daemon.configure('[[sensors]]\ndriver = "ds18b20"\n', station="cellar")
    daemon.reload()
    (said,) = daemon.logged("restart_needed")
    assert ["station.id"] == said["options"]
    assert 1 == len(daemon.logged("configuration_reloaded"))


def test_what_may_not_be_meant_is_said(daemon: Daemon) -> None:
    """In the log too, where somebody sees it who has not called `check`."""
    said = [line["option"].split(":")[0] for line in daemon.logged("configuration_doubtful")]
    assert ["forwarders", "station.elevation_m"] == said
