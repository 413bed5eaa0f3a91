"""The summaries, on a full server: what they say is worked out here from the source itself."""

from __future__ import annotations

import asyncio
import copy
import math
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from clima_elk.provision import plan
from clima_elk.server import detect
from clima_elk.steps import Order
from clima_elk.transforms import within
from tests.elasticsearch_server import Server
from tests.elk.conftest import connected
from tests.elk.readings import WEATHER, ZONE, document, readings, store

NAMES = ("clima-daily", "clima-monthly", "clima-latest")
DAYS = 45  # two months have a part in them
AMOUNT, DIRECTION = "precipitation_amount", "wind_from_direction"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


async def provision(server: Server) -> None:
    """Clima's own, whatever was there."""
    connection = connected(server)
    try:
        found = await detect(connection.exchange)
        steps = await plan(Order(connection.exchange, found, overwrite=True))
        for step in steps:
            if step.do:
                await step.do()
    finally:
        await connection.close()


@pytest.fixture(scope="module")
def hasty(full_elasticsearch: Server) -> Iterator[Server]:
    """A provisioned server whose transforms look each second, at what is ten seconds old."""
    asyncio.run(provision(full_elasticsearch))
    for name in NAMES:
        full_elasticsearch.request(
            "POST", f"/_transform/{name}/_stop?wait_for_completion=true&timeout=60s"
        )
        sync = {"time": {"field": "event.ingested", "delay": "10s"}}
        full_elasticsearch.request(
            "POST", f"/_transform/{name}/_update", {"frequency": "1s", "sync": sync}
        )
        full_elasticsearch.request("POST", f"/_transform/{name}/_start")
    yield full_elasticsearch
    asyncio.run(provision(full_elasticsearch))


def summaries(server: Server, index: str, station: str) -> list[dict[str, Any]]:
    server.request("POST", f"/{index}/_refresh")
    query = {"query": {"term": {"station.id": station}}, "size": 1000}
    hits = server.request("POST", f"/{index}/_search", query)["hits"]["hits"]
    return [hit["_source"] for hit in hits]


def awaited(
    server: Server, index: str, station: str, done: Callable[[list[dict[str, Any]]], bool]
) -> list[dict[str, Any]]:
    """The summaries of a station, once they are as they are to be; transforms take their time."""
    deadline = time.monotonic() + 120
    while not done(found := summaries(server, index, station)):
        assert time.monotonic() < deadline, (found[:2], _states(server))
    return found


def _states(server: Server) -> Any:
    stats = server.request("GET", "/_transform/clima-*/_stats")["transforms"]
    return [(each["id"], each["state"], each.get("reason")) for each in stats]


def values(documents: list[dict[str, Any]], name: str) -> list[tuple[float, str]]:
    return [
        (each["weather"][name], each["@timestamp"])
        for each in documents
        if each["weather"].get(name) is not None
    ]


def check(summary: dict[str, Any], taken: list[dict[str, Any]]) -> None:
    """That a summary is what these readings come to."""
    hours = {
        datetime.fromisoformat(each["@timestamp"]).astimezone(ZoneInfo(ZONE)).isoformat()[:13]
        for each in taken
    }
    assert len(hours) == summary["hours"]
    assert len(taken) == summary["readings"]
    names = {name for each in taken for name in each["weather"] if values(taken, name)}
    assert names == summary["weather"].keys()
    for name in names:
        found, of = summary["weather"][name], values(taken, name)
        assert len(of) == found["count"], name
        numbers = [number for number, _ in of]
        if name == AMOUNT:
            assert sum(numbers) == pytest.approx(found["sum"])
        elif name == DIRECTION:
            check_direction(found, numbers)
        else:
            check_extremes(found, of)
            assert sum(numbers) / len(numbers) == pytest.approx(found["mean"])


def check_extremes(found: dict[str, Any], of: list[tuple[float, str]]) -> None:
    """The value, and one of the moments at which it was reached."""
    for edge, extreme in (("min", min(of)[0]), ("max", max(of)[0])):
        assert extreme == found[edge]
        moment = datetime.fromisoformat(found[f"{edge}_time"])
        assert moment in {datetime.fromisoformat(at) for number, at in of if number == extreme}


def check_direction(found: dict[str, Any], numbers: list[float]) -> None:
    """The mean of unit vectors."""
    east = sum(math.sin(math.radians(number)) for number in numbers) / len(numbers)
    north = sum(math.cos(math.radians(number)) for number in numbers) / len(numbers)
    assert (east, north) == pytest.approx((found["east"], found["north"]))
    assert math.degrees(math.atan2(east, north)) % 360 == pytest.approx(found["mean"])


def test_days_and_months_are_what_the_readings_come_to(
    hasty: Server, station: str, journal: str
) -> None:
    """By the station's own date; and a reading that comes in late counts in its day and month."""
    taken = list(readings("JFK", station, journal, DAYS))
    store(hasty, taken)
    by_day: dict[str, list[dict[str, Any]]] = {}
    by_month: dict[str, list[dict[str, Any]]] = {}
    for each in taken:
        by_day.setdefault(each["station"]["local_date"], []).append(each)
        by_month.setdefault(each["station"]["local_date"][:7], []).append(each)
    assert {"2013-01", "2013-02"} == by_month.keys()

    def complete(found: list[dict[str, Any]]) -> bool:
        return len(taken) == sum(int(each["readings"]) for each in found)

    for summary in awaited(hasty, "clima-daily", station, complete):
        check(summary, by_day.pop(summary["station"]["local_date"]))
        assert f"Station {station}" == summary["station"]["name"]
    assert {} == by_day
    for summary in awaited(hasty, "clima-monthly", station, complete):
        month = by_month[summary["station"]["local_month"]]
        check(summary, month)
        assert len({each["station"]["local_date"] for each in month}) == summary["days"]

    late = document(station, journal, len(taken) + 1, "2013-01-10T17:30:00Z", {})
    late["weather"] = {"air_temperature": 41.5}
    store(hasty, [late])
    taken.append(late)
    for index, date in (("clima-daily", "2013-01-10"), ("clima-monthly", "2013-01")):
        found = awaited(hasty, index, station, complete)
        (summary,) = (each for each in found if date in each["station"].values())
        check(summary, [each for each in taken if each["station"]["local_date"].startswith(date)])
        assert 41.5 == summary["weather"]["air_temperature"]["max"]


def test_what_is_missing_or_flagged_breaks_nothing(
    hasty: Server, station: str, journal: str
) -> None:
    """Of a day without any usable value there are no values; other stations go on."""
    odd = [
        document(station, journal, number, f"2013-03-01T1{number}:00:00Z", {})
        for number in range(1, 6)
    ]
    odd[0]["weather"] = {"air_temperature": None}
    odd[0]["quality"] = {"air_temperature": ["failed"]}
    del odd[1]["station"]["local_date"]
    odd[2]["station"]["timezone"] = "Nowhere/At_All"
    del odd[3]["weather"]
    odd[4]["station"] = {"id": station, "journal": journal, "local_date": "2013-03-02"}
    store(hasty, odd)
    found = awaited(hasty, "clima-daily", station, lambda found: len(found) == 2)
    days = {each["station"]["local_date"]: each for each in found}
    assert {"2013-03-01": 3, "2013-03-02": 1} == {
        day: each["readings"] for day, each in days.items()
    }
    assert all(not each.get("weather") for each in found)
    assert all(state in ("started", "indexing") for _, state, _ in _states(hasty))


def test_a_quantity_that_older_readings_do_not_know(
    hasty: Server, station: str, journal: str
) -> None:
    """An upgrade brings one: what was stored before it breaks no summary."""
    path = "/_component_template/clima-weather"
    (found,) = hasty.request("GET", path)["component_templates"]
    template = {
        name: found["component_template"][name] for name in ("template", "version", "_meta")
    }
    older = copy.deepcopy(template)
    del older["template"]["mappings"]["properties"]["weather"]["properties"]["wet_bulb_temperature"]
    try:
        hasty.request("PUT", path, older)
        hasty.rollover(WEATHER)
    finally:
        hasty.request("PUT", path, template)
    store(hasty, [document(station, journal, 1, "2013-05-01T10:00:00Z", {"air_temperature": 9.5})])
    hasty.rollover(WEATHER)
    newer = {"air_temperature": 9.0, "wet_bulb_temperature": 7.5}
    store(hasty, [document(station, journal, 2, "2013-05-01T11:00:00Z", newer)])
    (day,) = awaited(hasty, "clima-daily", station, lambda found: [2] == readings_of(found))
    assert 7.5 == day["weather"]["wet_bulb_temperature"]["max"]
    awaited(hasty, "clima-monthly", station, lambda found: [2] == readings_of(found))


def readings_of(summaries: list[dict[str, Any]]) -> list[int]:
    return [int(each["readings"]) for each in summaries]


def test_a_finished_day_stays_when_its_readings_are_deleted(
    hasty: Server, station: str, journal: str
) -> None:
    """Neither a late reading of it nor one of the days around it has it counted anew."""

    def taken(number: int, age: int) -> dict[str, Any]:
        day = (datetime.now(UTC) - timedelta(days=age)).date().isoformat()
        at = f"{day}T{number % 24:02}:00:00Z"
        return document(station, journal, number, at, {"air_temperature": 9.5}) | {
            "station": {"id": station, "journal": journal, "local_date": day}
        }

    def counted(days: list[dict[str, Any]]) -> list[int]:
        return readings_of(sorted(days, key=lambda each: str(each["station"]["local_date"])))

    store(hasty, [*(taken(number, 50) for number in range(1, 6)), taken(6, 0)])
    awaited(hasty, "clima-daily", station, lambda found: [5, 1] == counted(found))

    path = "/_transform/clima-daily"
    source = hasty.request("GET", path)["transforms"][0]["source"]
    hasty.request("POST", f"{path}/_update", {"source": within(source, timedelta(days=30))})
    try:
        of_them = [{"term": {"station.id": station}}, {"range": {"event.sequence": {"lt": 5}}}]
        lost = {"query": {"bool": {"filter": of_them}}}
        hasty.request("POST", f"/{WEATHER}/_delete_by_query?refresh=true", lost)
        store(hasty, [taken(7, 60), taken(8, 50), taken(9, 0)])
        awaited(hasty, "clima-daily", station, lambda found: [5, 2] == counted(found))
    finally:
        hasty.request("POST", f"{path}/_update", {"source": source})


def test_each_station_has_its_newest_reading(hasty: Server, station: str, journal: str) -> None:
    """Whole: where it is, when it was heard of, and the present values."""
    taken = list(readings("LGA", station, journal, 2))
    store(hasty, taken)
    newest = max(taken, key=lambda each: each["@timestamp"])
    (found,) = awaited(
        hasty,
        "clima-stations",
        station,
        lambda found: [newest["@timestamp"]] == [each["@timestamp"] for each in found],
    )
    assert found.pop("event").pop("ingested")
    assert {**newest, "event": None} == {**found, "event": None}
