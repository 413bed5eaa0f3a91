"""Run uv with the arguments given; where there is no uv, fetch it from PyPI into `.uv/` first.

For a machine that has Python 3.11 and make and nothing else: `make demo` calls this. It needs
venv or pip beside Python, and changes nothing outside this folder.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent
HOME = ROOT / ".uv"
SCRIPTS = HOME / ("Scripts" if os.name == "nt" else "bin")
REQUIREMENT = "uv>=0.8,<1"


def main() -> int:
    """Become uv; where that cannot be, say what to do."""
    if sys.version_info < (3, 11):  # noqa: UP036, this file runs before anything has checked it
        version = sys.version.split()[0]
        sys.exit(
            f"Clima needs Python 3.11 or newer, and {sys.executable} is {version}.\n"
            "Name a newer one: make demo PYTHON=python3.12"
        )
    uv = shutil.which("uv") or shutil.which("uv", path=str(SCRIPTS)) or fetched()
    environment = {"UV_PYTHON_DOWNLOADS": "never", **os.environ}
    if not (ROOT / ".venv").exists():
        environment.setdefault("UV_PYTHON", sys.executable)
    command = [uv, *sys.argv[1:]]
    if os.name == "posix":
        os.execve(uv, command, environment)  # noqa: S606, signals then reach uv itself
    return subprocess.call(command, env=environment)


def fetched() -> str:
    """The path of a uv that has just been installed."""
    if find_spec("ensurepip"):
        commands = [
            [sys.executable, "-m", "venv", str(HOME)],
            [str(SCRIPTS / "python"), "-m", "pip", "install"],
        ]
    elif find_spec("pip"):
        commands = [[sys.executable, "-m", "pip", "install", "--target", str(HOME)]]
    else:
        sys.exit(
            "Clima's tools come by uv, and this Python has neither venv nor pip to fetch it with.\n"
            "Debian, Ubuntu, Raspberry Pi OS: sudo apt install python3-venv\n"
            "Fedora: sudo dnf install python3-pip"
        )
    print("Fetching uv into .uv/ …", file=sys.stderr)
    commands[-1] += ["--quiet", "--disable-pip-version-check", REQUIREMENT]
    for command in commands:
        if subprocess.call(command) != 0:
            shutil.rmtree(HOME, ignore_errors=True)
            sys.exit("uv could not be fetched from PyPI: the reason stands above.")
    return str(SCRIPTS / "uv")


if __name__ == "__main__":
    sys.exit(main())
