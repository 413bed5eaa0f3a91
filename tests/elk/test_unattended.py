"""Transforms that are there already, on a server newer than the full one that the tests may have;
its answers are written down here.
"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from clima_core.identity import DATA_SETS
from clima_elk.elasticsearch import assets
from clima_elk.steps import Order
from clima_elk.transforms import transforms
from tests.elk.test_streams import NEW


class TransformServer:
    """Has every transform, as it was put before the server was upgraded, or after."""

    def __init__(self) -> None:
        self.held = {each.path: dict(each.body) for each in assets("transforms")}
        self.asked: list[str] = []
        self.lifecycle: dict[str, Any] = {}  # of the weather

    async def request(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        """As the real one answers."""
        given: dict[str, Any] = json.loads(body or b"{}")
        if method != "GET":
            self.asked.append(path)
        if path.endswith("/_update"):
            self.held[path.removesuffix("/_update")] |= given
        if path.endswith("/_stats"):
            return 200, b'{"transforms": [{"state": "started"}]}'
        if path.startswith("/_data_stream/"):
            stream = {"name": DATA_SETS["w"].name, "lifecycle": self.lifecycle}
            return 200, json.dumps({"data_streams": [stream]}).encode()
        found = self.held.get(path, {}) | {"id": "x", "create_time": 1, "version": "9.5.0"}
        return 200, json.dumps({"transforms": [found]}).encode()


async def test_a_server_that_was_upgraded_tries_for_ever_from_then_on() -> None:
    """A transform that gives up after some faults would stay given up; nothing begins anew."""
    server = TransformServer()
    order = Order(server.request, NEW)
    for step in await transforms(order):
        assert step.do
        await step.do()
    assert [f"{each.path}/_update" for each in assets("transforms")] == sorted(server.asked)
    assert all(each["settings"]["unattended"] for each in server.held.values())
    assert ["same"] * 3 == [step.state for step in await transforms(order)]


async def carried_out(server: TransformServer, **retention: timedelta | None) -> list[str]:
    """What was sent."""
    server.asked.clear()
    for step in await transforms(Order(server.request, NEW, retention)):
        if step.do:
            await step.do()
    return server.asked


@pytest.mark.parametrize("asked", [True, False])
async def test_a_day_is_not_counted_anew_from_what_is_left_of_it(asked: bool) -> None:
    """Where readings are deleted after a time: whoever chose that, and when."""
    server = TransformServer()
    await carried_out(server)
    daily = "/_transform/clima-daily"
    before = server.held[daily]["source"]
    server.lifecycle = {"enabled": True, "data_retention": "30d"}
    chosen = {"weather": timedelta(days=30)} if asked else {}

    assert [f"{daily}/_update"] == await carried_out(server, **chosen)

    bound = {"range": {"station.local_date": {"gte": "now-28d/d"}}}
    query = {"bool": {"filter": [before["query"], bound]}}
    assert before | {"query": query} == server.held[daily]["source"]
    assert [] == await carried_out(server)

    assert [f"{daily}/_update"] == await carried_out(server, weather=timedelta(days=1))
    assert "now-0d/d" in json.dumps(server.held[daily]["source"]["query"])
    assert [f"{daily}/_update"] == await carried_out(server, weather=None)
    assert before == server.held[daily]["source"]


async def test_what_a_person_changed_besides_is_theirs() -> None:
    """A bound of ours does not hide it."""
    server = TransformServer()
    retention = timedelta(days=30)
    await carried_out(server, weather=retention)
    server.held["/_transform/clima-daily"]["frequency"] = "1h"
    assert [] == await carried_out(server, weather=timedelta(days=60))
