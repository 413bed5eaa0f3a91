"""Memory of an agent in steady state, as on a Pi: only what `clima[agent]` brings can be imported.

A real agent with a simulated sensor, a forwarder to send to, some hundred readings at ten a
second and all other intervals shortened alike. Where more is installed (rich, by the extra
`station`) structlog imports it, so the same is measured with everything installed, too.
"""

from __future__ import annotations

import re
import sys
import time
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from pathlib import Path

from packaging.requirements import Requirement  # pytest brings it

from bench.figures import Figure
from bench.processes import Process
from bench.stage import Stage, agent_command, forwarder, unit_environ
from clima_core import keys

STATION = "school-1"


def measure(directory: Path, *, quick: bool) -> list[Figure]:
    """Resident memory at the end of the run."""
    seconds = 2 if quick else 40
    with forwarder(directory / "stage", heartbeat_s=0.15) as stage:
        stage.admit(STATION, keys.load_or_create(stage.directory / "agent.key"))
        lean = _resident(stage, seconds, absent())
        all_ = _resident(stage, seconds, set())
    return [
        Figure("agent RSS", lean, "MB", 40),
        Figure("agent RSS, everything installed", all_, "MB"),
    ]


def _resident(stage: Stage, seconds: float, blocked: set[str]) -> float:
    command = agent_command(
        stage.directory,
        station={"id": STATION, "elevation_m": 104},
        sampling={"interval_s": 0.1, "health_interval_s": 0.6},
        spool={"directory": "spool", "commit_window_s": 0.3},
        identity={"key_file": "agent.key"},
        forwarders=[{"address": f"tcp://127.0.0.1:{stage.port}", "public_key": stage.keys.public}],
        sensors=[{"driver": "simulated"}],
    )
    arguments = command[command.index("run") :]
    program = (
        f"import sys; sys.modules.update(dict.fromkeys({sorted(blocked)!r}))\n"
        "from clima_agent.cli import main; sys.exit(main())"
    )
    with Process(
        "agent", [sys.executable, "-c", program, *arguments], stage.directory, unit_environ()
    ) as agent:
        agent.wait_for("agent_started")
        time.sleep(seconds)
        return agent.memory()


def absent() -> set[str]:
    """The modules installed here that `clima[agent]` alone would not bring."""
    wanted = _closure("clima", "agent")
    return {
        module
        for module, owners in packages_distributions().items()
        if not wanted & {_normal(owner) for owner in owners} and module.isidentifier()
    }


def _closure(name: str, extra: str = "") -> set[str]:
    """The names of all distributions that one asks for, with those that they ask for."""
    found = {_normal(name)}
    try:
        requirements = [Requirement(text) for text in distribution(name).requires or []]
    except PackageNotFoundError:  # for another system
        return set()
    for each in requirements:
        if each.marker is None or each.marker.evaluate({"extra": extra}):
            found |= _closure(each.name)
    return found


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
