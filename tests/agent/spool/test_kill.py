"""`kill -9` at any moment: what `append` returned for is there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from clima_agent.spool import Spool
from clima_core.identity import Lane
from tests.agent.spool.stock import STATION, assert_accounted, assert_whole, number_of, waiting

ROOT = Path(__file__).parents[3]
WORKLOAD = """
import sys
from pathlib import Path
from clima_agent.spool import Limits, Spool
from clima_core.identity import Lane
from clima_core.ranges import Ranges
from tests.agent.spool.stock import STATION, documents
spool = Spool(Path(sys.argv[1]), STATION, Limits(2**40, 200_000, 7.0))
spool.mark_sending()
lane = Lane(spool.journal, "w")
made = spool.ledgers[lane].last
while True:
    spool.append("w", documents(7, first=made + 1, padding=made * 131 % 2000))
    made += 7
    print(made, spool.ledgers[lane].synced, flush=True)
    if made % 3 == 0:
        spool.acknowledge(lane, Ranges([(1, made - 500)]))
        spool.sync()
"""


@pytest.mark.timeout(60)
@pytest.mark.parametrize("lines", [1, 2, 40, 301])
def test_nothing_that_was_appended_dies_with_the_process(tmp_path: Path, lines: int) -> None:
    """Three lives in a row are killed at work; numbers are neither skipped nor used twice."""
    path = tmp_path / "spool.db"
    appended = 0
    for _ in range(3):
        command = [sys.executable, "-c", WORKLOAD, str(path)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            said = [process.stdout.readline() for _ in range(lines)]
            process.kill()
            said += process.stdout.readlines()
        appended = max(int(line.split()[0]) for line in said if line.endswith("\n"))
    spool = Spool(path, STATION)
    ledger = spool.ledgers[lane := Lane(spool.journal, "w")]
    assert ledger.last - appended in {0, 7}  # what it died over may be there, whole
    assert_accounted(spool)
    found = waiting(spool, lane)
    spool.close()
    assert {} == ledger.dropped
    assert_whole(lane, found)
    assert list(found) == [number_of(body) for body in found.values()]
    assert ledger.last == len(found) + len(ledger.acknowledged)
