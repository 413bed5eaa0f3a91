"""Bytes that a station writes to its card: `write_bytes` of the process's account.

A real agent plays a pHAT station's recording, a hundred times as fast or more (see reading.py), and
has every reading acknowledged. Time can be pressed together because what is written is settled by
transactions and syncs: each window ends with an fdatasync, long before the kernel would write a
dirty page back by itself. The spool is full to its limit of acknowledged records when it begins,
so that old ones are deleted at the pace at which new ones come, as in a station's second week.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from bench import records
from bench.figures import Figure
from bench.processes import Process
from bench.reading import compressed, readings_in
from bench.stage import agent_command, forwarder, replayed
from clima_agent.spool import Spool
from clima_core import keys
from clima_core.identity import Lane
from clima_core.ranges import Ranges

STATION = "school-1"
KEEP_BYTES = 1_000_000
PATIENCE_S = 180.0
DAY_S = 86_400
BLOCK = 512  # in which a process's account counts


def measure(directory: Path, *, quick: bool) -> list[Figure]:
    """At the default of a reading per 10 s, and at one per minute."""
    count = 60 if quick else 600
    often = _written(directory / "often", 10, 100, count)
    seldom = _written(directory / "seldom", 60, 600, count)
    return [
        Figure("written to disk per reading", often / 1e3, "kB", 6),
        Figure("written to disk per day, a reading per 10 s", often * DAY_S / 10 / 1e6, "MB"),
        Figure("written to disk per day, a reading per minute", seldom * DAY_S / 60 / 1e6, "MB"),
    ]


def _written(directory: Path, interval_s: float, speed: float, count: int) -> float:
    """Bytes per reading, from the agent's start to its end; all is `speed` times as fast."""
    with forwarder(directory, heartbeat_s=1.0) as stage:  # nothing of it reaches the card
        stage.admit(STATION, keys.load_or_create(stage.directory / "agent.key"))
        held = _full_spool(stage.directory / "spool")
        sampling, spool = compressed(speed)
        recording = stage.directory / "weather.csv"
        interval = timedelta(seconds=interval_s)
        skipped = (held - 1) * records.INTERVAL // interval + 1  # it goes on after what it holds
        chips = records.write_csv(recording, skipped + count, interval)
        command = agent_command(
            stage.directory,
            station={"id": STATION, "elevation_m": 104},
            sampling=sampling,
            spool={"directory": "spool", "keep_bytes": KEEP_BYTES, **spool},
            identity={"key_file": "agent.key"},
            forwarders=[
                {"address": f"tcp://127.0.0.1:{stage.port}", "public_key": stage.keys.public}
            ],
            sensors=replayed(chips),
        )
        with Process("agent", command, stage.directory) as agent:
            agent.wait_for("agent_stopped", PATIENCE_S)
            usage = agent.stop()
        assert readings_in(stage.directory / "spool" / "spool.db") == held + count
        stage.expect(count)
    return usage.ru_oublock * BLOCK / count


def _full_spool(folder: Path) -> int:
    """A spool that holds as much as it may, all acknowledged; how many readings."""
    folder.mkdir()
    count = KEEP_BYTES // 1024
    records.fill(folder / "spool.db", "full", count)
    spool = Spool(folder / "spool.db", STATION)
    spool.mark_sending()
    spool.acknowledge(Lane(spool.journal, "w"), Ranges([(1, count)]))
    spool.close()
    return count
