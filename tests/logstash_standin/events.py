"""What the pipelines make of a line that comes in."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import msgspec

STREAMS = {
    "metrics-clima.weather-default": "w",
    "metrics-clima.station-default": "s",
    "logs-clima.agent-default": "l",
}
IDENTITY = re.compile(r"[a-z0-9][a-z0-9-]{0,62}:[0-9a-f]{12}:[wsl]:[1-9][0-9]{0,14}")
FIELDS = {"@timestamp", "data_stream", "event", "station", "labels"}
FIELDS |= {"weather", "sensor", "quality", "calibration", "health", "message", "log", "error"}
WHOLE_SECONDS = re.compile(rb'("@timestamp":"[^"]{19})\.000Z(?=")')
REFUSALS = {
    "invalid_json": "it is not JSON",
    "no_identity": "it has no event.id",
    "unknown_data_stream": "data_stream.* names none of the stations",
    "invalid_identity": "event.id is no identity",
    "contradictory_identity": "event.id does not agree with station.*, data_stream.* and"
    " event.sequence",
    "invalid_timestamp": "@timestamp is no time",
    "tagged": "tags is no field of a record",
}


class Event:
    """What the pipelines look at in an event; nothing in it need be of the right type."""

    def __init__(self, fields: dict[str, Any]) -> None:
        def of(name: str) -> dict[str, Any]:
            return fields[name] if isinstance(fields.get(name), dict) else {}

        self.id, self.sequence = of("event").get("id"), of("event").get("sequence")
        self.station, self.journal = of("station").get("id"), of("station").get("journal")
        where = of("data_stream")
        self.index = f"{where.get('type')}-{where.get('dataset')}-{where.get('namespace')}"
        self.stream = STREAMS.get(self.index, "")
        self._time, self._tags = fields.get("@timestamp"), fields.get("tags")

    @property
    def refusal(self) -> str:
        """Why the guard turns it away; empty when it does not."""
        if not self.id:
            return "no_identity"
        if not self.stream:
            return "unknown_data_stream"
        if not isinstance(self.id, str) or not IDENTITY.fullmatch(self.id):
            return "invalid_identity"
        if self.id != f"{self.station}:{self.journal}:{self.stream}:{self.sequence}":
            return "contradictory_identity"
        try:
            datetime.fromisoformat(self._time)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            return "invalid_timestamp"
        return "tagged" if self._tags else ""


def lines_of(body: bytes) -> list[bytes]:
    """The events in a body: each line, or each item of a line that is an array."""
    lines: list[bytes] = []
    for line in body.split(b"\n"):
        if line.startswith(b"["):
            with suppress(msgspec.DecodeError):
                lines += map(bytes, msgspec.json.decode(line, type=list[msgspec.Raw]))
                continue
        if line.strip():
            lines.append(line)
    return lines


def event_of(line: bytes) -> Event | None:
    """None where it is no JSON object."""
    try:
        return Event(msgspec.json.decode(line, type=dict[str, Any]))
    except msgspec.MsgspecError:
        return None


def only(line: bytes, names: Collection[str]) -> bytes:
    """With these fields alone."""
    fields = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
    if all(name in names for name in fields):
        return line
    return msgspec.json.encode({name: fields[name] for name in fields if name in names})


def identity_of(line: bytes) -> str:
    """The `event.id`; empty where there is none."""
    event = event_of(line)
    return str(event.id) if event and event.id else ""


def action(index: str, identity: str) -> bytes:
    target = {"_index": index, **({"_id": identity} if identity else {})}
    return msgspec.json.encode({"create": target})


def letter_of(line: bytes, event: Event | None, reason: str, message: str) -> bytes:
    """The dead letter of a document; one without an identity is known by what it says."""
    if event and b'"@metadata"' in line:
        fields = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
        line = only(line, fields.keys() - {"@metadata"})
    text = line.decode("utf-8", "replace")
    letter: dict[str, Any] = {
        "@timestamp": datetime.now(UTC),
        "data_stream": {"type": "logs", "dataset": "clima.deadletter", "namespace": "default"},
        "event": {"id": f"refused:{hashlib.sha256(line).hexdigest()}", "original": text},
        "deadletter": {"encoding": "utf-8"},
        "error": {"type": reason, "message": message},
    }
    if event and event.refusal in {"", "invalid_timestamp", "tagged"}:
        letter["event"] = {"id": event.id, "sequence": event.sequence, "original": text}
        letter["station"] = {"id": event.station, "journal": event.journal}
        letter["deadletter"]["stream"] = event.stream
    return msgspec.json.encode(letter)
