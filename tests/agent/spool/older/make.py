"""Makes the spool of an older clima-agent, with that agent's own code; see README.md beside it."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from clima_agent import spool as package
from clima_agent.spool import Spool
from clima_core.identity import Lane
from clima_core.ranges import Ranges

BEGAN = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def document(number: int) -> dict[str, Any]:
    return {
        "@timestamp": f"2026-03-01T12:00:{number:02}.000Z",
        "weather": {"air_temperature": number / 10},
    }


def fill(spool: Spool) -> None:
    """Stored, given up, perhaps sent, never sent; and without a date, if there was such a thing."""
    weather = Lane(spool.journal, "w")
    spool.append("w", [document(number) for number in range(1, 21)])
    spool.append("s", [{"@timestamp": "2026-03-01T12:00:00.000Z", "health": {"load_1m": 0.5}}] * 3)
    spool.sync()
    spool.mark_sending()
    spool.acknowledge(weather, Ranges([(1, 10)]))
    spool.drop(spool.ledgers[weather], Ranges([(11, 12)]), "spool_full")
    spool.sync()
    spool.append("w", [document(number) for number in range(21, 31)])
    if hasattr(package, "Undated"):
        for boot, number in (("one", 41), ("one", 42), ("two", 43)):
            spool.keep_undated([package.Undated(boot, float(number), "w", document(number))])


if __name__ == "__main__":
    made = Spool(Path(sys.argv[1]), "roof", now=lambda: BEGAN)
    fill(made)
    made.close()
    Path(f"{sys.argv[1]}.ballast").unlink()
