"""What the dashboards are shown and tested on: two airports, and two made-up stations.

The airports' weather is the real one of 2013, thirteen years later, up to now: hours of day and
seasons stay where they were. The made-up stations have health data, logs, a gap, failed sensors
and dead letters. All documents are made by the agent's own code from the sources' values.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from clima_agent.config import Station
from clima_agent.pipeline import Draft, Pipeline, Sample
from clima_agent.sources import Recorded, Setting
from clima_agent.sources.replay import Column, Replay
from clima_agent.sources.simulated import Fault, RecordedSimulation, Simulated
from clima_core.identity import DATA_SETS, DEAD_LETTERS, FORWARDER_LOGS, Lane, Stream, event_id
from clima_core.reading import QUANTITIES, rfc3339

Document = dict[str, Any]
RECORDING = Path(str(files("clima_forwarder") / "demo" / "nyc-airports-2013.csv"))
YEARS = 13
COLUMNS = {
    "temperature_f": Column(quantity="air_temperature", unit="degF"),
    "dew_point_f": Column(quantity="dew_point_temperature", unit="degF"),
    "relative_humidity_pct": Column(quantity="relative_humidity", unit="%"),
    "wind_direction_deg": Column(quantity="wind_from_direction", unit="deg"),
    "wind_speed_mph": Column(quantity="wind_speed", unit="mph"),
    "wind_gust_mph": Column(quantity="wind_speed_of_gust", unit="mph"),
    "precipitation_in": Column(quantity="precipitation_amount", unit="in"),
    "sea_level_pressure_hpa": Column(quantity="air_pressure_at_mean_sea_level", unit="hPa"),
    "visibility_mi": Column(quantity="visibility_in_air", unit="mi"),
}
NEW_YORK = "America/New_York"
AIRPORTS = {
    "JFK": Station(
        id="jfk", name="John F. Kennedy Airport", latitude=40.6398, longitude=-73.7789,
        elevation_m=4, timezone=NEW_YORK,
    ),
    "LGA": Station(
        id="lga", name="LaGuardia Airport", latitude=40.7772, longitude=-73.8726,
        elevation_m=7, timezone=NEW_YORK,
    ),
}  # fmt: skip
BALCONY = Station(
    id="balcony", name="Varanda", latitude=40.6782, longitude=-73.9442, elevation_m=20,
    timezone=NEW_YORK,
)  # fmt: skip
ROOF = Station(
    id="roof", name="Escola, telhado", latitude=40.5795, longitude=-74.1502, elevation_m=35,
    timezone=NEW_YORK,
)  # fmt: skip
INDOORS = frozenset(
    {
        "air_temperature",
        "relative_humidity",
        "air_pressure",
        "illuminance",
        "dew_point_temperature",
        "air_pressure_at_mean_sea_level",
        "tendency_of_air_pressure",
    }
)
GAP = (3 * 3600, 5 * 3600)  # of the roof: seconds ago
JOURNAL = "0123456789ab"


class Written(NamedTuple):
    """A document, and the data stream or index that it belongs in."""

    target: str
    body: Document


def airports(now: datetime) -> Iterator[Written]:
    """JFK and LaGuardia, this year, up to now."""
    for code, station in AIRPORTS.items():
        source = Replay(path=RECORDING, station=code, columns=COLUMNS).open(Setting(now, 3600))
        lane = Numbered(station, "w")
        for draft in _drafts(source, station):
            at = draft.time.replace(year=draft.time.year + YEARS)
            if at <= now:
                yield lane.written(at, {"weather": draft.weather})


def made_up(now: datetime, days: int = 400) -> Iterator[Written]:
    """A balcony with four quantities, and a roof with all; minute by minute in the last day.

    The roof's thermometer fails for ten minutes out of each four hours, and it lost its readings
    of two hours, of which the sequences are therefore missing.
    """
    for station, seed, kept in ((BALCONY, 7, INDOORS), (ROOF, 8, frozenset(QUANTITIES))):
        lane = Numbered(station, "w")
        recent = now.replace(minute=0, second=0, microsecond=0) - timedelta(days=1)
        spans = ((recent - timedelta(days=days), recent, 3600), (recent, now, 60))
        for draft in (draft for span in spans for draft in _made_up(station, seed, *span)):
            weather = {name: value for name, value in draft.weather.items() if name in kept}
            quality = {"quality": draft.quality} if draft.quality else {}
            written = lane.written(draft.time, {"weather": weather, **quality})
            if not (station is ROOF and GAP[0] <= (now - draft.time).total_seconds() < GAP[1]):
                yield written


def health(now: datetime) -> Iterator[Written]:
    """Every five minutes of the last three days; the roof's Wi-Fi is bad and its disk fills."""
    for station in (BALCONY, ROOF):
        lane = Numbered(station, "s")
        bad = station is ROOF
        for step in range(3 * 288, -1, -1):
            at = now - timedelta(minutes=5 * step)
            phase = math.sin(at.timestamp() / 86400 * 2 * math.pi)
            backlog = max(0, 360 - 3 * step) if bad else 0
            figures = {
                "cpu_temperature": round(48 + 6 * phase + (9 if bad else 0), 1),
                "load_1m": round(0.3 + 0.1 * phase, 2),
                "memory_available": 300_000_000 if bad else 612_000_000,
                "disk_free": 400_000_000 + 3_000_000 * step if bad else 11_300_000_000,
                "wifi_signal": round((-78 if bad else -54) + 4 * phase),
                "uptime": 86400.0 * 20 - step * 300,
                "spool_bytes": 4_000_000 + 60_000 * backlog,
                "spool_waiting": backlog,
                "spool_oldest_age": 60.0 * backlog,
                "spool_dropped": 0,
                "clock_offset": round(0.02 * phase, 3),
            }
            yield lane.written(at, {"health": figures})


def logs(now: datetime) -> Iterator[Written]:
    """What agents and the forwarder say: a failing sensor, reconnections, one error."""
    for station in (BALCONY, ROOF):
        lane = Numbered(station, "l")
        for hour in range(24, 0, -1):
            at = now - timedelta(hours=hour, minutes=7)
            yield lane.written(at, _said("info", "clima_agent.sender", "connected"))
            if station is ROOF and hour % 4 == 0:
                failed = {"type": "OSError", "message": "[Errno 121] Remote I/O error"}
                said = _said("warning", "clima_agent.sampler", "sensor_failed")
                yield lane.written(at, said | {"labels": {"sensor": "bme280"}, "error": failed})
            if station is ROOF and hour == 9:
                said = _said("error", "clima_agent.spool", "records_dropped")
                yield lane.written(at, said | {"labels": {"reason": "full"}})
    for hour in range(24, 0, -2):
        at = now - timedelta(hours=hour, minutes=3)
        level, event = ("warning", "store_unavailable") if hour == 6 else ("info", "batch_stored")
        yield Written(
            FORWARDER_LOGS.name,
            {
                "@timestamp": rfc3339(at),
                "data_stream": FORWARDER_LOGS._asdict(),
                **_said(level, "clima_forwarder.delivery", event),
            },
        )


def dead_letters(now: datetime) -> Iterator[Written]:
    """Three of the roof's, refused for two reasons."""
    reasons = (
        ("document", "weather.air_temperature: expected a number, got a text"),
        ("document", "weather.air_temperature: expected a number, got a text"),
        ("station", "the record is of jfk, the key is of roof"),
    )
    for number, (kind, said) in enumerate(reasons, 900_001):
        at = now - timedelta(minutes=20 + 100 * (number % 10))
        yield Written(
            DEAD_LETTERS.name,
            {
                "@timestamp": rfc3339(at),
                "data_stream": DEAD_LETTERS._asdict(),
                "event": {
                    "id": event_id(ROOF.id, Lane(JOURNAL, "w"), number),
                    "sequence": number,
                    "original": '{"weather":{"air_temperature":"21,5"}}',
                },
                "station": {"id": ROOF.id, "journal": JOURNAL},
                "deadletter": {"stream": "w", "encoding": "utf-8"},
                "error": {"type": kind, "message": said},
            },
        )


def world(now: datetime, days: int = 400) -> Iterator[Written]:
    """Everything."""
    yield from airports(now)
    yield from made_up(now, days)
    yield from health(now)
    yield from logs(now)
    yield from dead_letters(now)


class Numbered:
    """Makes the records of one lane, numbered as the spool does."""

    def __init__(self, station: Station, stream: Stream) -> None:
        self._station, self._stream, self._sequence = station, stream, 0

    def written(self, at: datetime, body: Document) -> Written:
        self._sequence += 1
        station, data_set = self._station, DATA_SETS[self._stream]
        own = {
            "@timestamp": rfc3339(at),
            "data_stream": data_set._asdict(),
            "event": {
                "id": event_id(station.id, Lane(JOURNAL, self._stream), self._sequence),
                "sequence": self._sequence,
            },
            "station": {
                "id": station.id,
                "journal": JOURNAL,
                "name": station.name,
                "location": {"lat": station.latitude, "lon": station.longitude},
                "elevation": station.elevation_m,
                "timezone": station.timezone,
                "local_date": at.astimezone(ZoneInfo(station.timezone)).date().isoformat(),
            },
        }
        return Written(data_set.name, own | body)


def _said(level: str, logger: str, message: str) -> Document:
    return {"message": message, "log": {"level": level, "logger": logger}}


def bulk(written: Iterable[Written]) -> bytes:
    """The body of a `_bulk`."""
    return b"".join(
        msgspec.json.encode({"create": {"_index": target, "_id": body.get("event", {}).get("id")}})
        + b"\n"
        + msgspec.json.encode(body)
        + b"\n"
        for target, body in written
    )


def _made_up(
    station: Station, seed: int, start: datetime, end: datetime, step_s: int
) -> Iterator[Draft]:
    faults = (
        (Fault(kind="dropout", quantity="air_temperature", every_s=14400, for_s=600),)
        if station is ROOF
        else ()
    )
    options = Simulated(
        seed=seed,
        latitude=40,
        longitude=-74,
        elevation_m=station.elevation_m or 0,
        start=start,
        end=end,
        faults=faults,
    )
    source = options.open(Setting(end, step_s))
    assert isinstance(source, RecordedSimulation)
    return _drafts(source, station)


def _drafts(source: Recorded, station: Station) -> Iterator[Draft]:
    """What the agent makes of all that the source has."""
    pipeline = Pipeline(elevation_m=station.elevation_m)
    for at in source.times():
        yield pipeline(Sample(at, {"source": source.read(at)}))
