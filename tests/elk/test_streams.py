"""The data streams, where the data stream lifecycle is what deletes: from 8.14 on.

No such server can be had everywhere, so its answers are written down here.
"""

from __future__ import annotations

import asyncio
import copy
import json
import secrets
from datetime import timedelta
from typing import Any

import pytest

from clima_core.identity import DATA_SETS
from clima_elk.elasticsearch import install
from clima_elk.retention import KEPT, windows
from clima_elk.server import Server as Features
from clima_elk.server import detect
from clima_elk.steps import Order
from clima_elk.streams import _index, streams
from tests.elasticsearch_server import Server
from tests.elk.conftest import connected
from tests.elk.readings import WEATHER, document, store

NEW = Features(
    version=(9, 5),
    ingest=True,
    data_streams=True,
    ilm=True,
    transforms=True,
    security=True,
    users=True,
)
STATION = DATA_SETS["s"].name


class LifecycleServer:
    """Has every data stream; `lifecycles` says what it says of them."""

    def __init__(self, **lifecycles: dict[str, Any]) -> None:
        self.lifecycles = lifecycles
        self.put: dict[str, Any] = {}

    async def request(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        """As the real one answers."""
        streams = [
            {"name": name}
            | ({"lifecycle": self.lifecycles[kept]} if kept in self.lifecycles else {})
            for kept, names in KEPT.items()
            for name in names
        ]
        if path.endswith("/_mapping"):
            return 200, json.dumps({path.split("/")[1]: {"mappings": {}}}).encode()
        if "_simulate_index" in path:
            return 200, json.dumps({"template": {}}).encode()
        if method == "PUT":
            self.put[path] = json.loads(body or b"{}")
        return 200, json.dumps({"data_streams": streams}).encode()


async def carry_out(server: LifecycleServer, **retention: timedelta | None) -> None:
    for step in await streams(Order(server.request, NEW, retention), [], by_ilm=False):
        assert step.do
        await step.do()


async def test_a_data_stream_without_a_lifecycle_gets_one() -> None:
    """As those have that were made before there was a template for it."""
    server = LifecycleServer(
        weather={"enabled": True}, log={"enabled": True, "data_retention": "7d"}
    )
    await carry_out(server)
    assert {
        f"/_data_stream/{STATION}/_lifecycle": {"enabled": True, "data_retention": "90d"},
        "/_data_stream/logs-clima.deadletter-default/_lifecycle": {"enabled": True},
    } == server.put


async def test_another_retention_is_set_only_when_asked_for() -> None:
    """For every data stream that it is about; one that has it already is left alone."""
    lifecycles = {name: {"enabled": True, "data_retention": "7d"} for name in KEPT}
    server = LifecycleServer(**lifecycles)
    await carry_out(server)
    assert {} == server.put
    await carry_out(server, log=timedelta(days=9), station=timedelta(days=7), weather=None)
    nine = {"enabled": True, "data_retention": "9d"}
    assert {
        f"/_data_stream/{WEATHER}/_lifecycle": {"enabled": True},
        **{f"/_data_stream/{name}/_lifecycle": nine for name in KEPT["log"]},
    } == server.put


async def test_what_acts_is_what_counts() -> None:
    """A limit of the whole cluster, too; a lifecycle that is switched off deletes nothing."""
    server = LifecycleServer(
        weather={"enabled": True, "data_retention": "99d", "effective_retention": "9d"},
        station={"enabled": False, "data_retention": "7d"},
        log={"enabled": True},
    )
    assert {
        "weather": timedelta(days=9),
        "station": None,
        "log": None,
        "deadletter": None,
    } == await windows(server.request)


async def installed(server: Server) -> None:
    connection = connected(server)
    try:
        await install(connection.exchange)
    finally:
        await connection.close()


def test_an_index_that_lacks_a_field_gets_it_later_too(elasticsearch: Server) -> None:
    """Whoever put the template did no more, as the forwarder does, or a run that was stopped."""
    asyncio.run(installed(elasticsearch))
    path = "/_component_template/clima-weather"
    (found,) = elasticsearch.request("GET", path)["component_templates"]
    template = {
        name: found["component_template"][name] for name in ("template", "version", "_meta")
    }
    older = copy.deepcopy(template)
    del older["template"]["mappings"]["properties"]["weather"]["properties"]["wet_bulb_temperature"]
    elasticsearch.request("POST", f"/{WEATHER}/_doc", {"@timestamp": "2013-01-01T00:00:00Z"})
    try:
        elasticsearch.request("PUT", path, older)
        elasticsearch.rollover(WEATHER)
    finally:
        elasticsearch.request("PUT", path, template)

    async def provisioned() -> list[str]:
        connection = connected(elasticsearch)
        try:
            order = Order(connection.exchange, await detect(connection.exchange))
            steps = [each for each in await streams(order, [], by_ilm=False) if each.do]
            said = [f"{each.name} {await each.do()}" for each in steps if each.do]
        finally:
            await connection.close()
        return [each for each in said if each.startswith(WEATHER)]

    assert [f"{WEATHER} rolled over"] == asyncio.run(provisioned())
    assert [] == asyncio.run(provisioned())
    mappings = elasticsearch.request("GET", f"/{WEATHER}/_mapping")
    newest = mappings[max(mappings, key=lambda index: int(index.rpartition("-")[2]))]["mappings"]
    assert "wet_bulb_temperature" in newest["properties"]["weather"]["properties"]


def test_a_plain_index_gets_what_it_lacks_and_nothing_else(elasticsearch: Server) -> None:
    """A field that is of another kind by now stays what it is, and stops nothing."""
    asyncio.run(installed(elasticsearch))
    index, path = f"clima-alerts-{secrets.token_hex(4)}", "/_index_template/clima-test"
    before = {"properties": {"station": {"properties": {"id": {"type": "keyword"}}}}}
    elasticsearch.request("PUT", f"/{index}", {"mappings": before})
    wanted = {"station": {"properties": {"id": {"type": "text"}, "name": {"type": "keyword"}}}}
    template = {
        "mappings": {"dynamic": "strict", "properties": {**wanted, "kind": {"type": "byte"}}}
    }
    elasticsearch.request("PUT", path, {"index_patterns": [index], "template": template})

    async def renewed() -> str:
        connection = connected(elasticsearch)
        try:
            order = Order(connection.exchange, await detect(connection.exchange))
            step = await _index(order, index, renewed=True)
            assert step.do
            said = await step.do()
            assert (await _index(order, index, renewed=False)).do is None
            return said
        finally:
            await connection.close()

    try:
        assert "has the new fields" == asyncio.run(renewed())
        mappings = elasticsearch.request("GET", f"/{index}/_mapping")[index]["mappings"]
        station = {"properties": {"id": {"type": "keyword"}, "name": {"type": "keyword"}}}
        assert {"kind": {"type": "byte"}, "station": station} == mappings["properties"]
        assert "strict" == mappings["dynamic"]
    finally:
        elasticsearch.request("DELETE", path)
        elasticsearch.request("DELETE", f"/{index}")


def test_no_station_can_use_up_the_fields_of_all(
    elasticsearch: Server, station: str, journal: str
) -> None:
    """Beyond the bound, what one brings along is kept and not indexed; another goes on."""
    asyncio.run(installed(elasticsearch))
    limit = elasticsearch.request("GET", "/_component_template/clima-limit")
    if not limit["component_templates"][0]["component_template"]["template"]:
        pytest.skip("before 8.14 the record is refused; the forwarder bounds the names")
    hostile, honest = f"{station}-a", f"{station}-b"
    greedy = [
        document(hostile, journal, number, "2013-01-01T06:00:00Z", {}) for number in range(1, 60)
    ]
    for number, each in enumerate(greedy):
        each["sensor"] = {f"x{secrets.token_hex(3)}-{number}": {f"q{n}": 1.0 for n in range(30)}}
    store(elasticsearch, [document(honest, journal, 2, "2013-01-01T07:00:00Z", {})])
    elasticsearch.rollover(WEATHER)  # the templates may be younger than the data stream
    store(elasticsearch, greedy)
    fair = document(honest, journal, 1, "2013-01-01T06:00:00Z", {"air_temperature": 3.25})
    fair["sensor"] = {"new": {"air_temperature": 3.5}}
    store(elasticsearch, [fair])
    elasticsearch.request("POST", f"/{WEATHER}/_refresh")
    query = {
        "query": {
            "bool": {
                "filter": [
                    {"term": {"station.id": honest}},
                    {"term": {"weather.air_temperature": 3.25}},
                ]
            }
        }
    }
    (hit,) = elasticsearch.request("POST", f"/{WEATHER}/_search", query)["hits"]["hits"]
    assert fair == {**hit["_source"], "event": fair["event"]}
    elasticsearch.rollover(WEATHER)  # so that later tests have room
