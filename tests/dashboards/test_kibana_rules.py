"""Alert rules on a real Kibana, made by the user that Compose gives them: they watch and tell.

What they find is asked for as dashboard 3 asks.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from clima_core.configuration import Secret
from clima_core.identity import DEAD_LETTERS
from clima_dashboards import queries
from clima_dashboards.alerting import KEYS_SINCE, plan_rules, push_rules, remove_rules, why_none
from clima_dashboards.catalogue import catalogue
from clima_dashboards.dashboards.stations import ALERTS
from clima_dashboards.kibana import Kibana, RefusedError
from clima_dashboards.reading import view_of
from clima_dashboards.rules import RULES, rule_id
from clima_elk import users
from clima_elk.provision import plan
from clima_elk.server import detect
from clima_elk.steps import Order
from clima_forwarder.outputs.elasticsearch import Options
from clima_forwarder.outputs.elasticsearch.connection import Connection
from tests.dashboards import world
from tests.elasticsearch_server import Server

ROLE = "clima_dashboards"
OWN = f"alert-{secrets.token_hex(4)}"
SILENT, LATE = f"{OWN}-silent", f"{OWN}-late"
FIRES_S = 180
TEXTS = catalogue("en")
TOLD = {
    "frost": "Frost: {}, -2.5 °C",
    "pressure_fall": "Pressure falls by more than 3 hPa in 3 hours: {}, -4.2 hPa",
    "disk": "Less than 500 MB free on the disk: {}",
    "silent": "Station silent for 10 minutes: {}",
    "dead_letters": "Dead letters: {}",
}
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def connection(server: Server) -> Connection:
    name, password = server.user or ("", "")
    return Connection(Options(url=server.url, username=name, password=Secret(password)))


@pytest.fixture(scope="module")
def provisioned(full_elasticsearch: Server) -> Server:
    """The role, and the fields of the index that alerts go into."""

    async def provision() -> None:
        opened = connection(full_elasticsearch)
        try:
            found = await detect(opened.exchange)
            for step in await plan(Order(opened.exchange, found, overwrite=True)):
                if step.do:
                    await step.do()
        finally:
            await opened.close()

    asyncio.run(provision())
    return full_elasticsearch


@pytest.fixture(scope="module")
def of_role(provisioned: Server, real_kibana: Kibana) -> Iterator[Kibana]:
    """The Kibana, as a user who has that role and no other."""
    password = secrets.token_urlsafe(12)
    body = {"password": password, "roles": [ROLE]}
    provisioned.request("PUT", f"/_security/user/{OWN}", body)
    yield Kibana(real_kibana.url, username=OWN, password=password)
    provisioned.request("DELETE", f"/_security/user/{OWN}")


@pytest.fixture(scope="module")
def happened(provisioned: Server, of_role: Kibana) -> Iterator[Server]:
    """Five stations, one for each rule, and the rules."""
    remove_rules(of_role)
    push_rules(of_role, TEXTS)
    now = datetime.now(UTC)
    weather, health = "metrics-clima.weather-default", "metrics-clima.station-default"
    written = [
        _record(weather, "frost", now, {"weather": {"air_temperature": -2.5}}),
        _record(weather, "pressure_fall", now, {"weather": {"tendency_of_air_pressure": -4.2}}),
        _record(health, "disk", now, {"health": {"disk_free": 400_000_000}}),
        _record(DEAD_LETTERS.name, "dead_letters", now, {"error": {"type": "document"}}),
    ]
    assert not provisioned.request("POST", "/_bulk?refresh=true", world.bulk(written))["errors"]
    seen(provisioned, SILENT, timedelta(minutes=11), timedelta(minutes=10))
    yield provisioned
    for station in (SILENT, LATE):
        provisioned.request("DELETE", f"/clima-stations/_doc/{station}")


def seen(server: Server, station: str, measured: timedelta, came_in: timedelta) -> None:
    """The newest reading of the station, as the transform has it; times are ages."""
    now = datetime.now(UTC)
    body = {
        "@timestamp": (now - measured).isoformat(),
        "event": {"ingested": (now - came_in).isoformat()},
        "station": {"id": station},
    }
    server.request("PUT", f"/clima-stations/_doc/{station}?refresh=true", body)


def _record(target: str, key: str, at: datetime, body: dict[str, Any]) -> world.Written:
    kind, dataset, namespace = target.split("-")
    own = {
        "@timestamp": at.isoformat(),
        "data_stream": {"type": kind, "dataset": dataset, "namespace": namespace},
        "event": {"id": f"{OWN}-{key}:0123456789ab:w:1", "sequence": 1},
        "station": {"id": f"{OWN}-{key}", "journal": "0123456789ab"},
    }
    return world.Written(target, own | body)


def told(server: Server, key: str, station: str | None = None) -> list[str]:
    """The messages of the rule about this run's station, as dashboard 3 shows them."""
    station = station or f"{OWN}-{key}"
    filters = [{"term": {"rule.id": key}}]
    body = queries.search(ALERTS) | {"query": {"bool": {"filter": filters}}}
    path = f"/{view_of(ALERTS).pattern}/_search?ignore_unavailable=true"
    hits = server.request("POST", path, body)["hits"]["hits"]
    messages = [str(hit["_source"]["message"]) for hit in hits]
    return [each for each in messages if station in each]


def awaited(server: Server, key: str, station: str | None = None) -> list[str]:
    """The same, once there is one."""
    deadline = time.monotonic() + FIRES_S
    while not (messages := told(server, key, station)) and time.monotonic() < deadline:
        time.sleep(1)
    return messages


def runs(kibana: Kibana, key: str) -> str:
    """When the rule looked last."""
    (own,) = (rule_id(rule) for rule in RULES if rule.key == key)
    found = kibana.request("GET", f"/api/alerting/rule/{own}")
    return str(found["execution_status"]["last_execution_date"])


@pytest.mark.parametrize("key", TOLD)
def test_what_happens_is_told_where_the_dashboard_shows_it(happened: Server, key: str) -> None:
    """Within a few minutes, by station and figure, and just once."""
    (message,) = awaited(happened, key)
    expected = TOLD[key].format(f"{OWN}-{key}")
    if key in {"silent", "dead_letters"}:  # those tell of all stations at once
        name, _, stations = message.partition(": ")
        assert (expected.partition(": ")[0], True) == (name, f"{OWN}-{key}" in stations.split())
    else:
        assert expected == message


def test_a_station_whose_readings_were_late_is_told_of_too(happened: Server) -> None:
    """It fell silent after the others, with an older reading than those that were told of."""
    awaited(happened, "silent")
    seen(happened, LATE, timedelta(minutes=40), timedelta(minutes=10))
    (message,) = awaited(happened, "silent", LATE)
    assert SILENT not in message


@pytest.mark.parametrize("key", ["pressure_fall", "dead_letters"])
def test_it_is_told_once(happened: Server, of_role: Kibana, key: str) -> None:
    """Two more looks of the rule tell nothing more of what it has told."""
    deadline = time.monotonic() + FIRES_S
    looks = {runs(of_role, key)}
    while len(looks) < 3 and time.monotonic() < deadline:
        looks.add(runs(of_role, key))
        time.sleep(1)
    happened.request("POST", "/clima-alerts/_refresh")
    assert (3, 1) == (len(looks), len(told(happened, key)))


@pytest.mark.usefixtures("happened")
def test_a_new_version_leaves_what_somebody_chose(of_role: Kibana) -> None:
    """On a real one: the limit and the switch stay, the window of ours comes."""
    (frost,) = (rule for rule in RULES if rule.key == "frost")
    path = f"/api/alerting/rule/{rule_id(frost)}"
    there = of_role.request("GET", path)
    params = {**there["params"], "timeWindowSize": 5, "threshold": [3]}
    tags = [each.replace("within 70 m", "within 5 m") for each in there["tags"]]
    kept = ("name", "schedule", "notify_when")
    actions = [
        {name: each[name] for name in ("group", "id", "params")} for each in there["actions"]
    ]
    body = {name: there[name] for name in kept}
    of_role.request("PUT", path, {**body, "params": params, "tags": tags, "actions": actions})
    of_role.request("POST", f"{path}/_disable")

    steps = {each.key: each for each in push_rules(of_role, TEXTS)}

    assert "keeps what somebody chose: limit" == steps["frost"].note
    found = of_role.request("GET", path)
    assert ([3], 70, False) == (
        found["params"]["threshold"],
        found["params"]["timeWindowSize"],
        found["enabled"],
    )
    assert [None] * len(RULES) == [each.do for each in plan_rules(of_role, TEXTS)]
    push_rules(of_role, TEXTS, force=True)
    found = of_role.request("GET", path)
    assert ([0], True) == (found["params"]["threshold"], found["enabled"])


def test_a_rule_made_by_an_api_key(provisioned: Server, real_kibana: Kibana) -> None:
    """It runs by that very key; an older Kibana makes none, and the mend is said beforehand."""

    async def made() -> str:
        opened = connection(provisioned)
        try:
            return await users.create_api_key(opened.exchange, (ROLE,), OWN)
        finally:
            await opened.close()

    by_key = Kibana(real_kibana.url, api_key=asyncio.run(made()))
    try:
        if real_kibana.version() < KEYS_SINCE:
            assert "--username" in str(why_none(by_key))
            with pytest.raises(RefusedError, match="could not create API key"):
                push_rules(by_key, TEXTS, force=True)
            return
        assert why_none(by_key) is None
        push_rules(by_key, TEXTS, force=True)
        found = by_key.request("GET", f"/api/alerting/rule/{rule_id(RULES[0])}")
        assert found["api_key_created_by_user"]
    finally:
        provisioned.request("DELETE", "/_security/api_key", {"name": OWN})
