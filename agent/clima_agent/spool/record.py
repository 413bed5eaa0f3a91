"""The JSON of a record, with the identity that it keeps for ever."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from clima_core.identity import DATA_SETS, Lane, event_id
from clima_core.wire import MAX_RECORD_BYTES

Document = Mapping[str, Any]

TOO_LONG = "too_long"  # why a record was given up that no message can hold


def identified(document: Document, station: str, lane: Lane, sequence: int) -> bytes | None:
    """The document as it is spooled and sent: with its place in the lane, in place of any other.

    None where that is longer than may be sent.
    """
    event = {"id": event_id(station, lane, sequence), "sequence": sequence}
    body = msgspec.json.encode(
        {
            **document,
            "data_stream": DATA_SETS[lane.stream]._asdict(),
            "event": {**document.get("event", {}), **event},
            "station": {**document.get("station", {}), "id": station, "journal": lane.journal},
        }
    )
    return body if len(body) <= MAX_RECORD_BYTES else None
