"""A 64-bit Raspberry Pi OS: the agent's locked dependencies come as wheels, and it runs.

Where qemu's user emulation is there (Debian: qemu-user-static), the agent is started by the Python
of Debian's arm64, with the wheels of that architecture, and takes readings into a spool.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from clima_agent.spool import Spool
from tests.conftest import missing

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
PURE = "psychrolib"  # comes as source alone, and is Python alone
PLATFORM = "aarch64-manylinux_2_28"
QEMU = "qemu-aarch64-static"
SUITE, PYTHON = "bookworm", "3.11"  # the older of the two that are supported
PACKAGES = "python3,libstdc++6,ca-certificates,tzdata"
CONFIG = """
[station]
id = "roof"
[sampling]
speed = "max"
[clock]
trust = "system"
[spool]
directory = "spool"
[identity]
key_file = "agent.key"
[[sensors]]
driver = "simulated"
start = 2026-01-01T00:00:00Z
end = 2026-01-01T01:00:00Z
"""


@pytest.fixture(scope="module")
def uv() -> str:
    found = os.environ.get("UV") or shutil.which("uv") or str(ROOT / ".uv/bin/uv")
    if not Path(found).exists():
        pytest.skip("needs uv, as `make test` has it")
    return found


def run(*command: str | Path, cwd: Path = ROOT, **environ: str) -> str:
    """What a command says; it must end well."""
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environ},
    )
    assert 0 == done.returncode, done.stdout + done.stderr
    return done.stdout


def install(uv: str, locked: Path, target: Path, python: str) -> None:
    """The agent's locked dependencies as a Pi gets them: wheels of its own, built by nobody."""
    run(uv, "export", "--quiet", "--locked", "--extra=agent", "--no-dev", "--no-emit-project",
        "--output-file", locked)  # fmt: skip
    run(uv, "pip", "install", "--quiet", "--require-hashes", "--requirements", locked,
        "--python-platform", PLATFORM, "--python-version", python,
        "--only-binary=:all:", f"--no-binary={PURE}", "--target", target)  # fmt: skip


@pytest.mark.parametrize("python", ["3.11", "3.13"])
def test_all_dependencies_come_as_wheels(uv: str, tmp_path: Path, python: str) -> None:
    """For the Python of either Raspberry Pi OS: nothing is compiled on a Pi."""
    install(uv, tmp_path / "locked.txt", tmp_path / "packages", python)
    compiled = {
        path.name.split(".")[1] for path in tmp_path.rglob("*.so") if "cpython" in path.name
    }
    assert {f"cpython-{python.replace('.', '')}-aarch64-linux-gnu"} == compiled


@pytest.fixture(scope="module")
def arm64(uv: str, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command that starts the agent."""
    for tool in (QEMU, "mmdebstrap"):
        if shutil.which(tool) is None:
            missing("qemu", f"no {tool}: Debian has it in qemu-user-static or mmdebstrap")
    folder = tmp_path_factory.mktemp("arm64")
    root, packages = folder / "root", folder / "packages"
    run("mmdebstrap", "--quiet", "--architectures=arm64", "--variant=extract",
        f"--include={PACKAGES}", SUITE, root, *mirror())  # fmt: skip
    install(uv, folder / "locked.txt", packages, PYTHON)
    run(uv, "build", "--quiet", "--wheel", "--out-dir", folder / "dist", ROOT)
    (wheel,) = (folder / "dist").glob("*.whl")
    run(uv, "pip", "install", "--quiet", "--no-deps", "--target", packages, wheel)
    python = root / f"usr/bin/python{PYTHON}"
    command = [QEMU, "-L", str(root), "-E", f"PYTHONPATH={packages}", str(python), "-P"]
    return [*command, "-m", "clima_agent"]


def mirror() -> list[str]:
    """Where apt has its packages from on this machine; the one that mmdebstrap knows otherwise."""
    if shutil.which("apt-get") is None:
        return []
    options = ["--format", "$(REPO_URI)", "Created-By: Packages", "Component: main"]
    found = run("apt-get", "indextargets", *options, f"Codename: {SUITE}").split()
    return found[:1]


def test_it_runs_on_arm64(arm64: list[str], tmp_path: Path) -> None:
    """Version, check, an hour's readings into a spool that a machine of another kind can read."""
    config = tmp_path / "agent.toml"
    config.write_text(CONFIG)
    assert "clima-agent" in run(*arm64, "--version", cwd=tmp_path)
    run(*arm64, "check", "--no-environment", "--config", config, cwd=tmp_path)
    run(*arm64, "run", "--config", config, cwd=tmp_path)
    spool = Spool(tmp_path / "spool/spool.db", "roof")
    bodies = spool.recent("w", 1000)
    spool.close()
    assert 361 == len(bodies)  # from the first to the last moment
    assert "2026-01-01T00:00:00.000Z" == json.loads(bodies[0])["@timestamp"]
