"""Starts the parts of the demo, each a process of its own, and sees them through."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clima_core.errors import UnavailableError
from clima_forwarder.demo.stage import Stage

READY_S = 30.0
STOP_S = 15.0

Process = subprocess.Popen[bytes]


@contextmanager
def forwarder(stage: Stage) -> Iterator[None]:
    """A forwarder that is ready; stopped at the end, with all it knows written down."""
    with _process(stage, "forwarder", "clima_forwarder", "forward", stage.forwarder) as process:
        deadline = time.monotonic() + READY_S
        while (problem := _problem(stage.health_url)) is not None:
            if process.poll() is not None or time.monotonic() > deadline:
                raise UnavailableError(f"the forwarder is not ready: {problem}\n{_tail(stage)}")
            time.sleep(0.1)
        yield


@contextmanager
def agents(stage: Stage) -> Iterator[dict[str, Process]]:
    """Every station's agent, by id; stopped at the end, where they have not ended by themselves."""
    running: dict[str, Process] = {}
    contexts = []
    try:
        for part in stage.parts:
            context = _process(stage, part.id, "clima_agent", "run", part.config)
            contexts.append(context)
            running[part.id] = context.__enter__()
        yield running
    finally:
        for context in contexts:
            context.__exit__(None, None, None)


def check(stage: Stage, running: dict[str, Process]) -> bool:
    """Whether any agent still runs; `UnavailableError` when one has failed."""
    for station, process in running.items():
        if process.poll():
            raise UnavailableError(f"the agent of {station} failed:\n{_tail(stage, station)}")
    return any(process.poll() is None for process in running.values())


@contextmanager
def _process(stage: Stage, name: str, module: str, command: str, config: Path) -> Iterator[Process]:
    with (stage.folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", module, command, "--config", str(config)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _problem(url: str) -> str | None:
    """Why the forwarder is not ready; None when it is."""
    try:
        urllib.request.urlopen(f"{url}/readyz", timeout=2)  # noqa: S310 - our own, on loopback
    except urllib.error.HTTPError as error:
        problems = json.load(error)["problems"]
        return "; ".join(f"{part}: {reason}" for part, reason in problems.items())
    except OSError as error:
        return str(error)
    return None


def _tail(stage: Stage, name: str = "forwarder", lines: int = 5) -> str:
    log = stage.folder / f"{name}.log"
    return "\n".join(log.read_text("utf-8", "replace").splitlines()[-lines:])
