"""Every panel's search on a real Elasticsearch, against what the source data says.

The expected values are worked out here, from the airports' file or from the documents, by other
means than those under test.
"""

from __future__ import annotations

import asyncio
import csv
import secrets
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from statistics import fmean
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from clima_dashboards import queries
from clima_dashboards.dashboards.weather import MAP, NOW
from clima_dashboards.dashboards.weather import WEATHER as DASHBOARD
from clima_dashboards.model import Curves, Measure, Panel, Rose
from clima_dashboards.reading import view_of
from clima_elk.elasticsearch import install
from tests.dashboards import world
from tests.dashboards.world import RECORDING, YEARS, Written
from tests.elasticsearch_server import Server

END = datetime(2026, 6, 15, 18, 30, tzinfo=UTC)
START = END - timedelta(days=3)
Line = dict[str, str]
OWN = f"queries-{secrets.token_hex(4)}"  # what these stations are called


@pytest.fixture(scope="module")
def stored(elasticsearch: Server) -> Server:
    """Three days of the two airports, and nothing else that the tests look at."""

    async def request(method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        from urllib.error import HTTPError  # noqa: PLC0415

        try:
            answer = elasticsearch.request(method, path, body)
        except HTTPError as error:
            return error.code, error.read()
        return 200, msgspec.json.encode(answer)

    asyncio.run(install(request))
    documents = [
        each
        for each in world.airports(END)
        if START <= datetime.fromisoformat(each.body["@timestamp"])
    ]
    answer = elasticsearch.request("POST", "/_bulk?refresh=true", world.bulk(_own(documents)))
    assert not answer["errors"]
    return elasticsearch


def _own(documents: list[Written]) -> Iterator[Written]:
    """Under names that no other test has."""
    for target, body in documents:
        body["station"]["id"] = f"{OWN}-{body['station']['id']}"
        body["event"]["id"] = f"{OWN}-{body['event']['id']}"
        yield Written(target, body)


def lines(code: str) -> Iterator[tuple[datetime, Line]]:
    """The file's own lines of these days, oldest first."""
    with RECORDING.open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            at = datetime.fromisoformat(line["time"])
            at = at.replace(year=at.year + YEARS)
            if line["station"] == code and START <= at <= END:
                yield at, line


def celsius(text: str) -> float:
    return round((float(text) - 32) / 1.8, 2)


def ask(server: Server, panel: Panel, codes: str = "jfk lga") -> Any:
    """The panel's search over all that was stored, as the dashboard's control narrows it."""
    time = {"@timestamp": {"gte": START.isoformat(), "lte": END.isoformat()}}
    stations = [f"{OWN}-{code}" for code in codes.split()]
    query = {"bool": {"filter": [{"range": time}, {"terms": {"station.id": stations}}]}}
    body = queries.search(panel) | {"query": query}
    answer = server.request("POST", f"/{view_of(panel).pattern}/_search", body)
    assert 0 == answer["_shards"]["failed"]
    return answer["aggregations"]


def panel(key: str) -> Panel:
    (found,) = (each for each in DASHBOARD.panels() if each.key == key)
    return found


def newest(bucket: Any, name: str) -> float | None:
    hits = bucket[name]["newest"]["hits"]["hits"]
    (values,) = hits[0]["fields"].values() if hits else ([None],)
    return float(values[0]) if values[0] is not None else None


def test_the_board_shows_the_newest_and_todays_extremes(stored: Server) -> None:
    """Of each station, on its own local day; what it does not measure is not there."""
    buckets = ask(stored, NOW)["stations"]["buckets"]
    assert [f"{OWN}-jfk", f"{OWN}-lga"] == [each["key"] for each in buckets]
    for code, bucket in zip(("JFK", "LGA"), buckets, strict=True):
        own = list(lines(code))
        zone = ZoneInfo("America/New_York")
        today = [line for at, line in own if at.astimezone(zone).date() == END.date()]
        temperatures = [celsius(each["temperature_f"]) for each in today if each["temperature_f"]]
        rain = [float(each["precipitation_in"]) for each in today if each["precipitation_in"]]
        now = [celsius(line["temperature_f"]) for _, line in own if line["temperature_f"]][-1]
        (day,) = bucket["today"]["buckets"]

        assert now == newest(bucket, "c0v")
        assert min(temperatures) == day["c0b0"]["value"]
        assert max(temperatures) == day["c0b1"]["value"]
        assert pytest.approx(sum(rain) * 25.4, abs=0.01 * len(rain)) == day["c5v"]["value"]
        assert len(rain) == day["c5vn"]["value"]
        assert newest(bucket, "c6v") is None  # no airport has a light meter


def test_the_map_knows_where_the_stations_are(stored: Server) -> None:
    """And what the thermometer, the barometer and the vane there said last."""
    buckets = ask(stored, MAP)["stations"]["buckets"]
    for code, bucket in zip(("JFK", "LGA"), buckets, strict=True):
        station = world.AIRPORTS[code]
        assert pytest.approx(station.latitude, abs=1e-6) == bucket["place"]["location"]["lat"]
        assert pytest.approx(station.longitude, abs=1e-6) == bucket["place"]["location"]["lon"]
        own = [line for _, line in lines(code)]
        pressure = [
            line["sea_level_pressure_hpa"] for line in own if line["sea_level_pressure_hpa"]
        ]
        direction = [line["wind_direction_deg"] for line in own if line["wind_direction_deg"]]
        assert float(pressure[-1]) == newest(bucket, "v2")
        assert float(direction[-1]) == newest(bucket, "v3")


def test_curves_are_means_of_what_was_measured(stored: Server) -> None:
    """Each bucket of time: the mean of the temperatures that fall into it."""
    found = ask(stored, panel("temperature"), "jfk")["b0"]
    expected: dict[str, list[float]] = {}
    keys = [datetime.fromtimestamp(each["key"] / 1000, UTC) for each in found["buckets"]]
    for at, line in lines("JFK"):
        start = max(key for key in keys if key <= at)
        if line["temperature_f"]:
            expected.setdefault(start.isoformat(), []).append(celsius(line["temperature_f"]))
    for key, bucket in zip(keys, found["buckets"], strict=True):
        own = expected.get(key.isoformat())
        mean = pytest.approx(sum(own) / len(own)) if own else None
        assert mean == bucket["m0"]["value"]


def test_rain_is_summed_per_station(stored: Server) -> None:
    """Over all buckets it is all the rain that fell."""
    found = ask(stored, panel("rain"))["b0"]["buckets"]
    for code in ("JFK", "LGA"):
        rain = [
            float(line["precipitation_in"]) for _, line in lines(code) if line["precipitation_in"]
        ]
        got = sum(
            bucket["m0"]["value"]
            for time in found
            for bucket in time["b1"]["buckets"]
            if bucket["key"] == f"{OWN}-{code.lower()}"
        )
        assert pytest.approx(sum(rain) * 25.4, abs=0.01 * len(rain)) == got


def test_gusts_are_the_greatest_of_their_time(stored: Server) -> None:
    """A mean of gusts would be no gust."""
    found = ask(stored, panel("gusts"), "lga")["b0"]["buckets"]
    gusts = [float(line["wind_gust_mph"]) for _, line in lines("LGA") if line["wind_gust_mph"]]
    got = [
        value
        for each in found
        for station in each["b1"]["buckets"]
        if (value := station["m0"]["value"]) is not None
    ]
    assert pytest.approx(max(gusts) * 0.44704, abs=0.005) == max(got)


def test_the_rose_counts_every_reading_with_wind_once(stored: Server) -> None:
    """By sector around north and by class of speed; calm is by itself."""
    rose = panel("rose")
    assert isinstance(rose, Rose)
    found = ask(stored, rose, "jfk")
    expected: dict[tuple[int, int], int] = {}
    calm = with_speed = 0
    for _, line in lines("JFK"):
        if not line["wind_speed_mph"]:
            continue
        with_speed += 1
        speed = float(line["wind_speed_mph"]) * 0.44704
        calm += speed < rose.classes[0]
        if line["wind_direction_deg"] and speed >= rose.classes[0]:
            sector = round(float(line["wind_direction_deg"]) / 22.5) % 16
            strength = sum(speed >= low for low in rose.classes) - 1
            expected[sector, strength] = expected.get((sector, strength), 0) + 1
    got: dict[tuple[int, int], int] = {}
    for bucket in found["sectors"]["buckets"]:
        sector = round((bucket["key"] + 11.25) / 22.5) % 16
        for each in bucket["speeds"]["buckets"]:
            if each["doc_count"]:
                place = sector, int(each["key"])
                got[place] = got.get(place, 0) + each["doc_count"]

    assert expected == got
    assert (calm, with_speed) == (found["calm"]["doc_count"], found["all"]["value"])


@pytest.mark.parametrize(
    "panel",
    [pytest.param(each, id=each.key) for each in DASHBOARD.panels() if isinstance(each, Curves)],
)
def test_every_curve_is_what_was_measured(stored: Server, panel: Curves) -> None:
    """Each bucket of time, and station where there is one line each: all readings, and no other."""
    found = ask(stored, panel)["b0"]["buckets"]
    for n, measure in enumerate(panel.measures):
        assert isinstance(measure, Measure)
        for station in ("jfk", "lga") if panel.by else (None,):
            got = {}
            for time in found:
                for bucket in time["b1"]["buckets"] if panel.by else [time]:
                    if station is None or bucket["key"] == f"{OWN}-{station}":
                        got[time["key"]] = bucket[f"m{n}"]["value"]
            values = _by_half_hour(measure.field.name.removeprefix("weather."), station)
            right = {key: WAYS[measure.function](each) for key, each in values.items()}
            shown = {key: value for key, value in got.items() if value is not None and key in right}
            assert {key: pytest.approx(value, abs=1e-6) for key, value in right.items()} == shown
            others = {value for key, value in got.items() if key not in right}
            assert others <= {None, 0.0}  # the sum of nothing


WAYS: dict[str, Callable[[list[float]], float]] = {"average": fmean, "max": max, "sum": sum}


def _by_half_hour(quantity: str, station: str | None) -> dict[int, list[float]]:
    """What the agent made of the file, by the beginning of the half hour, in milliseconds."""
    values: dict[int, list[float]] = {}
    for each in world.airports(END):
        at = datetime.fromisoformat(each.body["@timestamp"])
        value = each.body["weather"].get(quantity)
        if at >= START and value is not None and station in {None, each.body["station"]["id"]}:
            start = int(at.timestamp()) // 1800 * 1800_000
            values.setdefault(start, []).append(value)
    return values
