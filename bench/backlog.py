"""A station that comes back with everything it could not send: agent, wire and forwarder at work.

The readings lie spooled on disk; a real agent sends them through a counting proxy to a real
forwarder, which stores them in the null sink and acknowledges them. Each process's CPU counts
from when both are up until the last acknowledgement is there: start-up is not in it. All of a
backlog may have been sent before, so the forwarder looks every batch up in the store first; that
is in the figure, as it is in life.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from bench import records
from bench.figures import Figure, MeasurementError, medians
from bench.processes import Process, until
from bench.proxy import Proxy
from bench.stage import agent_command, forwarder
from clima_agent.spool.file import SpoolFile
from clima_agent.spool.ledger import ledgers_in
from clima_core import keys

PATIENCE_S = 300.0


def measure(directory: Path, *, quick: bool) -> list[Figure]:
    """Both records; of the short one, which has the limits, the median of three runs."""
    count = 20_000 if quick else 500_000
    figures: list[Figure] = []
    for kind in records.KINDS:
        repeats = 3 if kind == "short" and not quick else 1
        folder = directory / kind
        folder.mkdir()
        records.fill(folder / "spool.db", kind, count)
        runs = [_run(folder, number, kind, count) for number in range(repeats)]
        figures += medians(runs)
    return figures


def _run(folder: Path, number: int, kind: records.Kind, count: int) -> list[Figure]:
    """One run with a copy of the filled spool."""
    with forwarder(folder / f"run-{number}") as stage:
        spool = stage.directory / "spool"
        spool.mkdir()
        shutil.copy(folder / "spool.db", spool)
        proxy = Proxy(stage.port)
        stage.admit(records.station(kind).id, keys.load_or_create(stage.directory / "agent.key"))
        command = agent_command(
            stage.directory,
            station={"id": records.station(kind).id},
            sampling={"interval_s": 86_400},
            sensors=[{"driver": "simulated"}],
            spool={"directory": "spool"},
            identity={"key_file": "agent.key"},
            forwarders=[
                {
                    "address": f"tcp://127.0.0.1:{proxy.port}",
                    "public_key": stage.keys.public,
                }
            ],
        )
        with Process("agent", command, stage.directory) as agent:
            agent.wait_for("agent_started")
            before = agent.cpu_s, stage.forwarder.cpu_s
            proxy.open()
            until(lambda: stage.counts().distinct >= count, "not delivered", agent, PATIENCE_S)
            agent_s, forwarder_s = agent.cpu_s - before[0], stage.forwarder.cpu_s - before[1]
            memory = stage.forwarder.memory("VmHWM"), agent.memory("VmHWM")
        stage.expect(count)
        _expect_acknowledged(spool / "spool.db", count)
        proxy.close()
    limited = kind == "short"
    per_million, of = 1e6 / count, f", {kind} record"
    cpu_limit, memory_limit = (4, 80) if limited else (None, None)
    return [
        Figure(f"forwarder{of}", forwarder_s * per_million, "CPU s/million", cpu_limit),
        Figure(f"forwarder peak RSS{of}", memory[0], "MB", memory_limit),
        Figure(f"agent backlog{of}", agent_s * per_million, "CPU s/million", cpu_limit),
        Figure(f"agent backlog peak RSS{of}", memory[1], "MB"),
        Figure(f"wire{of}", proxy.upward / count, "bytes/reading", 30 if limited else 35),
    ]


def _expect_acknowledged(path: Path, count: int) -> None:
    """The agent itself must know, after its end, that all of it is stored."""
    file = SpoolFile(path, read_only=True)
    acknowledged = sum(
        len(ledger.acknowledged) for lane, ledger in ledgers_in(file).items() if lane.stream == "w"
    )
    file.close()
    if acknowledged != count:
        raise MeasurementError(f"{acknowledged} of {count} readings are acknowledged")
