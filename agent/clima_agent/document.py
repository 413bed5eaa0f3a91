"""From a draft to the JSON document of a record, all but its identity.

`event.id`, `event.sequence` and `station.journal` are the spool's to set, when it gives a record
its sequence. What is not known is left out, so a document is as small as it can be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from clima_agent.config import Station
from clima_agent.pipeline import Draft
from clima_core.identity import DATA_SETS, Stream
from clima_core.reading import rfc3339

Document = dict[str, Any]

LIVE_S = 1.0  # recorded within this of its time, `event.created` would say nothing new


def weather(draft: Draft, station: Station, created: datetime | None = None) -> Document:
    """A reading; `created` is when it was recorded, where that was not when it was measured."""
    document = _document("w", draft.time, station, created)
    document["weather"] = draft.weather
    document["sensor"] = draft.sensors
    if draft.quality:
        document["quality"] = draft.quality
    if draft.calibration is not None:
        document["calibration"] = msgspec.to_builtins(draft.calibration)
    return document


def health(figures: Mapping[str, float | int], at: datetime, station: Station) -> Document:
    """How the station is; `figures` by the names of `clima_core.reading.Health`."""
    document = _document("s", at, station)
    document["health"] = dict(figures)
    return document


def log(
    at: datetime,
    level: str,
    logger: str | None,
    message: str,
    station: Station,
    *,
    labels: Mapping[str, object] | None = None,
    error: Mapping[str, str] | None = None,
) -> Document:
    """A line of the agent's own log; `error` has `type`, `message` and `stack_trace`."""
    document = _document("l", at, station)
    document["message"] = message
    document["log"] = {"level": level} | ({"logger": logger} if logger else {})
    if labels:
        document["labels"] = {name: str(value) for name, value in labels.items()}
    if error:
        document["error"] = dict(error)
    return document


def flagged(
    document: Document, stream: Stream, flags: Sequence[str], uncertainty_s: float | None = None
) -> Document:
    """The document, with what is to be said of its time: a log record has no `quality`.

    The label `clock_uncertainty_s` says how far it may be out, where that is known.
    """
    labels = dict(document.get("labels", {}))
    if uncertainty_s is not None:
        labels["clock_uncertainty_s"] = f"{uncertainty_s:.{0 if uncertainty_s >= 10 else 1}f}"
    if stream == "l" and flags:
        labels["clock"] = " ".join(flags)
    elif flags:
        document = {**document, "quality": {**document.get("quality", {}), "clock": list(flags)}}
    return {**document, "labels": labels} if labels else document


def dated(
    document: Mapping[str, Any],
    stream: Stream,
    at: datetime,
    flags: Sequence[str],
    uncertainty_s: float | None = None,
) -> Document:
    """The document with its time, in place of the guess that it was made with."""
    quality, labels = dict(document.get("quality", {})), dict(document.get("labels", {}))
    quality.pop("clock", None)
    labels.pop("clock", None)
    station = document.get("station", {})
    made = {
        **{k: v for k, v in document.items() if k not in ("quality", "labels")},
        "@timestamp": rfc3339(at),
        "event": {},
        "station": {**station, "local_date": _local_date(station.get("timezone", "UTC"), at)},
        **({"quality": quality} if quality else {}),
        **({"labels": labels} if labels else {}),
    }
    return flagged(made, stream, flags, uncertainty_s)


def draft_of(document: Mapping[str, Any]) -> Draft:
    """A reading's draft again, from its stored document: to fill the pipeline's history."""
    return Draft(
        datetime.fromisoformat(document["@timestamp"]),
        document.get("sensor", {}),
        document.get("weather", {}),
        document.get("quality", {}),
    )


def _document(
    stream: Stream, at: datetime, station: Station, created: datetime | None = None
) -> Document:
    late = created is not None and abs((created - at).total_seconds()) >= LIVE_S
    return {
        "@timestamp": rfc3339(at),
        "data_stream": DATA_SETS[stream]._asdict(),
        "event": {"created": rfc3339(created)} if created and late else {},
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
