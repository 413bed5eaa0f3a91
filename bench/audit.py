"""How long `clima audit` takes over ten million readings: bench/audit_scale.py, on a real server.

The server is `CLIMA_TEST_ELASTICSEARCH_URL`, which keeps the readings, or one of the script's own.
Indexing them takes some minutes, so this part runs only where it is named.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
from pathlib import Path

from bench.figures import Figure, MeasurementError


def measure(directory: Path, *, quick: bool) -> list[Figure]:
    """Seconds for one audit, the median of those that the script makes."""
    count = 50_000 if quick else 10_000_000
    script = Path(__file__).with_name("audit_scale.py")
    url = os.environ.get("CLIMA_TEST_ELASTICSEARCH_URL")
    command = [sys.executable, str(script), "--count", str(count)]
    run = subprocess.run(
        [*command, *(["--url", url] if url else [])],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )
    times = [float(found) for found in re.findall(r"audit \d+: ([\d.]+) s", run.stdout)]
    if run.returncode or not times:
        raise MeasurementError(f"no audit: {run.stdout}{run.stderr}")
    return [Figure(f"audit of {count:,} readings", statistics.median(times), "s", 10)]
