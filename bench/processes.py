"""The processes that are measured: started as a user starts them, looked at from outside.

CPU is user + system of all threads, living and ended, from the process's own CPU clock (Linux);
memory is what /proc says.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from resource import struct_rusage
from types import TracebackType
from typing import Self

from bench.figures import MeasurementError

PATIENCE_S = 60.0
# As `python -m bench` finds this package in the working directory, so must they elsewhere.
_PATH = os.pathsep.join(
    filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")])
)


class Process:
    """A running command; its output goes to `<name>.log` in `directory`."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        directory: Path,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.log = directory / f"{name}.log"
        self.name = name
        self.usage: struct_rusage | None = None  # once it has ended
        with self.log.open("wb") as log:
            environment = {**os.environ, "PYTHONPATH": _PATH, **(environ or {})}
            environment.pop("PYTHONDONTWRITEBYTECODE", None)  # as installed: compiled already
            self._process = subprocess.Popen(
                command, cwd=directory, stdout=log, stderr=log, env=environment
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        if kind is not None and self.usage is None and self.running:
            self._process.kill()
        self.stop()

    @property
    def cpu_s(self) -> float:
        """User and system time so far: Linux's clock for the CPU time of another process."""
        return time.clock_gettime(~self._process.pid << 3 | 2)

    def memory(self, field: str = "VmRSS") -> float:
        """In MB (10^6 bytes): `VmRSS` now, `VmHWM` at most so far."""
        status = Path(f"/proc/{self._process.pid}/status").read_text("ascii")
        found = re.search(rf"{field}:\s+(\d+) kB", status)
        return int(found[1]) * 1024 / 1e6 if found else 0.0

    @property
    def running(self) -> bool:
        """Whether it has not ended yet; reaped only by `stop`, which takes its account."""
        state = Path(f"/proc/{self._process.pid}/stat").read_text("ascii").rpartition(")")[2]
        return state.split()[0] not in "ZX"

    def wait_for(self, event: str, patience_s: float = PATIENCE_S) -> None:
        """Wait until its log has `event`."""
        said = f"{self.name}: no {event}"
        until(lambda: event in self.log.read_text("utf-8"), said, self, patience_s)

    def stop(self) -> struct_rusage:
        """Ask it to end (unless it has), wait, and take its account."""
        if self.usage is None:
            if self.running:
                self._process.send_signal(signal.SIGTERM)
            _, status, self.usage = os.wait4(self._process.pid, 0)
            self._process.returncode = os.waitstatus_to_exitcode(status)
        return self.usage


def until(
    condition: Callable[[], bool],
    problem: str,
    process: Process | None = None,
    patience_s: float = PATIENCE_S,
) -> None:
    """Wait for a condition; MeasurementError when it takes too long or the process ends."""
    deadline = time.monotonic() + patience_s
    while not condition():
        ended = process is not None and not process.running
        if ended or time.monotonic() > deadline:
            log = process.log.read_text("utf-8")[-2000:] if process else ""
            raise MeasurementError(f"{problem}\n{log}")
        time.sleep(0.05)


def python(module: str, *arguments: str) -> list[str]:
    """The command that runs a module with this interpreter."""
    return [sys.executable, "-m", module, *arguments]
