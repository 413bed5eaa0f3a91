"""The searches of Stations, Logs and Climate on a real Elasticsearch, against the documents.

Runtime fields and summaries need a server with all modules; the rest asks any.
"""

from __future__ import annotations

import asyncio
import math
import secrets
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from statistics import fmean
from typing import Any
from urllib.error import HTTPError

import msgspec
import pytest

from clima_dashboards import fields as f
from clima_dashboards import queries
from clima_dashboards.catalogue import catalogue
from clima_dashboards.dashboards.climate import CLIMATE
from clima_dashboards.dashboards.logs import LOGS
from clima_dashboards.dashboards.stations import STATIONS
from clima_dashboards.fields import View
from clima_dashboards.model import Dashboard, Panel, Terms
from clima_dashboards.reading import buckets, fields, view_of
from clima_dashboards.rules import RULES, Connectors, rule_body
from clima_elk.elasticsearch import install
from tests.dashboards import world
from tests.dashboards.world import BALCONY, ROOF, Document, Written
from tests.elasticsearch_server import Server

NOW = datetime(2026, 3, 20, 18, 30, tzinfo=UTC)
OWN = f"own-{secrets.token_hex(4)}"
DAYS = 3
Documents = dict[str, list[Document]]


def everything() -> Iterator[Written]:
    """All that the made-up stations send in three days, under names of this run's own."""
    sources = (
        world.made_up(NOW, DAYS),
        world.health(NOW),
        world.logs(NOW),
        world.dead_letters(NOW),
    )
    for source in sources:
        for target, body in source:
            if "station" not in body:  # the forwarder's: they are nobody's, and of all runs
                continue
            body["station"] = body["station"] | {"id": f"{OWN}-{body['station']['id']}"}
            body["event"] = body["event"] | {"id": f"{OWN}-{body['event']['id']}"}
            yield Written(target, body)


@pytest.fixture(scope="module")
def documents() -> Documents:
    """By data stream."""
    found: Documents = defaultdict(list)
    for target, body in everything():
        found[target].append(body)
    return found


@pytest.fixture(scope="module")
def stored(elasticsearch: Server, documents: Documents) -> Server:
    """A server that has them."""
    _store(elasticsearch, documents)
    return elasticsearch


def _store(server: Server, documents: Documents) -> None:
    async def request(method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        try:
            return 200, msgspec.json.encode(server.request(method, path, body))
        except HTTPError as error:
            return error.code, error.read()

    asyncio.run(install(request))
    written = [Written(target, body) for target, each in documents.items() for body in each]
    answer = server.request("POST", "/_bulk?refresh=true", world.bulk(written))
    assert not answer["errors"]


def panel(dashboard: Dashboard, key: str) -> Panel:
    (found,) = (each for each in dashboard.panels() if each.key == key)
    return found


def ask(server: Server, asked: Panel, view: View | None = None) -> Any:
    """The panel's search, narrowed to the two stations as the dashboard's control does."""
    ids = [f"{OWN}-{each.id}" for each in (BALCONY, ROOF)]
    filters: list[Document] = [{"terms": {"station.id": ids}}]
    if asked.where:
        filters.append(queries.kql(asked.where))
    body = queries.search(asked) | {"query": {"bool": {"filter": filters}}}
    answer = server.request("POST", f"/{(view or view_of(asked)).pattern}/_search", body)
    assert 0 == answer["_shards"]["failed"]
    return answer


def of(documents: list[Document], station: str) -> list[Document]:
    return [each for each in documents if each["station"]["id"] == f"{OWN}-{station}"]


def newest(bucket: Any) -> Any:
    (hit,) = bucket["newest"]["hits"]["hits"]
    ((value,),) = hit["fields"].values()
    return value


def test_health_is_what_was_last_reported(stored: Server, documents: Documents) -> None:
    """A row per station: its newest report, column by column."""
    asked = panel(STATIONS, "health")
    rows = ask(stored, asked)["aggregations"]["b0"]["buckets"]
    assert 2 == len(rows)
    for row in rows:
        station = row["key"].removeprefix(f"{OWN}-")
        reports = of(documents["metrics-clima.station-default"], station)
        last = max(reports, key=lambda each: each["@timestamp"])["health"]
        got = [newest(row[f"m{n}"]) for n in range(6)]
        names = ("spool_waiting", "spool_oldest_age", "cpu_temperature", "disk_free", "wifi_signal")
        assert [*(last[name] for name in names), last["uptime"]] == got


def test_no_station_is_left_out_of_its_health(stored: Server) -> None:
    """However many there are: the one at the end of the alphabet may be the one that is ill."""
    at = {"@timestamp": "2026-03-20T18:00:00Z"}
    ids = {f"{OWN}-school-{n}" for n in range(1, 131)}
    reports = [
        Written("metrics-clima.station-default", at | {"station": {"id": each}}) for each in ids
    ]
    answer = stored.request("POST", "/_bulk?refresh=true", world.bulk(reports))
    assert not answer["errors"]
    asked = panel(STATIONS, "health")
    query = {"query": {"prefix": {"station.id": f"{OWN}-school-"}}}
    path = f"/{view_of(asked).pattern}/_search"
    found = stored.request("POST", path, queries.search(asked) | query)
    assert ids == {each["key"] for each in found["aggregations"]["b0"]["buckets"]}


@pytest.mark.parametrize("key", ["seen", "health", "complete"])
def test_a_table_of_stations_has_room_for_all(key: str) -> None:
    """Kibana sorts the rows that it gets: what is not among them shows nowhere."""
    station = buckets(panel(STATIONS, key))[0]
    assert isinstance(station, Terms)
    assert station.size >= 1000


@pytest.mark.parametrize(
    ("key", "name", "pick"),
    [
        ("spool", "spool_waiting", max),
        ("cpu", "cpu_temperature", max),
        ("disk", "disk_free", min),
    ],
)
def test_curves_of_health_keep_the_worst_of_each_time(
    stored: Server,
    documents: Documents,
    key: str,
    name: str,
    pick: Callable[[list[float]], float],
) -> None:
    """The highest temperature and the longest queue, and the least room."""
    found = ask(stored, panel(STATIONS, key))["aggregations"]["b0"]["buckets"]
    for station in (BALCONY.id, ROOF.id):
        values = [
            each["health"][name] for each in of(documents["metrics-clima.station-default"], station)
        ]
        got = [
            bucket["m0"]["value"]
            for time in found
            for bucket in time["b1"]["buckets"]
            if bucket["key"] == f"{OWN}-{station}"
        ]
        assert pick(values) == pick(got)


def test_wifi_is_the_mean_of_each_time(stored: Server, documents: Documents) -> None:
    """Half hour by half hour: one weak moment is no weak signal."""
    found = ask(stored, panel(STATIONS, "wifi"))["aggregations"]["b0"]["buckets"]
    for station in (BALCONY.id, ROOF.id):
        signals: dict[int, list[float]] = defaultdict(list)
        for each in of(documents["metrics-clima.station-default"], station):
            start = int(datetime.fromisoformat(each["@timestamp"]).timestamp()) // 1800 * 1800_000
            signals[start].append(each["health"]["wifi_signal"])
        got = {
            time["key"]: bucket["m0"]["value"]
            for time in found
            for bucket in time["b1"]["buckets"]
            if bucket["key"] == f"{OWN}-{station}"
        }
        assert {start: pytest.approx(fmean(each)) for start, each in signals.items()} == got


def test_flags_are_counted_by_quantity(stored: Server, documents: Documents) -> None:
    """Each reading with a flag, in the column of its quantity."""
    found = ask(stored, panel(STATIONS, "flags"))["aggregations"]["b0"]["buckets"]
    readings = documents["metrics-clima.weather-default"]
    flagged = sum("air_temperature" in each.get("quality", {}) for each in readings)
    assert flagged > 0
    assert flagged == sum(each["m0"]["value"]["value"] for each in found)


def test_dead_letters_are_counted_by_reason_and_shown_whole(
    stored: Server, documents: Documents
) -> None:
    """The newest first, each with its message."""
    letters = documents["logs-clima.deadletter-default"]
    counted: dict[str, int] = defaultdict(int)
    for time in ask(stored, panel(STATIONS, "dead"))["aggregations"]["b0"]["buckets"]:
        for bucket in time["b1"]["buckets"]:
            counted[bucket["key"]] += bucket["m0"]["value"]
    assert {"document": 2, "station": 1} == counted

    hits = ask(stored, panel(STATIONS, "letters"))["hits"]["hits"]
    expected = sorted(letters, key=lambda each: each["@timestamp"], reverse=True)
    assert [each["error"]["message"] for each in expected] == [
        hit["_source"]["error"]["message"] for hit in hits
    ]


def test_an_alert_is_found_by_each_station_that_it_names(stored: Server) -> None:
    """As the control asks, and as the rules write: several ids, and a blank after the last."""
    (silent,) = (rule for rule in RULES if rule.key == "silent")
    index, _ = rule_body(silent, Connectors("", ""), catalogue("en"))["actions"]
    written = index["params"]["documents"][0]["station"]["id"]
    start, each, end = "{{#context.hits}}", "{{_source.station.id}}", "{{/context.hits}}"
    one = written.removeprefix(start).removesuffix(end)
    roof, barn, other = (f"{OWN}-{name}" for name in ("roof", "barn", "roof-2"))
    told = [[roof], [roof, barn], [barn, roof], [other], [barn]]
    for ids in told:
        body = {"station": {"id": "".join(one.replace(each, name) for name in ids)}}
        stored.request("POST", "/clima-alerts/_doc?refresh=true", body | {"labels": ids})
    query = {"query": {"match_phrase": {"station.id": roof}}}
    hits = stored.request("POST", "/clima-alerts/_search", query)["hits"]["hits"]
    found = sorted(hit["_source"]["labels"] for hit in hits)
    assert sorted(ids for ids in told if roof in ids) == found


def test_lines_are_counted_by_level(stored: Server, documents: Documents) -> None:
    """Errors, warnings and the rest: three columns that add up to all lines."""
    lines = documents["logs-clima.agent-default"]
    levels = [each["log"]["level"] for each in lines]
    found = ask(stored, panel(LOGS, "levels"))["aggregations"]["b0"]["buckets"]
    got = [sum(each[f"m{n}"]["value"]["value"] for each in found) for n in range(3)]

    assert [levels.count(level) for level in ("error", "warning", "info")] == got
    assert len(lines) == sum(got)


def test_lines_are_counted_by_station(stored: Server, documents: Documents) -> None:
    """Half hour by half hour; what the forwarder says is no station's, and counts as that."""
    said = [
        Written(target, body | {"log": body["log"] | {"logger": OWN}})
        for target, body in world.logs(NOW)
        if "station" not in body
    ]
    stored.request("POST", "/_bulk?refresh=true", world.bulk(said))
    own = [{"prefix": {"station.id": OWN}}, {"term": {"log.logger": OWN}}]
    asked = panel(LOGS, "stations")
    body = queries.search(asked) | {"query": {"bool": {"should": own}}}
    answer = stored.request("POST", f"/{view_of(asked).pattern}/_search", body)

    expected: dict[tuple[int, str], int] = defaultdict(int)
    for each in (*documents["logs-clima.agent-default"], *(body for _, body in said)):
        start = int(datetime.fromisoformat(each["@timestamp"]).timestamp()) // 1800 * 1800_000
        expected[start, each.get("station", {}).get("id", queries.MISSING)] += 1
    assert expected == {
        (time["key"], bucket["key"]): bucket["m0"]["value"]
        for time in answer["aggregations"]["b0"]["buckets"]
        for bucket in time["b1"]["buckets"]
    }


def test_errors_leave_out_what_is_none(stored: Server, documents: Documents) -> None:
    """Warnings and errors alone, the newest first."""
    lines = documents["logs-clima.agent-default"]
    bad = [each for each in lines if each["log"]["level"] != "info"]
    hits = ask(stored, panel(LOGS, "errors"))["hits"]["hits"]
    assert sorted((each["@timestamp"] for each in bad), reverse=True) == [
        hit["_source"]["@timestamp"] for hit in hits
    ]


@pytest.fixture(scope="module")
def full(full_elasticsearch: Server, documents: Documents) -> Server:
    """A server with all modules that has the documents, and what the transforms make of them."""
    _store(full_elasticsearch, documents)
    days: dict[tuple[str, str], list[Document]] = defaultdict(list)
    for each in documents["metrics-clima.weather-default"]:
        days[each["station"]["id"], each["station"]["local_date"]].append(each)
    for (station, date), own in days.items():
        path = f"/clima-daily/_doc/{station}:{date}?refresh=true"
        full_elasticsearch.request("PUT", path, _day(station, date, own))
    return full_elasticsearch


def _day(station: str, date: str, readings: list[Document]) -> Document:
    values = [
        value for each in readings if (value := each["weather"].get("air_temperature")) is not None
    ]
    rain = [each["weather"].get("precipitation_amount") for each in readings]
    summed = sum(value for value in rain if value is not None)
    noon = f"{date}T17:00:00Z"  # months are made of days: they must be whole
    summary = {"min": min(values), "max": max(values), "mean": sum(values) / len(values)}
    times = {"min_time": noon, "max_time": noon, "count": len(values)}
    weather: Document = {"air_temperature": {**summary, **times}}
    if station.endswith(ROOF.id):
        weather["precipitation_amount"] = {"sum": summed, "count": len(rain)}
    return {
        "station": {"id": station, "local_date": date},
        "event": {"start": noon, "end": noon},
        "weather": weather,
    }


def test_what_is_missing_shows(full: Server, documents: Documents) -> None:
    """Present against the span of sequences: the roof lost two hours, the balcony nothing."""
    rows = ask(full, panel(STATIONS, "complete"))["aggregations"]["b0"]["buckets"]
    for row in rows:
        own = of(documents["metrics-clima.weather-default"], row["key"].removeprefix(f"{OWN}-"))
        sequences = [each["event"]["sequence"] for each in own]
        (journal,) = row["b1"]["buckets"]
        high, low, present = (journal[f"m1X{n}"]["value"] for n in (0, 1, 2))
        assert (max(sequences), min(sequences), len(own)) == (high, low, present)
        lost = 120 if row["key"].endswith(ROOF.id) else 0
        assert lost == high - low + 1 - present
        late = journal["m3"]["values"]["50.0"]
        assert late > 0  # they were stored long after they were measured


def test_the_heat_map_has_the_hours_of_the_stations_own_day(
    full: Server, documents: Documents
) -> None:
    """Two digits each, so that they are in order; by the station's time zone, and so is the day."""
    found = ask(full, panel(CLIMATE, "hours"), f.WEATHER)["aggregations"]["b0"]["buckets"]
    got = {
        (day["key_as_string"][:10], hour["key"]): hour["doc_count"]
        for day in found
        for hour in day["b1"]["buckets"]
    }
    expected: dict[tuple[str, str], int] = defaultdict(int)
    for each in documents["metrics-clima.weather-default"]:
        zone = timedelta(hours=-4)  # New York has summer time in these days
        local = datetime.fromisoformat(each["@timestamp"]) + zone
        expected[f"{local:%Y-%m-%d}", f"{local:%H}"] += 1
    assert expected == got


def test_the_band_is_from_the_least_to_the_greatest(full: Server, documents: Documents) -> None:
    """Of all chosen stations, day by day."""
    found = ask(full, panel(CLIMATE, "band"))["aggregations"]["times"]["buckets"]
    by_day: dict[str, list[float]] = defaultdict(list)
    for each in documents["metrics-clima.weather-default"]:
        value = each["weather"].get("air_temperature")
        if value is not None:
            by_day[each["station"]["local_date"]].append(value)
    assert len(by_day) == len(found)
    for (_, values), bucket in zip(sorted(by_day.items()), found, strict=True):
        assert (min(values), max(values)) == (bucket["low"]["value"], bucket["high"]["value"])


def test_records_have_their_dates(full: Server, documents: Documents) -> None:
    """The hottest day of each station; where it never rained into a gauge, no wettest one."""
    buckets = ask(full, panel(CLIMATE, "records"))["aggregations"]["stations"]["buckets"]
    for bucket in buckets:
        own = of(documents["metrics-clima.weather-default"], bucket["key"].removeprefix(f"{OWN}-"))
        values = {
            each["station"]["local_date"]: value
            for each in sorted(own, key=lambda one: one["weather"].get("air_temperature") or -99)
            if (value := each["weather"].get("air_temperature")) is not None
        }
        (hit,) = bucket["r0"]["best"]["hits"]["hits"]
        (date,), (value,) = (hit["fields"][name] for name in (f.LOCAL_DAY.name, f.DAY_HIGHEST.name))
        assert math.isclose(max(values.values()), value)
        assert values[date[:10]] == value
        assert bucket["key"].endswith(ROOF.id) == bool(bucket["r2"]["best"]["hits"]["hits"])


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param(each, id=f"{dashboard.key}-{each.key}")
        for dashboard in (STATIONS, LOGS, CLIMATE)
        for each in dashboard.panels()
        if fields(each)
    ],
)
def test_a_server_with_all_modules_understands_every_search(full: Server, asked: Panel) -> None:
    """No shard fails, whatever the panel asks for."""
    assert ask(full, asked)["hits"]["total"]["value"] >= 0
