"""Who a record is, for ever: `{station}:{journal}:{stream}:{sequence}`.

A *journal* is one life of one spool, named at random when the spool is made. A *lane* is one
stream of one journal: within it sequences count 1, 2, 3 … without gaps. The identity is the
`event.id` of the record and its `_id` in the store, so a record sent twice meets itself there.
"""

from __future__ import annotations

import re
import secrets
from typing import Literal, NamedTuple

Stream = Literal["w", "s", "l"]
STREAMS: tuple[Stream, ...] = ("w", "s", "l")

STATION_ID = re.compile(r"^[a-z0-9][a-z0-9-]{0,62}\Z")
JOURNAL = re.compile(r"[0-9a-f]{12}")
MAX_SEQUENCE = 2**48


class DataSet(NamedTuple):
    """Where a stream's records are stored; `name` is the Elasticsearch data stream."""

    type: str
    dataset: str
    namespace: str = "default"

    @property
    def name(self) -> str:
        return f"{self.type}-{self.dataset}-{self.namespace}"


DATA_SETS: dict[Stream, DataSet] = {
    "w": DataSet("metrics", "clima.weather"),
    "s": DataSet("metrics", "clima.station"),
    "l": DataSet("logs", "clima.agent"),
}
DEAD_LETTERS = DataSet("logs", "clima.deadletter")
FORWARDER_LOGS = DataSet("logs", "clima.forwarder")


class Lane(NamedTuple):
    """One stream of one journal."""

    journal: str
    stream: Stream


def new_journal() -> str:
    """A name for a new spool's life: 48 random bits, so that two never meet by chance."""
    return secrets.token_hex(6)


def lane_id(station: str, lane: Lane) -> str:
    """What the identities of all records of a lane begin with; `:` and the sequence follow."""
    return f"{station}:{lane.journal}:{lane.stream}"


def event_id(station: str, lane: Lane, sequence: int) -> str:
    """The identity of one record."""
    return f"{lane_id(station, lane)}:{sequence}"
