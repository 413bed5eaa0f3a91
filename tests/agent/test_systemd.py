"""A real systemd, in a container: the unit is installed, started, killed, reloaded and watched."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.compose import engine
from tests.conftest import missing

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
DOCKERFILE = Path(__file__).parent / "images/systemd.Dockerfile"
IMAGE = "clima-test/systemd"
CONFIG = "/etc/clima/agent.toml"
DROP_IN = "/etc/systemd/system/clima-agent.service.d/test.conf"
CGROUP = Path("/sys/fs/cgroup/systemd")  # where the machine has the first version of cgroups
PATIENCE_S = 90.0
WATCHDOG_S = 6
# Asks for the clock, and tries to set it, as the service may.
CLOCK = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
timex = ctypes.create_string_buffer(208)
print("asked", libc.adjtimex(timex) >= 0)
timex = ctypes.create_string_buffer(208)
timex[0] = 1
print("set", libc.adjtimex(timex) >= 0)
"""


class Machine:
    """A container whose first process is systemd."""

    def __init__(self) -> None:
        self.name = f"clima-test-systemd-{secrets.token_hex(4)}"
        isolation = ["--cap-add=SYS_ADMIN", "--tmpfs=/run", "--tmpfs=/tmp"]
        isolation += ["--security-opt=seccomp=unconfined", "--security-opt=apparmor=unconfined"]
        if CGROUP.exists():
            isolation += [f"--volume={CGROUP}:{CGROUP}"]
        else:
            isolation += ["--privileged", "--cgroupns=private"]
        docker("run", "--detach", "--name", self.name, "--env=container=docker", *isolation, IMAGE)

    def run(self, *command: str) -> str:
        """What a command says."""
        return docker("exec", self.name, *command)

    def write(self, path: str, text: str) -> None:
        folder = path.rpartition("/")[0]
        self.run("sh", "-c", f'mkdir -p {folder}; printf %s "$1" > {path}', "-", text)

    def copy(self, path: Path, to: str) -> None:
        docker("cp", "--quiet", str(path), f"{self.name}:{to}")

    def show(self, option: str) -> str:
        """What systemd has to say of the unit."""
        return self.run("systemctl", "show", "--value", f"--property={option}", "clima-agent")

    def until(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not holds():
            assert time.monotonic() < deadline, self.journal()
            time.sleep(0.2)

    def journal(self) -> str:
        return self.run("journalctl", "--no-pager", "--unit=clima-agent", "--output=cat")

    def configure(self, driver: str) -> None:
        self.write(
            CONFIG,
            '[station]\nid = "roof"\n[sampling]\ninterval_s = 0.5\nhealth_interval_s = 1\n'
            f'[clock]\ntrust = "system"\n[[sensors]]\ndriver = "{driver}"\n',
        )

    def start(self) -> str:
        """From the beginning, with what works; its process."""
        self.configure("simulated")
        self.run("systemctl", "reset-failed", "clima-agent")
        self.run("systemctl", "restart", "clima-agent")
        assert "active" == self.show("ActiveState")
        return self.show("MainPID")


def docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stdout + done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """Debian with systemd, and the agent as agent/install.sh puts it there."""
    uv = os.environ.get("UV") or shutil.which("uv") or str(ROOT / ".uv/bin/uv")
    found = engine.find()
    if isinstance(found, str):
        missing("docker", found)
        raise AssertionError(found)
    if not Path(uv).exists():
        pytest.skip("needs uv, as `make test` has it")
    base = [f"--build-arg=PYTHON_IMAGE={engine.PYTHON}"] if found.lab else []
    context = str(DOCKERFILE.parent)
    docker("build", "--quiet", "--tag", IMAGE, *base, "--file", str(DOCKERFILE), context)
    folder = tmp_path_factory.mktemp("dist")
    command = [uv, "build", "--quiet", "--wheel", "--out-dir", str(folder), str(ROOT)]
    subprocess.run(command, check=True)
    (wheel,) = folder.glob("*.whl")
    made = Machine()
    try:
        made.until(lambda: "running" in made.run("sh", "-c", "systemctl is-system-running || :"))
        made.copy(wheel, f"/root/{wheel.name}")
        made.copy(ROOT / "agent", "/root/agent")
        made.copy(engine.CA_BUNDLE, "/root/ca.pem")
        install = f"sh /root/agent/install.sh --from /root/{wheel.name}"
        made.run("env", "PIP_CERT=/root/ca.pem", *install.split())
        made.write(DROP_IN, f"[Service]\nWatchdogSec={WATCHDOG_S}\nRestartSec=1\n")
        made.run("systemctl", "daemon-reload")
        yield made
    finally:
        docker("rm", "--force", "--volumes", made.name)


def test_it_starts_and_says_how_it_is(machine: Machine) -> None:
    """As its own user, enabled for the next boot, within its memory."""
    pid = machine.start()
    machine.until(lambda: "readings taken" in machine.show("StatusText"))
    assert "enabled" == machine.run("systemctl", "is-enabled", "clima-agent")
    assert "clima-agent" == machine.run("ps", "-o", "user:20=", "-p", pid)
    state = machine.run("stat", "--format=%U %a", "/var/lib/clima-agent")
    assert "clima-agent 750" == state


def test_killed_it_comes_back(machine: Machine) -> None:
    """By itself."""
    pid = machine.start()
    machine.run("kill", "-KILL", pid)
    machine.until(lambda: machine.show("MainPID") not in (pid, "0"))
    machine.until(lambda: machine.show("ActiveState") == "active")


def test_a_reload_takes_effect_or_is_refused(machine: Machine) -> None:
    """The same process goes on either way."""
    pid = machine.start()
    machine.configure("ds18b20")
    machine.run("systemctl", "reload", "clima-agent")
    machine.until(lambda: "there is no 1-Wire bus" in machine.journal())
    machine.configure("snow")
    machine.run("systemctl", "reload", "clima-agent")
    machine.until(lambda: "configuration_refused" in machine.journal())
    assert (pid, "active") == (machine.show("MainPID"), machine.show("ActiveState"))


def test_the_journal_knows_what_matters(machine: Machine) -> None:
    """A person asks it for warnings, and gets these alone."""
    machine.start()
    life = "_SYSTEMD_INVOCATION_ID=" + machine.show("InvocationID")
    machine.configure("ds18b20")
    machine.run("systemctl", "reload", "clima-agent")
    asked = ("journalctl", "--no-pager", life, "--output=cat", "--priority=warning")
    machine.until(lambda: "sensor_failed" in machine.run(*asked))
    warnings = machine.run(*asked)
    assert "agent_started" in machine.journal()
    assert "agent_started" not in warnings
    assert "<4>" not in warnings


def test_a_wrong_configuration_is_not_tried_again(machine: Machine) -> None:
    """Exit code 78 stays, for a person to see."""
    machine.start()
    machine.configure("snow")
    machine.run("sh", "-c", "systemctl restart clima-agent || :")
    machine.until(lambda: machine.show("SubState") == "failed")
    assert "78" == machine.show("ExecMainStatus")


def test_the_watchdog_takes_down_what_hangs(machine: Machine) -> None:
    """And nothing that does not: three of its times pass first."""
    pid = machine.start()
    began = time.monotonic()
    machine.until(lambda: time.monotonic() - began > 3 * WATCHDOG_S)
    assert pid == machine.show("MainPID")
    machine.run("kill", "-STOP", pid)
    machine.until(lambda: machine.show("MainPID") not in (pid, "0"))
    machine.until(lambda: machine.show("ActiveState") == "active")
    assert "Fatal Python error: Aborted" in machine.journal()


def test_it_may_ask_for_the_clock_and_not_set_it(machine: Machine) -> None:
    """The system-call filter and the missing capabilities, as the kernel applies them."""
    machine.write("/opt/clock.py", CLOCK)
    machine.write(
        DROP_IN.replace("test.conf", "clock.conf"),
        "[Service]\nExecStartPre=/opt/clima-agent/current/bin/python /opt/clock.py\n",
    )
    machine.run("systemctl", "daemon-reload")
    machine.start()
    machine.until(lambda: "asked True\nset False" in machine.journal())


def test_taken_away_it_leaves_the_readings(machine: Machine) -> None:
    """The last test: the service is gone, the spool is not."""
    machine.start()
    machine.run("sh", "/root/agent/install.sh", "--uninstall")
    assert "not-found" == machine.show("LoadState")
    assert "spool.db" in machine.run("ls", "/var/lib/clima-agent/spool")
