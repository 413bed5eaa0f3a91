"""Versions, the cluster's health, its disk, and what is provisioned."""

from __future__ import annotations

from typing import Any

import pytest

from clima_elk import elasticsearch as assets
from clima_forwarder.doctor import cluster, disk, templates, versions
from clima_forwarder.doctor.disk import watermarks
from tests.elasticsearch_server import Server
from tests.elk.conftest import connected
from tests.forwarder.doctor.conftest import Patient, by_logstash, straight
from tests.forwarder.doctor.overlay import Overlay

GB = 10**9
DISK = "cluster.routing.allocation.disk."


@pytest.fixture(autouse=True)
def _there(patient: Patient, request: pytest.FixtureRequest) -> None:
    """The real server, unless the test overlays something."""
    patient.output = straight(request.getfixturevalue("server").url)


def nodes(*found: str) -> tuple[int, Any]:
    return 200, {"nodes": {str(number): {"version": each} for number, each in enumerate(found)}}


def until_green(server: Server) -> None:
    """Until every index is open: one of another test's may be new."""
    server.request("GET", "/_cluster/health?wait_for_status=green&timeout=30s")


async def test_a_real_server_is_well(patient: Patient, elasticsearch: Server) -> None:
    """Its version and its cluster; how full its disk is, it says."""
    until_green(elasticsearch)
    states = await patient.states(versions, cluster)
    assert ["ok", "ok"] == [state for state, _ in states], states
    ((state, said),) = await patient.states(disk)
    assert state != "unchecked", said
    assert " free" in said


@pytest.mark.parametrize(
    ("found", "state", "said"),
    [
        (["8.2.3"], "broken", "Clima needs 8.3 or newer"),
        (["8.3.0"], "ok", "Elasticsearch 8.3.0"),
        (["9.5.1", "9.5.0"], "warning", "different versions: 9.5.0, 9.5.1"),
    ],
)
async def test_versions_of_elasticsearch(
    found: list[str], state: str, said: str, patient: Patient, server: Overlay
) -> None:
    """From 8.3, and all nodes alike."""
    server.answers["/_nodes"] = nodes(*found)
    (answer,) = await patient.states(versions)
    assert state == answer[0]
    assert said in answer[1]


@pytest.mark.parametrize(
    ("logstash", "kibana", "states"),
    [
        ("9.5.1", "9.5.0", ["ok", "ok", "ok"]),
        ("9.4.0", "9.5.1", ["ok", "ok", "ok"]),
        ("8.19.0", "9.6.0", ["ok", "broken", "broken"]),
    ],
)
async def test_versions_of_the_parts_go_together(
    logstash: str, kibana: str, states: list[str], patient: Patient, server: Overlay
) -> None:
    """Logstash of the same major; Kibana no newer than Elasticsearch, or it would not start."""
    server.answers["/_nodes"] = nodes("9.5.1")
    server.answers["/_node/stats"] = (200, {"version": logstash})
    server.answers["/api/status"] = (200, {"version": {"number": kibana}})
    patient.output = by_logstash(server.url, server.url)
    patient.kibana = server.url
    assert states == [state for state, _ in await patient.states(versions)]


async def test_a_part_that_does_not_tell_its_version(patient: Patient, server: Overlay) -> None:
    """Kibana tells it to nobody without a login; the rest is said all the same."""
    server.answers["/api/status"] = (200, {"status": {"overall": {"level": "available"}}})
    patient.kibana = server.url
    states = await patient.states(versions)
    assert ["ok", "unchecked"] == [state for state, _ in states]


@pytest.mark.parametrize(("colour", "state"), [("red", "broken"), ("yellow", "warning")])
async def test_a_cluster_that_is_not_green(
    colour: str, state: str, patient: Patient, server: Overlay
) -> None:
    """Which indices it is about."""
    health = {"status": colour, "indices": {"clima-journals": {"status": colour}}}
    server.answers["/_cluster/health"] = (200, {"number_of_nodes": 1, **health})
    found = await patient.states(cluster)
    assert state == found[0][0]
    assert "clima-journals" in found[0][1]


async def test_an_index_that_is_closed_for_writing(patient: Patient, elasticsearch: Server) -> None:
    """As Elasticsearch does at the flood stage; a real block on a real index."""
    alone = {"settings": {"number_of_replicas": 0}}
    elasticsearch.request("PUT", "/clima-doctor-test", alone)
    block = "index.blocks.read_only_allow_delete"
    try:
        elasticsearch.request("PUT", "/clima-doctor-test/_settings", {block: True})
        found = [each for each in await patient.looked(cluster) if each.state == "broken"]
        assert "clima-doctor-test: the disk was full (flood stage)" in found[0].text
        assert '"index.blocks.read_only_allow_delete": null' in found[0].mend
        elasticsearch.request("PUT", "/clima-doctor-test/_settings", {block: None})
        until_green(elasticsearch)
        assert ["ok"] == [state for state, _ in await patient.states(cluster)]
    finally:
        elasticsearch.request("DELETE", "/clima-doctor-test")


@pytest.mark.parametrize(
    ("free_gb", "state"), [(10, "broken"), (80, "broken"), (130, "warning"), (500, "ok")]
)
async def test_a_disk_that_fills(
    free_gb: int, state: str, patient: Patient, server: Overlay
) -> None:
    """Against the server's own watermarks: 85, 90 and 95 percent used of 1 TB."""
    total = {"total_in_bytes": 1000 * GB, "available_in_bytes": free_gb * GB}
    server.answers["/_nodes/stats/fs"] = (
        200,
        {"nodes": {"a": {"name": "n", "fs": {"total": total}}}},
    )
    server.answers["/_cluster/settings"] = (200, {"defaults": {}})
    assert [state] == [each for each, _ in await patient.states(disk)]


def test_watermarks_as_the_server_reckons() -> None:
    """A share of the disk, bounded by a headroom; or bytes; the latest setting wins."""
    total = 10_000 * GB
    assert (0, 0, 0) == watermarks({"persistent": {DISK + "threshold_enabled": "false"}}, total)
    assert pytest.approx(1500 * GB) == watermarks({}, total).low
    headroom: dict[str, object] = {DISK + "watermark.flood_stage.max_headroom": "100gb"}
    assert 100 * 2**30 == watermarks({"defaults": headroom}, total).flood
    told: dict[str, dict[str, object]] = {
        "defaults": {DISK + "watermark.high": "90%", **headroom},
        "persistent": {DISK + "watermark.high": "20gb"},
        "transient": {DISK + "watermark.flood_stage": "0.99"},
    }
    found = watermarks(told, 1000 * GB)
    assert 20 * 2**30 == found.high
    assert pytest.approx(10 * GB) == found.flood


async def test_watermarks_that_are_off(patient: Patient, server: Overlay) -> None:
    """Then nothing keeps the disk from filling to the last byte."""
    settings = {"persistent": {DISK + "threshold_enabled": "false"}}
    server.answers["/_cluster/settings"] = (200, settings)
    assert "warning" == (await patient.states(disk))[0][0]


async def test_what_is_provisioned_is_compared(
    patient: Patient, server: Overlay, elasticsearch: Server
) -> None:
    """All there; then one that the server does not have any more."""
    connection = connected(elasticsearch)
    await assets.install(connection.exchange)
    await connection.close()
    server.answers["/_component_template/clima-weather"] = (404, {})
    (found,) = await patient.looked(templates)
    assert ("warning", "clima provision") == (found.state, found.mend)
    assert "component template clima-weather: missing" in found.text


async def test_who_may_not_look_is_told_so(patient: Patient, server: Overlay) -> None:
    """The forwarder's own key may look at no template; that is no fault of the chain."""
    server.answers["/_nodes"] = (403, {"error": {"type": "security_exception", "reason": "no"}})
    states = await patient.states(versions, templates)
    assert {"unchecked"} == {state for state, _ in states}


async def test_a_server_that_breaks_down_is_one_line(patient: Patient) -> None:
    """Whatever it could not be asked."""
    patient.output = straight("http://127.0.0.1:1")
    (found,) = await patient.looked(versions, cluster, disk, templates)
    assert "versions, cluster, disk, templates" == found.check
    assert "unchecked" == found.state
