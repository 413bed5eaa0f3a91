"""Takes out what is stored twice: every copy of a record but the first.

How a record can come to be stored twice is in docs/architecture.md, under "Known limits".

What always holds: a copy is deleted only if another one that says the same is left, and only as it
was when the two were compared. Copies that differ are left, for people to look at.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from clima_core.identity import DATA_SETS, Lane, event_id
from clima_core.ranges import Ranges
from clima_forwarder.outputs.content import same_content
from clima_forwarder.outputs.elasticsearch.connection import BulkAnswer, Connection
from clima_forwarder.outputs.elasticsearch.searches import Page, of_lane, where

TOGETHER = 500  # sequences in one search
MOST = 10_000  # documents in its answer; what is cut off is left for the next audit to find


class Removed(NamedTuple):
    """What became of the records that are stored twice."""

    copies: int
    differing: Ranges  # sequences whose copies do not say the same


class _Copy(msgspec.Struct, frozen=True):
    index: str = msgspec.field(name="_index")
    id: str = msgspec.field(name="_id")
    number: int = msgspec.field(name="_seq_no")
    term: int = msgspec.field(name="_primary_term")
    sort: tuple[int]
    source: msgspec.Raw = msgspec.field(name="_source")

    @property
    def sequence(self) -> int:
        return self.sort[0]

    @property
    def generation(self) -> str:
        """Of the backing index, whose name ends with it."""
        return self.index.rpartition("-")[2]

    @property
    def deletion(self) -> bytes:
        """The line of a bulk that deletes it, unless somebody has changed it meanwhile."""
        as_seen = {"if_seq_no": self.number, "if_primary_term": self.term}
        return msgspec.json.encode({"delete": {"_index": self.index, "_id": self.id, **as_seen}})


async def remove(connection: Connection, station: str, lane: Lane, doubled: Ranges) -> Removed:
    """Leave one copy of each of these sequences.

    Raises ConfigurationError when the user may not delete, UnavailableError when there is no
    answer; what was deleted until then stays so.
    """
    removed, differing = 0, Ranges()
    for sequences in _parts(list(doubled)):
        surplus: list[_Copy] = []
        found = await _found(connection, station, lane, sequences)
        for sequence, copies in found.items():
            first, *others = _in_order(copies, event_id(station, lane, sequence))
            if not all(same_content(each.source, first.source) for each in others):
                differing |= Ranges.of([sequence])
            else:
                surplus += others
        removed += await _delete(connection, surplus)
    return Removed(removed, differing)


def _parts(sequences: Sequence[int]) -> Iterator[Sequence[int]]:
    return (sequences[at : at + TOGETHER] for at in range(0, len(sequences), TOGETHER))


async def _found(
    connection: Connection, station: str, lane: Lane, sequences: Sequence[int]
) -> dict[int, list[_Copy]]:
    """The copies of each of these sequences."""
    numbers = {"terms": {"event.sequence": list(sequences)}}
    body = {
        "size": MOST,
        "seq_no_primary_term": True,
        "sort": ["event.sequence"],
        **where([*of_lane(station, lane.journal), numbers]),
    }
    (found,) = await connection.searches(Page[_Copy], (DATA_SETS[lane.stream].name, body))
    by_sequence: dict[int, list[_Copy]] = {}
    for copy in found.hits:
        by_sequence.setdefault(copy.sequence, []).append(copy)
    return by_sequence


def _in_order(copies: Iterable[_Copy], identity: str) -> list[_Copy]:
    """The one to keep first: under the record's own `_id`, and written before the others.

    No two are in the same place: somebody who does the same at this moment keeps the same one.
    """
    return sorted(copies, key=lambda copy: (copy.id != identity, copy.generation, copy.id))


async def _delete(connection: Connection, surplus: Sequence[_Copy]) -> int:
    """How many were deleted; those that are gone or changed meanwhile do not count."""
    if not surplus:
        return 0
    body = b"".join(copy.deletion + b"\n" for copy in surplus)
    answer = await connection.request("POST", "/_bulk", BulkAnswer, body)
    items = [item["delete"] for item in answer.items]
    for item in items:
        if item.error is not None and item.status not in {404, 409}:
            raise connection.refused(item.status, "a deletion", str(item.error))
    return sum(item.status == 200 for item in items)
