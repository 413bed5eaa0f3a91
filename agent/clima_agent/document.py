"""From a draft to the JSON document of a record, all but its identity.

`event.id`, `event.sequence` and `station.journal` are the spool's to set, when it gives a record
its sequence. What is not known is left out, so a document is as small as it can be.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from clima_agent.config import Station
from clima_agent.pipeline import Draft
from clima_core.identity import DATA_SETS, Stream
from clima_core.reading import rfc3339

Document = dict[str, Any]

LIVE_S = 1.0  # recorded within this of its time, `event.created` would say nothing new


def weather(draft: Draft, station: Station, created: datetime) -> Document:
    """A reading."""
    document = _document("w", draft.time, station, created)
    document["weather"] = draft.weather
    document["sensor"] = draft.sensors
    if draft.quality:
        document["quality"] = draft.quality
    return document


def health(
    figures: Mapping[str, float | int], at: datetime, station: Station, created: datetime
) -> Document:
    """How the station is; `figures` by the names of `clima_core.reading.Health`."""
    document = _document("s", at, station, created)
    document["health"] = dict(figures)
    return document


def log(
    at: datetime,
    level: str,
    logger: str | None,
    message: str,
    station: Station,
    created: datetime,
    *,
    labels: Mapping[str, object] | None = None,
    error: Mapping[str, str] | None = None,
) -> Document:
    """A line of the agent's own log; `error` has `type`, `message` and `stack_trace`."""
    document = _document("l", at, station, created)
    document["message"] = message
    document["log"] = {"level": level} | ({"logger": logger} if logger else {})
    if labels:
        document["labels"] = {name: str(value) for name, value in labels.items()}
    if error:
        document["error"] = dict(error)
    return document


def draft_of(document: Mapping[str, Any]) -> Draft:
    """A reading's draft again, from its stored document: to fill the pipeline's history."""
    return Draft(
        datetime.fromisoformat(document["@timestamp"]),
        document.get("sensor", {}),
        document.get("weather", {}),
        document.get("quality", {}),
    )


def _document(stream: Stream, at: datetime, station: Station, created: datetime) -> Document:
    late = abs((created - at).total_seconds()) >= LIVE_S
    return {
        "@timestamp": rfc3339(at),
        "data_stream": DATA_SETS[stream]._asdict(),
        "event": {"created": rfc3339(created)} if late else {},
        "station": about(station) | {"local_date": _local_date(station.timezone, at)},
    }


@lru_cache(maxsize=4)
def about(station: Station) -> Document:
    """What every document says of the station; not to be changed by who gets it."""
    located = station.latitude is not None and station.longitude is not None
    known = {
        "id": station.id,
        "name": station.name,
        "location": {"lat": station.latitude, "lon": station.longitude} if located else None,
        "elevation": station.elevation_m,
        "timezone": station.timezone,
    }
    return {name: value for name, value in known.items() if value is not None}


def _local_date(timezone: str, at: datetime) -> str:
    return at.astimezone(ZoneInfo(timezone)).date().isoformat()
