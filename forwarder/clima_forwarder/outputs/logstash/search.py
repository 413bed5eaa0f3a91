"""What of many small and large batches Elasticsearch has by now, in few requests.

Of a batch with few records each `event.id` is asked for: two thousand stations that send a
reading now and then make one request of two thousand terms. A batch with many is counted: it is
stored whole when a single backing index has as many of its sequences as it has records, since an
`_id` is taken only once there. One of which a part has come and no more is listed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

import msgspec

from clima_core.identity import DATA_SETS, DEAD_LETTERS, STREAMS, Lane, Stream, event_id
from clima_core.ranges import Ranges
from clima_forwarder.outputs.base import Confirmed
from clima_forwarder.outputs.elasticsearch.connection import Connection
from clima_forwarder.outputs.elasticsearch.searches import Counted, Page, of_lane, where

FEW = 50  # records of a batch that are asked for one by one
IDS = 5_000  # in one search, which answers with 10,000 at most: each may be there twice
TOGETHER = 100  # batches counted in one: each takes some six of the 1,024 clauses of 8.3
INDICES = 20  # backing indices that one batch may be spread over and still be counted


class _Id(msgspec.Struct, frozen=True, gc=False):
    id: str = msgspec.field(name="_id")


class _Index(msgspec.Struct, frozen=True, gc=False):
    doc_count: int


class _Indices(msgspec.Struct, frozen=True):
    buckets: list[_Index] = []


class _Bucket(msgspec.Struct, frozen=True):
    doc_count: int
    indices: _Indices = _Indices()


class _Sequence(msgspec.Struct, frozen=True, gc=False):
    key: int


@dataclass(eq=False)
class Wanted:
    """Records of one lane that should be in the store; `counted` is how many were, last time."""

    station: str
    lane: Lane
    sequences: Ranges
    counted: int = 0

    @property
    def filters(self) -> list[dict[str, Any]]:
        """What holds for its records alone."""
        pairs = self.sequences.pairs
        if len(pairs) == 1:
            return of_lane(self.station, self.lane.journal, *pairs[0])
        numbers = {"terms": {"event.sequence": list(self.sequences)}}
        return [*of_lane(self.station, self.lane.journal), numbers]

    @property
    def letter_filters(self) -> list[dict[str, Any]]:
        """What holds for their dead letters alone."""
        return [*self.filters, {"term": {"deadletter.stream": self.lane.stream}}]


class Search:
    """Looks for batches."""

    def __init__(self, store: Connection) -> None:
        self._store = store

    async def refresh(self) -> None:
        """From now on a look sees all that was written until now."""
        names = [DATA_SETS[stream].name for stream in STREAMS]
        await self._store.refresh(*names, DEAD_LETTERS.name)

    async def look(
        self, wanted: Sequence[Wanted], overdue: AbstractSet[Wanted]
    ) -> dict[Wanted, Confirmed]:
        """What has come, of those of which there is anything to say.

        A part of a large batch is said when no more comes, or when it is `overdue`.
        """
        found: dict[Wanted, Confirmed] = {}
        few = [each for each in wanted if len(each.sequences) <= FEW]
        many = [each for each in wanted if len(each.sequences) > FEW]
        for part in _parts(few, IDS, lambda each: len(each.sequences)):
            found |= await self._identified(part)
        for part in _parts(many, TOGETHER, lambda each: 1):
            found |= await self._counted(part, overdue)
        return {each: outcome for each, outcome in found.items() if any(outcome)}

    # -- few records -----------------------------------------------------------------------

    async def _identified(self, wanted: Sequence[Wanted]) -> dict[Wanted, Confirmed]:
        by_id: dict[str, tuple[Wanted, int]] = {}
        by_stream: dict[Stream, list[str]] = {}
        for each in wanted:
            for sequence in each.sequences:
                id_ = event_id(each.station, each.lane, sequence)
                by_id[id_] = each, sequence
                by_stream.setdefault(each.lane.stream, []).append(id_)
        letters, *records = await self._store.searches(
            Page[_Id],
            (DEAD_LETTERS.name, _with_ids(list(by_id))),
            *((DATA_SETS[stream].name, _with_ids(ids)) for stream, ids in by_stream.items()),
        )
        stored = {hit.id for answer in records for hit in answer.hits}
        dead = {hit.id for hit in letters.hits} - stored
        sequences: dict[Wanted, tuple[list[int], list[int]]] = {}
        for which, ids in enumerate((stored, dead)):
            for each, sequence in (by_id[id_] for id_ in ids):
                sequences.setdefault(each, ([], []))[which].append(sequence)
        return {
            each: Confirmed(Ranges.of(sorted(there)), Ranges.of(sorted(lost)))
            for each, (there, lost) in sequences.items()
        }

    # -- many records ----------------------------------------------------------------------

    async def _counted(
        self, wanted: Sequence[Wanted], overdue: AbstractSet[Wanted]
    ) -> dict[Wanted, Confirmed]:
        by_stream: dict[Stream, list[Wanted]] = {
            stream: [each for each in wanted if each.lane.stream == stream] for stream in STREAMS
        }
        asked = {stream: those for stream, those in by_stream.items() if those}
        letters, *records = await self._store.searches(
            Counted[_Bucket],
            (DEAD_LETTERS.name, _counting([each.letter_filters for each in wanted], {})),
            *(
                (DATA_SETS[stream].name, _counting([each.filters for each in those], _BY_INDEX))
                for stream, those in asked.items()
            ),
        )
        dead = dict(zip(wanted, _buckets(letters, len(wanted)), strict=True))
        found: dict[Wanted, Confirmed] = {}
        for those, answer in zip(asked.values(), records, strict=True):
            for each, bucket in zip(those, _buckets(answer, len(those)), strict=True):
                letters_ = dead[each].doc_count
                outcome = await self._weighed(each, bucket, letters_, overdue=each in overdue)
                if outcome is not None:
                    found[each] = outcome
        return found

    async def _weighed(
        self, wanted: Wanted, bucket: _Bucket, dead: int, *, overdue: bool
    ) -> Confirmed | None:
        whole = len(wanted.sequences)
        if any(index.doc_count == whole for index in bucket.indices.buckets):
            return Confirmed(stored=wanted.sequences)
        before, wanted.counted = wanted.counted, bucket.doc_count + dead
        if wanted.counted and (wanted.counted >= whole or wanted.counted == before or overdue):
            return await self._listed(wanted)
        return None

    async def _listed(self, wanted: Wanted) -> Confirmed:
        """What has come of a batch, sequence by sequence."""
        terms = {"field": "event.sequence", "size": len(wanted.sequences)}
        body = {"size": 0, "aggs": {"sequences": {"terms": terms}}}
        answers = await self._store.searches(
            Counted[_Sequence],
            (DATA_SETS[wanted.lane.stream].name, {**body, **where(wanted.filters)}),
            (DEAD_LETTERS.name, {**body, **where(wanted.letter_filters)}),
        )
        stored, dead = (Ranges.of(bucket.key for bucket in answer.buckets) for answer in answers)
        return Confirmed(stored, dead - stored)


_BY_INDEX = {"indices": {"terms": {"field": "_index", "size": INDICES}}}


def _with_ids(ids: list[str]) -> dict[str, Any]:
    """A search for records by their identity, which answers with that alone."""
    return {
        "size": 2 * len(ids),
        "track_total_hits": False,
        "_source": False,
        "sort": ["_doc"],
        **where([{"terms": {"event.id": ids}}]),
    }


def _counting(filters: Sequence[list[dict[str, Any]]], by: dict[str, Any]) -> dict[str, Any]:
    """A search that counts, for each list of filters, what all of them hold for."""
    each = [{"bool": {"filter": own}} for own in filters]
    return {
        "size": 0,
        "track_total_hits": False,
        **where([{"bool": {"should": each}}]),
        "aggs": {"waiting": {"filters": {"filters": each}, "aggs": by}},
    }


def _buckets(answer: Counted[_Bucket], count: int) -> list[_Bucket]:
    """One for each that was asked for; all empty where there is no index yet."""
    return answer.buckets or [_Bucket(0)] * count


def _parts(
    wanted: Sequence[Wanted], most: int, weight: Callable[[Wanted], int]
) -> Iterator[list[Wanted]]:
    """In parts that do not weigh more than `most` each."""
    part: list[Wanted] = []
    size = 0
    for each in wanted:
        if part and size + weight(each) > most:
            yield part
            part, size = [], 0
        part.append(each)
        size += weight(each)
    if part:
        yield part
