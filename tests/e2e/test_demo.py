"""`clima demo`, as the README has it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.stores import ElasticsearchStore, SqliteStore
from tests.elasticsearch_server import Server


def demo(folder: Path, *arguments: str) -> str:
    """What it says; it must end well."""
    done = subprocess.run(
        [sys.executable, "-m", "clima_forwarder", "demo", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert (0, "") == (done.returncode, done.stderr), done.stdout
    return done.stdout


@pytest.mark.slow
def test_the_demo_brings_two_airports_into_the_embedded_store(tmp_path: Path) -> None:
    """Every line of the recording is in the store, by time, and `clima audit` finds no fault."""
    said = demo(tmp_path)
    folder = tmp_path / "clima-demo"
    store = SqliteStore(folder / "readings.sqlite")
    lines = (folder / "nyc-airports-2013.csv").read_text("utf-8").splitlines()
    for station in ("jfk", "lga"):
        recorded = sum(line.startswith(f"{station.upper()},") for line in lines)
        times = [time for time, _ in store.readings(station)]
        assert (recorded, recorded) == (len(times), len(set(times)))
        assert station in said
    audit = subprocess.run(
        [sys.executable, "-m", "clima_forwarder", "audit", "--config", folder / "forwarder.toml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert 0 == audit.returncode, audit.stdout


@pytest.mark.slow
def test_the_demo_writes_into_elasticsearch(tmp_path: Path, elasticsearch: Server) -> None:
    """Simulated stations, and a real server."""
    said = demo(
        tmp_path, "--stations", "1", "--output", "elasticsearch", "--url", elasticsearch.url
    )
    readings = ElasticsearchStore(elasticsearch).readings("simulated-1")
    assert len(readings) >= 30 * 144
    assert "simulated-1" in said
