"""What the forwarder says of itself, its keys, and the clocks."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from clima_core import keys as core_keys
from clima_elk.vault import Vault
from clima_forwarder.config import Http
from clima_forwarder.doctor import clocks, forwarder, keys
from tests.forwarder.daemon import daemon
from tests.forwarder.doctor.conftest import Patient, straight
from tests.forwarder.doctor.overlay import Overlay

READY: dict[str, tuple[int, Any]] = {
    "/readyz": (200, {"ready": True, "problems": {}}),
    "/metrics": (200, b"clima_sessions 2.0\n"),
    "/healthz": (200, b"ok\n"),
}


@pytest.fixture
def said(patient: Patient, other: Overlay) -> Overlay:
    """A forwarder that says what a test has it say."""
    other.answers = dict(READY)
    patient.http = Http(port=other.port)
    return other


async def test_a_forwarder_that_runs_is_well(patient: Patient, tmp_path: Path) -> None:
    """The real one: ready, with its clock as ours, and its key."""
    async with daemon(tmp_path) as running:
        patient.http = Http(port=int(running.started["http"].rpartition(":")[2]))
        await running.logged("store_available")
        states = await patient.states(forwarder, keys, clocks)
    assert ["ok"] * 3 == [state for state, _ in states], states


async def test_what_it_is_not_ready_for_is_said(patient: Patient, said: Overlay) -> None:
    """In its own words."""
    said.answers["/readyz"] = (503, {"ready": False, "problems": {"store": "no room"}})
    (found,) = await patient.states(forwarder)
    assert ("broken", "it is not ready: store: no room") == found


@pytest.mark.parametrize(
    ("metric", "text"),
    [
        ("clima_cloned_keys_total 2.0", "2 times two devices used one station's key"),
        (
            'clima_messages_refused_total{reason="revoked"} 7.0',
            "7 messages came from stations that were put out",
        ),
        (
            'clima_messages_refused_total{reason="protocol"} 1.0',
            "1 messages were no messages of Clima's",
        ),
        ('clima_records_total{outcome="conflict"} 3.0', "3 records had the identity"),
    ],
)
async def test_who_troubles_it(metric: str, text: str, patient: Patient, said: Overlay) -> None:
    """Clones, the revoked that go on trying, and strangers."""
    said.answers["/metrics"] = (200, f"clima_sessions 1.0\n{metric}\n".encode())
    found = await patient.states(forwarder)
    assert ["ok", "warning"] == [state for state, _ in found]
    assert text in found[1][1]


async def test_something_else_on_its_port(patient: Patient, said: Overlay) -> None:
    """Not taken for a forwarder."""
    said.answers["/readyz"] = (200, {"hello": "world"})
    (found,) = await patient.states(forwarder)
    assert "unchecked" == found[0]
    assert "is not the forwarder" in found[1]


# -- keys ----------------------------------------------------------------------------------------


async def test_keys_that_are_not_made_yet_and_ones_that_are(patient: Patient) -> None:
    """Before the first start, and after it."""
    assert ["warning"] == [state for state, _ in await patient.states(keys)]
    pair = core_keys.load_or_create(patient.stations.key_file)
    said = f"the forwarder's key reads {core_keys.fingerprint(pair.public)}"
    assert [("ok", said)] == await patient.states(keys)


async def test_files_that_cannot_be_used(patient: Patient) -> None:
    """A key that others can read, and a station's file that is none."""
    core_keys.load_or_create(patient.stations.key_file)
    patient.stations.key_file.chmod(0o644)
    patient.stations.directory.mkdir()
    (patient.stations.directory / "roof.key").write_text("rubbish", "utf-8")
    found = await patient.states(keys)
    assert ["broken", "broken"] == [state for state, _ in found]
    assert "others can read this secret key" in found[0][1]
    assert "roof.key: is not a ZeroMQ certificate" in found[1][1]


async def test_a_renewal_that_was_stopped(patient: Patient) -> None:
    """It is one command away from being finished."""
    core_keys.load_or_create(patient.stations.key_file)
    vault = Vault(patient.folder / "vault")
    vault.make()
    vault.propose("clima_logstash")
    (found,) = [each for each in await patient.looked(keys) if each.state == "broken"]
    assert "clima rotate clima_logstash" == found.mend


# -- clocks --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ahead_s", "state"), [(0, "ok"), (-10, "warning"), (600, "broken"), (-3600, "broken")]
)
async def test_a_forwarders_clock_that_differs(
    ahead_s: int, state: str, patient: Patient, said: Overlay
) -> None:
    """By its Date header."""
    said.ahead = timedelta(seconds=ahead_s)
    (found,) = [each for each in await patient.states(clocks) if "the forwarder: " in each[1]]
    assert state == found[0]
    if ahead_s:
        assert ("ahead of" if ahead_s > 0 else "behind") in found[1]


async def test_elasticsearchs_clock_that_differs(patient: Patient, server: Overlay) -> None:
    """By its nodes' statistics; the real one has ours."""
    patient.output = straight(server.url)
    found = [each for each in await patient.states(clocks) if "Elasticsearch" in each[1]]
    assert [("ok", "Elasticsearch: as here")] == found
    node = {"timestamp": 1_600_000_000_000}
    server.answers["/_nodes/stats/os"] = (200, {"nodes": {"a": node}})
    found = [each for each in await patient.states(clocks) if "Elasticsearch" in each[1]]
    assert "broken" == found[0][0]
    assert "behind ours" in found[0][1]
