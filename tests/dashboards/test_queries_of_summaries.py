"""The searches over days, months and years, and over the newest reading of each station.

Two airports' years are put behind one another as one station's: LaGuardia's is last year, Kennedy's
this one. Expected values come from the airports' file itself.
"""

from __future__ import annotations

import csv
import secrets
from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from statistics import fmean
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from clima_dashboards import fields as f
from clima_dashboards import queries
from clima_dashboards.dashboards.climate import CLIMATE
from clima_dashboards.dashboards.stations import STATIONS
from clima_dashboards.model import Dashboard, Panel
from clima_dashboards.reading import view_of
from tests.dashboards.world import RECORDING
from tests.elasticsearch_server import Server

OWN = f"own-{secrets.token_hex(4)}"
RECORDED = 2013
THIS, LAST = 2026, 2025
WHOSE = {LAST: "LGA", THIS: "JFK"}
TODAY = date(THIS, 10, 20)
NEW_YORK = ZoneInfo("America/New_York")
Day = tuple[list[float], list[float]]  # temperatures in °C, rain in mm


def days(year: int) -> dict[date, Day]:
    """What the file says of each day, by the airport's own date, up to today."""
    found: dict[date, Day] = defaultdict(lambda: ([], []))
    with RECORDING.open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            at = datetime.fromisoformat(line["time"]).astimezone(NEW_YORK)
            if line["station"] != WHOSE[year] or at.year != RECORDED:
                continue
            day = found[at.date().replace(year=year)]
            if line["temperature_f"]:
                day[0].append((float(line["temperature_f"]) - 32) / 1.8)
            if line["precipitation_in"]:
                day[1].append(float(line["precipitation_in"]) * 25.4)
    return {day: values for day, values in sorted(found.items()) if day <= TODAY.replace(year=year)}


def months(year: int) -> dict[str, list[Day]]:
    found: dict[str, list[Day]] = defaultdict(list)
    for day, values in days(year).items():
        found[f"{day:%Y-%m}"].append(values)
    return found


def summary(day: date, temperatures: list[float], rain: list[float]) -> dict[str, Any]:
    """A day as the transform writes it; whole, for months are made of it."""
    noon = f"{day}T17:00:00Z"
    air: dict[str, Any] = {"count": len(temperatures)}
    if temperatures:
        air |= {"min": min(temperatures), "max": max(temperatures), "mean": fmean(temperatures)}
        air |= {"min_time": noon, "max_time": noon}
    return {
        "station": {"id": OWN, "local_date": f"{day}"},
        "event": {"start": noon, "end": noon},
        "readings": len(temperatures),
        "hours": 24,
        "weather": {
            "air_temperature": air,
            "precipitation_amount": {"sum": sum(rain), "count": len(rain)},
        },
    }


@pytest.fixture(scope="module")
def stored(full_elasticsearch: Server) -> Server:
    """A server that has each day's summary, as the transform writes it."""
    lines: list[dict[str, Any]] = []
    for year in WHOSE:
        for day, values in days(year).items():
            lines.append({"index": {"_index": "clima-daily", "_id": f"{OWN}:{day}"}})
            lines.append(summary(day, *values))
    body = b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
    assert not full_elasticsearch.request("POST", "/_bulk?refresh=true", body)["errors"]
    return full_elasticsearch


def panel(dashboard: Dashboard, key: str) -> Panel:
    (found,) = (each for each in dashboard.panels() if each.key == key)
    return found


def of_year(server: Server, asked: Panel, year: int) -> dict[str, Any]:
    """The panel's buckets over the days of a year up to today, by month."""
    span = {"gte": f"{year}-01-01", "lte": f"{TODAY.replace(year=year)}T23:59:59Z"}
    filters = [{"term": {"station.id": OWN}}, {"range": {f.DAY.name: span}}]
    body = queries.search(asked) | {"query": {"bool": {"filter": filters}}}
    body["runtime_mappings"] = {
        name: {"type": each.type, "script": {"source": each.script}}
        for name, each in view_of(asked).runtime.items()
    }
    answer = server.request("POST", f"/{view_of(asked).pattern}/_search", body)
    return {each["key_as_string"][:7]: each for each in answer["aggregations"]["b0"]["buckets"]}


def test_rain_is_the_sum_of_each_month(stored: Server) -> None:
    """Of the station's own days: rain of the last evening is not the next month's."""
    found = of_year(stored, panel(CLIMATE, "rain"), THIS)
    got = {}
    for month, bucket in found.items():
        (station,) = bucket["b1"]["buckets"]
        assert OWN == station["key"]
        got[month] = station["m0"]["value"]
    assert {
        month: pytest.approx(sum(sum(rain) for _, rain in each))
        for month, each in months(THIS).items()
    } == got
    assert 10 == len(got)


def test_this_year_and_the_last_stand_side_by_side(stored: Server) -> None:
    """The mean of the days' means, month by month; last year's is of the same part of the year."""
    asked = panel(CLIMATE, "years")
    for year, measure in ((THIS, "m0"), (LAST, "m1")):
        got = {
            month: bucket[measure]["value"]
            for month, bucket in of_year(stored, asked, year).items()
        }
        assert {
            month: pytest.approx(fmean(fmean(values) for values, _ in each if values))
            for month, each in months(year).items()
        } == got


def test_the_age_of_what_was_last_heard_grows(full_elasticsearch: Server) -> None:
    """A row per station: its newest reading, and how long ago that is by the server's clock.

    A station whose clock is ahead has one too: its newest reading is as of now.
    """
    ages = {
        f"{OWN}-fresh": timedelta(seconds=90),
        f"{OWN}-silent": timedelta(days=3, hours=2),
        f"{OWN}-ahead": timedelta(minutes=-8),
    }
    began = datetime.now(UTC)
    seen = {station: (began - age).replace(microsecond=0) for station, age in ages.items()}
    for station, at in seen.items():
        came_in = {"ingested": min(at, began).isoformat()}
        body = {"@timestamp": at.isoformat(), "event": came_in, "station": {"id": station}}
        full_elasticsearch.request("PUT", f"/clima-stations/_doc/{station}?refresh=true", body)
    asked = panel(STATIONS, "seen")
    query = {"bool": {"filter": [{"terms": {"station.id": list(ages)}}, queries.kql(asked.where)]}}
    body = queries.search(asked) | {"query": query}
    answer = full_elasticsearch.request("POST", "/clima-stations/_search", body)
    ended = datetime.now(UTC)

    rows = {each["key"]: each for each in answer["aggregations"]["b0"]["buckets"]}
    assert ages.keys() == rows.keys()
    for station, at in seen.items():
        (hit,) = rows[station]["m0"]["newest"]["hits"]["hits"]
        assert at == datetime.fromisoformat(hit["fields"]["@timestamp"][0])
        age = rows[station]["m1"]["value"]
        least, most = ((now - at).total_seconds() for now in (began, ended))
        assert max(0, least - 1) <= age <= max(0, most + 1)
