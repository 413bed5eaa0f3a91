"""Three days on a roof: power cuts, wrong clocks, a network that goes and comes, broken sensors.

In the end `clima audit` is complete, and each reading that was read longer than a commit window
before a power cut is stored once, at the true time to the second or flagged in quality.clock.
CLIMA_CHAOS_SEED has another fate; the seed is printed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from clima_agent.clock import DRIFT, TOLERATED_S
from tests.agent.spool.losing import reachable
from tests.e2e import fate
from tests.e2e.harness import ROOT, Site
from tests.e2e.roof import HEARTBEAT_S, STEP_S, Life, Reading, Roof
from tests.e2e.stores import ElasticsearchStore, SqliteStore, Store

SEED = int(os.environ.get("CLIMA_CHAOS_SEED", "1"))
NEVER = {
    "identity_taken",
    "records_dead_lettered",
    "records_dropped",
    "sensor_driver_broke",
    "spool_damaged",
    "spool_rolled_back",
}

pytestmark = pytest.mark.skipif(not reachable(), reason="this Python has an SQLite of its own")

Say = Callable[[str], None]


def three_days(
    folder: Path,
    store: Store,
    faketime: str,
    say: Say,
    *,
    seed: int,
    interval_s: float,
    window_s: float,
    hours: float = 72,
    station: str = "roof",
) -> None:
    """One simulation, and what must hold after it."""
    say(f"{hours:g} hours on a roof, seed {seed}")
    site = Site(folder, store)
    roof = Roof(
        folder,
        site,
        fate.drawn(seed, hours),
        seed=seed,
        interval_s=interval_s,
        window_s=window_s,
        station=station,
    )
    clock = roof.environ(faketime)
    site.forwarder.environ = {**clock, "CLIMA_FORWARDER_STATIONS__HEARTBEAT_S": f"{HEARTBEAT_S}"}
    try:
        site.start_forwarder()
        roof.live()
        site.forwarder.stop()
        say(judged(roof, store.documents(station)))
        assert_audited(site, station, clock)
    finally:
        site.close()


def judged(roof: Roof, records: list[dict[str, Any]]) -> str:
    """Hold what is stored against what the witness knows; the figures."""
    records.sort(key=lambda each: each["event"]["sequence"])
    assert set() == NEVER & roof.events.keys()
    assert 1 == len({each["station"]["journal"] for each in records})
    numbers = [number_of(each) for each in records]
    assert all(earlier < later for earlier, later in pairwise(numbers)), "doubled or reordered"
    times = [time_of(each) for each in records]
    assert all(earlier < later for earlier, later in pairwise(times)), "reordered in time"
    stored = dict(zip(numbers, records, strict=True))
    counts: Counter[str] = Counter()
    worst_s = 0.0
    for number, reading in enumerate(roof.read, 1):
        life = roof.lives.get(reading.boot)
        if number not in stored:
            assert life is not None, f"{number} is lost, and no power went"
            assert life.ended - reading.true <= roof.window_s + 2 * STEP_S, (number, reading, life)
            counts["lost"] += 1
            continue
        record = stored[number]
        off_s = abs(time_of(record) - reading.true)
        flags = record.get("quality", {}).get("clock", [])
        told = f"{number}, off by {off_s:.2f} s: {flags}, {reading}, {life}"
        counts[" ".join(flags)] += 1
        if not flags:
            worst_s = max(worst_s, off_s)
        assert off_s <= admitted_s(record, flags), told
        assert not flags or life is None or flags in may_be_said(reading, life, roof), told
    return (
        f"{len(roof.lives)} power cuts, {len(roof.read)} readings, {counts['lost']} of them lost"
        f" within a window; {counts['estimated']} times estimated, {counts['forwarder']} the"
        f" forwarder's, all others right to {worst_s:.2f} s"
    )


def admitted_s(record: Mapping[str, Any], flags: list[str]) -> float:
    """How far out the time of a record may be, by its own account."""
    uncertainty_s = record.get("labels", {}).get("clock_uncertainty_s")
    if flags and uncertainty_s is None:  # nobody can know
        return float("inf")
    return 1 + float(uncertainty_s or 0)


def may_be_said(reading: Reading, life: Life, roof: Roof) -> list[list[str]]:
    """The flags that it may have: no flag where the kernel could vouch for the time."""
    slack_s = roof.window_s + 2 * STEP_S
    if life.right_from is None or life.ended - life.right_from <= slack_s:
        return [["estimated"], ["forwarder"]]
    said = [["forwarder"]] if reading.true <= life.right_from + slack_s else []
    far_s = max(life.right_from - reading.true, reading.true - life.right_until)
    return [*said, ["estimated"]] if far_s * DRIFT > 0.9 * TOLERATED_S else said


def number_of(record: Mapping[str, Any]) -> int:
    """The witness's number of a reading."""
    return int(record["sensor"]["witness"]["illuminance"])


def time_of(record: Mapping[str, Any]) -> float:
    return datetime.fromisoformat(record["@timestamp"]).timestamp()


def assert_audited(site: Site, station: str, clock: Mapping[str, str]) -> None:
    """`clima audit`, on the day on which the simulation ends."""
    arguments = ["audit", "--json", "--station", station, "--config", str(site.config)]
    done = subprocess.run(
        [sys.executable, "-m", "clima_forwarder", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **clock},
    )
    assert 0 == done.returncode, done.stdout + done.stderr
    for lane in json.loads(done.stdout):
        faults = [lane["ranges"][name] for name in ("gaps", "doubled", "waiting")]
        assert lane["reported"], lane
        assert [[], [], []] == faults, lane


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_three_days_on_a_roof(tmp_path: Path, faketime: str, say: Say) -> None:
    """At one reading a minute."""
    store = SqliteStore(tmp_path / "readings.sqlite")
    three_days(tmp_path, store, faketime, say, seed=SEED, interval_s=60, window_s=60)


@pytest.mark.chaos
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(SEED, SEED + 10))
def test_three_days_of_other_fates(tmp_path: Path, faketime: str, say: Say, seed: int) -> None:
    """As often as it is by default: a reading per 10 s, a commit window of 30 s."""
    store = SqliteStore(tmp_path / "readings.sqlite")
    three_days(tmp_path, store, faketime, say, seed=seed, interval_s=10, window_s=30)


@pytest.mark.chaos
@pytest.mark.timeout(3600)
def test_three_days_into_elasticsearch(
    tmp_path: Path, faketime: str, say: Say, store: ElasticsearchStore, station: str
) -> None:
    """The same, with the store of life."""
    three_days(
        tmp_path, store, faketime, say, seed=SEED, interval_s=60, window_s=60, station=station
    )
