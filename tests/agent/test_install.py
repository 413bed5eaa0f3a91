"""agent/install.sh, with a folder for the machine's root."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import missing

SCRIPT = Path(__file__).parents[2] / "agent/install.sh"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it is for Linux")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """What a Raspberry Pi's card has that the script looks at."""
    if shutil.which("systemd-sysusers") is None:
        missing("systemd", "needs systemd-sysusers, of Debian's package systemd")
    folder = tmp_path / "card"
    (folder / "etc").mkdir(parents=True)
    boot = folder / "boot/firmware/config.txt"
    boot.parent.mkdir(parents=True)
    boot.write_text("arm_boost=1\n[pi4]\nfan=1\n", "ascii")
    return folder


def install(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["sh", str(SCRIPT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def contents(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def test_shellcheck_has_nothing_to_say() -> None:
    """The script runs as root."""
    tool = Path(sys.executable).with_name("shellcheck")
    if not tool.exists():
        pytest.skip("needs shellcheck, of the group dev")
    done = subprocess.run([tool, str(SCRIPT)], capture_output=True, text=True, check=False)
    assert (0, "") == (done.returncode, done.stdout)


def test_a_wrong_option_is_exit_2() -> None:
    """With the right ones."""
    done = install("--remove")
    assert (2, True) == (done.returncode, "--uninstall" in done.stderr)


def test_what_is_to_be_installed_must_be_there() -> None:
    """Said at once, not by pip, which would take it for the name of a package."""
    done = install("--dry-run", "--from", "/nowhere/clima.whl")
    assert (2, "install.sh: --from: there is no /nowhere/clima.whl\n") == (
        done.returncode,
        done.stderr,
    )


@pytest.mark.parametrize("action", [(), ("--uninstall",)])
def test_a_dry_run_says_all_and_does_nothing(root: Path, action: tuple[str, ...]) -> None:
    """Each step with its reason, and each command."""
    before = contents(root)
    done = install("--dry-run", "--root", str(root), *action)
    assert 0 == done.returncode, done.stderr
    assert "== The service" in done.stdout
    assert f"{root}/etc/systemd/system/clima-agent.service" in done.stdout
    assert before == contents(root)


@pytest.mark.parametrize("action", [(), ("--uninstall",)])
def test_only_root_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, action: tuple[str, ...]
) -> None:
    """Said before anything is done. Everything that could do something is a stand-in here."""
    for name in ("rm", "systemctl", "systemd-sysusers", "install", "mkdir", "mv", "ln", "python3"):
        (tmp_path / name).write_text("#!/bin/sh\n", "ascii")
    (tmp_path / "id").write_text("#!/bin/sh\necho 1000\n", "ascii")
    for stand_in in tmp_path.iterdir():
        stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    done = install(*action)

    assert (1, "") == (done.returncode, done.stdout)
    again = " ".join(("sudo sh", str(SCRIPT), *action))
    assert f"install.sh: only root may do this; {again}\n" == done.stderr


@pytest.mark.parametrize("same", [True, False])
def test_a_card_for_another_processor_is_refused(root: Path, same: bool) -> None:
    """Nothing that is built here would run there."""
    (root / "bin").mkdir()
    shell = bytearray(Path("/bin/sh").read_bytes()[:64])
    if not same:
        shell[18] ^= 1
    (root / "bin/sh").write_bytes(shell)

    done = install("--dry-run", "--root", str(root))

    assert same == (done.returncode == 0)
    assert same != (f"{root} is for another processor than this machine's" in done.stderr)


@pytest.mark.parametrize("key", [True, False])
def test_the_credential_is_the_units_while_there_is_one(root: Path, key: bool) -> None:
    """Where the key was taken away again, so is what would look for it."""
    settings = root / "etc/systemd/system/clima-agent.service.d/10-credential.conf"
    settings.parent.mkdir(parents=True)
    settings.touch()
    if key:
        (root / "etc/clima").mkdir()
        (root / "etc/clima/agent.key").touch()

    done = install("--dry-run", "--root", str(root))

    assert key == (f"credential.conf {settings}\n" in done.stdout)
    assert key != (f"$ rm -f {settings}\n" in done.stdout)


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("git+https://example.org/clima.git", "clima[agent] @ git+https://example.org/clima.git"),
        ("https://example.org/clima-1.whl", "clima[agent] @ https://example.org/clima-1.whl"),
        ("clima==1.2.3", "clima[agent]==1.2.3"),
        ("clima", "clima[agent]"),
        (str(SCRIPT.parent.parent), f"{SCRIPT.parent.parent}[agent]"),
    ],
)
def test_what_is_installed_is_said_as_pip_takes_it(root: Path, given: str, taken: str) -> None:
    """With what the agent needs, which is an extra."""
    done = install("--dry-run", "--root", str(root), "--from", given)
    assert f"--disable-pip-version-check {taken}\n" in done.stdout


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_installed_again_and_taken_away(root: Path) -> None:
    """Twice is once: what a person wrote stays, one line turns I2C on, the last version is kept."""
    first = install("--root", str(root))
    if "could not be installed" in first.stderr and "No matching distribution" in first.stderr:
        missing("index", "needs a package index")
    assert 0 == first.returncode, first.stderr
    current = root / "opt/clima-agent/current"
    oldest = current.resolve()
    environ = {"PATH": os.environ["PATH"], "CLIMA_AGENT_CONFIG": str(root / "etc/clima/agent.toml")}
    program = current / "bin/clima-agent"
    version = f"/opt/clima-agent/{current.readlink()}"
    assert program.read_text("utf-8").startswith(f"#!{version}/bin/python")
    assert [] == [
        path.name
        for path in (*current.glob("bin/*"), current / "pyvenv.cfg")
        if not path.is_symlink() and str(root) in path.read_text("utf-8")
    ]
    command = [str(current / "bin/python3"), str(program), "check", "--no-environment"]
    checked = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert 0 == checked.returncode, checked.stdout
    assert "clima-agent" in (root / "etc/group").read_text("ascii").split("i2c:")[1]
    boot = (root / "boot/firmware/config.txt").read_text("ascii")
    assert boot.endswith("[all]\ndtparam=i2c_arm=on\n")
    unit = root / "etc/systemd/system/clima-agent.service"
    assert (SCRIPT.parent / "systemd/clima-agent.service").read_bytes() == unit.read_bytes()

    (root / "etc/clima/agent.toml").write_text('[station]\nid = "mine"\n', "ascii")
    readings = root / "var/lib/clima-agent/spool/spool.db"
    readings.parent.mkdir(parents=True)
    readings.touch()
    again = install("--root", str(root))
    assert 0 == again.returncode, again.stderr
    assert '[station]\nid = "mine"\n' == (root / "etc/clima/agent.toml").read_text("ascii")
    assert boot == (root / "boot/firmware/config.txt").read_text("ascii")
    assert current.resolve() != oldest
    assert {oldest, current.resolve()} == set(current.parent.glob("2*"))

    gone = install("--uninstall", "--root", str(root))
    assert 0 == gone.returncode, gone.stderr
    left = {name for name in contents(root) if "clima" in name}
    assert {
        "etc/clima",
        "etc/clima/agent.toml",
        "etc/systemd/system/clima-agent.service.d",
        "var/lib/clima-agent",
        "var/lib/clima-agent/spool",
        "var/lib/clima-agent/spool/spool.db",
    } >= left
    assert readings.exists()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_version_that_cannot_be_installed_changes_nothing(root: Path, tmp_path: Path) -> None:
    """The one that runs goes on."""
    broken = tmp_path / "clima-9.9.9-py3-none-any.whl"
    broken.write_bytes(b"half a wheel")
    done = install("--root", str(root), "--from", str(broken))
    assert 1 == done.returncode
    assert "what was there before is as it was" in done.stderr
    assert [] == list((root / "opt/clima-agent").iterdir())
