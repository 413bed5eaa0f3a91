"""The pipelines in a real Logstash: records in, documents in Elasticsearch out."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from clima_core.identity import DATA_SETS, DEAD_LETTERS, FORWARDER_LOGS, Lane, Stream, event_id
from clima_elk import elasticsearch
from clima_forwarder.outputs.base import DeadLetter
from clima_forwarder.outputs.elasticsearch.output import _letter
from tests import logstash_server
from tests.conftest import missing
from tests.logstash_server import Logstash

Record = dict[str, Any]
DATA = ",".join(stream.name for stream in DATA_SETS.values())
STORED_S = 30.0
SENT: list[tuple[str, Stream, Record]] = [
    ("numbers", "w", {"weather": {"air_temperature": 21.0, "air_pressure": 9, "wind_speed": 1e-7}}),
    ("decimals", "w", {"weather": {"wind_speed": 0.1, "visibility_in_air": 123456.789012345}}),
    ("below nought", "w", {"weather": {"air_temperature": -40.0, "dew_point_temperature": -0.01}}),
    ("null", "w", {"weather": {"wind_speed": None}, "quality": {"wind_speed": ["failed"]}}),
    ("empty", "w", {"weather": {}, "sensor": {}, "quality": {"clock": []}}),
    ("sensors", "w", {"sensor": {"bme280": {"air_temperature": 20.98}, "a[b]": {"t": 1.5}}}),
    ("created", "w", {"event": {"created": "2026-11-22T01:00:00.000Z"}}),
    ("milliseconds", "w", {"@timestamp": "2013-01-01T06:00:00.120Z"}),
    ("whole seconds", "w", {"@timestamp": "2013-01-01T06:00:00.000Z"}),
    ("place", "w", {"station": {"name": "é 𝄞 \"'\\", "location": {"lat": 52.5, "lon": -13.0}}}),
    ("labels", "w", {"labels": {"@version": "7", "tags": "x", "id": "%{[event][id]}"}}),
    ("health", "s", {"health": {"memory_available": 9007199254740993, "uptime": 12.0}}),
    ("log", "l", {"message": "two\nlines", "log": {"level": "info"}, "error": {"type": "OSError"}}),
]  # fmt: skip


@pytest.fixture(scope="session")
def logstash(request: pytest.FixtureRequest) -> Iterator[Logstash]:
    """A real Logstash that writes into a real Elasticsearch with our templates."""
    server = logstash_server.given()
    if server is None and logstash_server.provider():
        server = logstash_server.launch(request.getfixturevalue("elasticsearch").url)
    if server is None:
        missing("logstash", "no Logstash: see tests/logstash_server.py for how")
        return
    given = server

    async def ask(method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        return given.store(method, path, body and msgspec.Raw(body))

    asyncio.run(elasticsearch.install(ask))
    yield given
    given.stop()


def record(station: str, journal: str, sequence: int = 1, stream: Stream = "w") -> Record:
    """The least that a record has."""
    return {
        "@timestamp": "2026-11-22T01:00:00.001Z",
        "data_stream": DATA_SETS[stream]._asdict(),
        "event": {"id": event_id(station, Lane(journal, stream), sequence), "sequence": sequence},
        "station": {"id": station, "journal": journal},
    }


def merged(one: Record, other: Record) -> Record:
    """The one, and in it the other."""
    both = dict(one)
    for name, value in other.items():
        nested = isinstance(value, dict) and isinstance(both.get(name), dict)
        both[name] = merged(both[name], value) if nested else value
    return both


def ndjson(*records: Any) -> bytes:
    return b"".join(msgspec.json.encode(each) + b"\n" for each in records)


def until(wanted: Callable[[], list[Record]], count: int = 1) -> list[Record]:
    """What it finds, as soon as that is as many as expected."""
    deadline = time.monotonic() + STORED_S
    while len(found := wanted()) < count and time.monotonic() < deadline:
        time.sleep(0.2)
    assert len(found) == count
    return found


def stored(logstash: Logstash, station: str, count: int = 1) -> list[Record]:
    """The station's documents among the data, once so many are there."""
    query = {"term": {"station.id": station}}
    return until(lambda: logstash.search(DATA, query), count)


def letters(logstash: Logstash, station: str, count: int = 1) -> list[Record]:
    """The dead letters of which the original names the station, once so many are there."""

    def found() -> list[Record]:
        hits = logstash.search(DEAD_LETTERS.name, {"range": {"@timestamp": {"gte": "now-10m"}}})
        return [hit for hit in hits if station in hit["_source"]["event"]["original"]]

    return until(found, count)


def moment(text: str) -> datetime:
    return msgspec.convert(text, datetime)


def as_sent(document: Record) -> Record:
    """Without what Elasticsearch adds; Logstash 8.3 writes no milliseconds where there are none."""
    event = {name: value for name, value in document["event"].items() if name != "ingested"}
    return {**document, "event": event, "@timestamp": moment(document["@timestamp"])}


@pytest.mark.parametrize(
    ("stream", "fields"), [each[1:] for each in SENT], ids=[e[0] for e in SENT]
)
def test_what_is_stored_is_what_was_sent(
    logstash: Logstash, station: str, journal: str, stream: Stream, fields: Record
) -> None:
    """Field for field, in the data stream that the record names, under its own identity."""
    sent = merged(record(station, journal, stream=stream), fields)
    assert logstash.post(ndjson(sent)).status == 200
    (hit,) = stored(logstash, station)
    assert as_sent(hit["_source"]) == as_sent(sent)
    assert hit["_id"] == sent["event"]["id"]
    assert DATA_SETS[stream].name in hit["_index"]


def test_every_line_arrives_whatever_the_request_calls_them(
    logstash: Logstash, station: str, journal: str
) -> None:
    """Lines are lines: as `application/json`, too, and without a newline at the end."""
    lines = [record(station, journal, sequence) for sequence in range(1, 301)]
    body = ndjson(*lines[:150])
    assert logstash.post(body, content_type="application/json").status == 200
    assert logstash.post(ndjson(*lines[150:]).rstrip()).status == 200
    sequences = {hit["_source"]["event"]["sequence"] for hit in stored(logstash, station, 300)}
    assert sequences == set(range(1, 301))


def test_what_is_there_is_left_alone(logstash: Logstash, station: str, journal: str) -> None:
    """A second delivery under the same identity changes nothing, and is no dead letter."""
    first = merged(record(station, journal), {"weather": {"air_temperature": 1.5}})
    second = merged(first, {"weather": {"air_temperature": 2.5}})
    assert logstash.post(ndjson(first)).status == 200
    stored(logstash, station)
    assert logstash.post(ndjson(second, record(station, journal, 2))).status == 200
    both = stored(logstash, station, 2)
    kept = {hit["_source"]["event"]["sequence"]: hit["_source"] for hit in both}
    assert kept[1]["weather"] == first["weather"]
    settled(logstash)
    letters(logstash, station, 0)


def test_what_the_store_refuses_becomes_a_dead_letter(
    logstash: Logstash, station: str, journal: str
) -> None:
    """In the very form in which the forwarder writes its own, once however often it is sent."""
    bad = merged(record(station, journal), {"weather": {"air_temperature": 'w"arm'}})
    assert logstash.post(ndjson(bad, record(station, journal, 2))).status == 200
    (hit,) = letters(logstash, station)
    stored(logstash, station)
    found, now = hit["_source"], datetime.now(UTC)
    body = found["event"]["original"].encode()
    assert as_sent(msgspec.json.decode(body)) == as_sent(bad)
    message = found["error"]["message"]
    letter = DeadLetter(station, Lane(journal, "w"), 1, "refused_by_store", message, body, now)
    assert {**as_sent(found), "@timestamp": 0} == {**_letter(letter), "@timestamp": 0}
    assert hit["_id"] == bad["event"]["id"]
    assert re.search(r"parsing_exception: .*failed to parse field \[weather.air_temperat", message)
    assert abs((moment(found["@timestamp"]) - now).total_seconds()) < STORED_S

    assert logstash.post(ndjson(bad, record(station, journal, 3))).status == 200
    stored(logstash, station, 2)
    settled(logstash)
    letters(logstash, station)


def test_a_broken_line_is_kept_as_it_came(logstash: Logstash, station: str, journal: str) -> None:
    """The lines beside it are stored, and the dead letter has its very characters."""
    broken = f'{{"station": "{station}", "é": '.encode()
    lines = [*ndjson(record(station, journal)).splitlines(), broken, broken]
    lines += ndjson(record(station, journal, 2)).splitlines()
    assert logstash.post(b"\n".join(lines)).status == 200
    stored(logstash, station, 2)
    settled(logstash)
    (hit,) = letters(logstash, station)
    assert hit["_source"]["event"]["original"].encode() == broken
    assert hit["_source"]["error"]["type"] == "invalid_json"
    assert "station" not in hit["_source"]


OTHER = "0123456789ab"
REFUSED: list[tuple[str, Record]] = [
    ("no_identity", {"event": {"id": None}}),
    ("no_identity", {"event": "none"}),
    ("no_identity", {"event": []}),
    ("unknown_data_stream", {"data_stream": {"namespace": "other"}}),
    ("unknown_data_stream", {"data_stream": {"dataset": "clima.deadletter"}}),
    ("unknown_data_stream", {"data_stream": {"type": "logs"}}),
    ("unknown_data_stream", {"data_stream": None}),
    ("unknown_data_stream", {"data_stream": 5}),
    ("invalid_identity", {"event": {"id": "%{[station][id]}"}}),
    ("invalid_identity", {"event": {"id": 7}}),
    ("invalid_identity", {"event": {"id": ["x"]}}),
    ("invalid_identity", {"event": {"id": {"a": "b"}}}),
    ("contradictory_identity", {"event": {"sequence": 2}}),
    ("contradictory_identity", {"event": {"sequence": 1.5}}),
    ("contradictory_identity", {"event": {"sequence": "one"}}),
    ("contradictory_identity", {"event": {"sequence": None}}),
    ("contradictory_identity", {"station": {"journal": OTHER}}),
    ("contradictory_identity", {"station": {"journal": ["%{[station][id]}"]}}),
    ("contradictory_identity", {"data_stream": {"dataset": "clima.station"}}),
    ("contradictory_identity", {"@metadata": {"stream": "w"}, "event": {"sequence": 3}}),
    ("invalid_timestamp", {"@timestamp": "yesterday"}),
    ("invalid_timestamp", {"@timestamp": 7}),
    ("invalid_timestamp", {"@timestamp": {"a": "b"}}),
    ("tagged", {"tags": ["x"]}),
    ("tagged", {"tags": {"a": "b"}}),
    ("tagged", {"tags": 5}),
]  # fmt: skip


def test_what_is_no_record_of_a_station_never_becomes_data(
    logstash: Logstash, station: str, journal: str
) -> None:
    """Whatever is wrong with it, it is a dead letter with the reason, whole, once, and it stops
    nobody; it accounts for a sequence only where there is no doubt whose it is.
    """
    stations = [f"{station}-{number}" for number in range(len(REFUSED))]
    bad = [
        merged(record(each, journal), fields)
        for each, (_, fields) in zip(stations, REFUSED, strict=True)
    ]
    for _ in range(2):
        assert logstash.post(ndjson(*bad, record(station, journal))).status == 200
    stored(logstash, station)
    settled(logstash)
    for each, sent, (reason, _) in zip(stations, bad, REFUSED, strict=True):
        (hit,) = letters(logstash, f'"{each}"')
        found = hit["_source"]
        expected = {name: value for name, value in sent.items() if name != "@metadata"}
        original = msgspec.json.decode(found["event"]["original"])
        assert (found["error"]["type"], {**original, "@timestamp": 0}) == (
            reason,
            {**expected, "@timestamp": 0},
        )
        certain = reason in ("invalid_timestamp", "tagged")
        assert (
            certain
            == ("station" in found)
            == (hit["_id"] == sent["event"]["id"] if certain else False)
        )
        assert stored(logstash, each, 0) == []


HOSTILE: list[Record] = [
    {"a[b": 1},
    {"[a][b]": {"c": 1}},
    {"[]": 1},
    {"[@metadata][refused]": 1},
    {"@metadata": {"refused": "x", "id": "y", "stream": "z", "dead_letter_queue": {"reason": "x"}}},
    {"@version": {"a": 1}},
    {"@version": None},
    {"host": {"name": "x"}, "http": 1, "url": [], "user_agent": None, "headers": "x"},
    {"_@timestamp": "x"},
    {"": 1},
    {"type": "x", "_id": "y", "_index": "z", "pipeline": "p"},
]


def test_no_name_of_a_field_stops_the_pipeline(
    logstash: Logstash, station: str, journal: str
) -> None:
    """Names that mean something to Logstash neither harm it nor reach the store."""
    good = [record(station, journal, sequence) for sequence in range(1, len(HOSTILE) + 1)]
    hostile = [{**each, **other} for each, other in zip(good, HOSTILE, strict=True)]
    refused = [{**each, "event": {"sequence": each["event"]["sequence"]}} for each in hostile]
    assert logstash.post(ndjson(*refused, *hostile)).status == 200
    assert logstash.post(ndjson({"@metadata": 5}, 5, None, [], "x", {})).status == 200
    found = {
        hit["_source"]["event"]["sequence"]: hit["_source"]
        for hit in stored(logstash, station, len(good))
    }
    assert {key: as_sent(value) for key, value in found.items()} == {
        each["event"]["sequence"]: as_sent(each) for each in good
    }
    letters(logstash, station, len(refused))


def test_a_stranger_gets_nothing_in(logstash: Logstash, station: str, journal: str) -> None:
    """Inputs and statistics ask for the password."""
    for url in (logstash.readings, logstash.logs):
        answer = logstash.post(ndjson(record(station, journal)), url=url, password="wrong")
        assert answer.status == 401
    statistics = f"{logstash.statistics}/_node/stats/pipelines"
    assert logstash.post(b"", url=statistics, password="wrong").status == 401


def test_the_forwarders_own_log_is_stored_once(logstash: Logstash, station: str) -> None:
    """A JSON array is one document an item, whole, and sent again changes nothing."""
    events = [
        {
            "@timestamp": "2026-11-22T01:00:00.001Z",
            "event": {"id": f"forwarder:{station}:{number}"},
            "message": "store_available",
            "log": {"level": "info"},
            "anything": {"else": [1, None]},
        }
        for number in range(3)
    ]
    for _ in range(2):
        body = msgspec.json.encode(events)
        answer = logstash.post(body, content_type="application/json", url=logstash.logs)
        assert answer.status == 200
    query = {"prefix": {"event.id": f"forwarder:{station}:"}}
    found = until(lambda: logstash.search(FORWARDER_LOGS.name, query), len(events))
    assert sorted((as_sent(hit["_source"]) for hit in found), key=str) == [
        as_sent({**event, "data_stream": FORWARDER_LOGS._asdict()}) for event in events
    ]


def test_the_statistics_say_how_much_was_taken_and_how_much_is_through(
    logstash: Logstash, station: str, journal: str
) -> None:
    """Accepted counts at once, and through when it is: the forwarder builds on that."""
    before = logstash.pipelines()["readings"]["events"]
    body = ndjson(*(record(station, journal, sequence) for sequence in range(1, 51)))
    assert logstash.post(body).status == 200
    readings = logstash.pipelines()["readings"]
    assert readings["events"]["in"] >= before["in"] + 50
    assert isinstance(readings["queue"]["events_count"], int)
    assert isinstance(readings["ephemeral_id"], str)
    stored(logstash, station, 50)
    settled(logstash)


def settled(logstash: Logstash) -> None:
    """Wait until everything is through that was taken so far, dead letters included."""
    deadline = time.monotonic() + STORED_S
    quiet, last = time.monotonic(), None
    while time.monotonic() < quiet + 3 and time.monotonic() < deadline:
        found = logstash.pipelines()
        counts = [
            found[name]["events"][way]
            for name in ("readings", "deadletters")
            for way in ("in", "out")
        ]
        if counts != last:
            quiet, last = time.monotonic(), counts
        time.sleep(0.2)
    assert time.monotonic() < deadline
