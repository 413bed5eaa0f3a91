"""Which sequences of a lane are there, proven by counting, one backing index at a time.

A bucket of a histogram whose count is its width is whole, one that is missing is empty, and the
mixed ones are counted again, finer, down to single sequences. A count proves that only where no
sequence occurs twice in the index. `_id` sees to that for what Clima writes; copies under another
`_id` are looked for by themselves, and taken off the counts.

What always holds: what is kept in memory, here and by the server, grows with the number of
documents and not with the numbers that they bear, of which a station may choose any.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from clima_core.ranges import Pair, Ranges
from clima_forwarder.outputs.elasticsearch.connection import Connection
from clima_forwarder.outputs.elasticsearch.searches import Counted, Filters, where

BUCKETS = 40_000  # of one answer; the server allows 65,536 (search.max_buckets)
PAIRS = 500  # ranges in one query; the server allows 1,024 clauses at least
DOCUMENTS = 1_000_000  # in a search for copies, roughly: the server keeps a number for each
COPIES = 10_000  # of one answer
COUNTING = 3  # such searches at a time

_INDICES = {
    "terms": {"field": "_index", "size": BUCKETS},
    "aggs": {name: {name: {"field": "event.sequence"}} for name in ("min", "max")},
}


class _Bucket(msgspec.Struct, frozen=True, gc=False):
    key: float
    doc_count: int


class _Value(msgspec.Struct, frozen=True):
    value: float


class _Index(msgspec.Struct, frozen=True):
    key: str
    min: _Value
    max: _Value


class _Run(NamedTuple):
    """How many documents have a sequence of `first..last`."""

    first: int
    last: int
    found: int

    @property
    def width(self) -> int:
        return self.last - self.first + 1


class Counting:
    """Counts in one Elasticsearch, so many searches at a time."""

    def __init__(
        self,
        connection: Connection,
        most_buckets: int = BUCKETS,
        most_documents: int = DOCUMENTS,
    ) -> None:
        self._connection = connection
        self._most_buckets = most_buckets
        self._most_documents = most_documents
        self._slots = asyncio.Semaphore(COUNTING)

    async def sequences(self, name: str, filters: Filters) -> tuple[Ranges, Ranges]:
        """The sequences that are there, and those there more than once."""
        await self._connection.refresh(name)
        body = _counting_only(filters, {"indices": _INDICES})
        (found,) = await self._connection.searches(Counted[_Index], (name, body))
        in_each = await asyncio.gather(
            *(
                self._in_index(each.key, filters, (int(each.min.value), int(each.max.value)))
                for each in found.buckets
            )
        )
        stored, doubled = Ranges(), Ranges()
        for there, twice in in_each:
            doubled |= twice | (stored & there)
            stored |= there
        return stored, doubled

    async def _in_index(self, index: str, filters: Filters, span: Pair) -> tuple[Ranges, Ranges]:
        """The sequences that one backing index has, and those it has more than once."""
        crowded = await self._crowded(index, filters, span)
        copies: dict[int, int] = {}
        for found in await asyncio.gather(
            *(self._copies(index, filters, each) for each in crowded)
        ):
            copies |= found
        return await self._present(index, filters, span, copies), Ranges.of(copies)

    async def _crowded(self, index: str, filters: Filters, span: Pair) -> list[Pair]:
        """Spans with all that may be there twice, each with few enough documents to look at.

        A bucket with one document has nothing twice. One with too many is cut up further, unless
        it is of a single sequence.
        """
        spans: list[Pair] = []
        room = 0  # for further documents in the last one
        for run in await self._histogram(index, filters, Ranges([span])):
            if run.found > self._most_documents and run.width > 1:
                spans += await self._crowded(index, filters, (run.first, run.last))
                room = 0
            elif 1 < run.found <= room:
                spans[-1] = spans[-1][0], run.last
                room -= run.found
            elif run.found > 1:
                spans.append((run.first, run.last))
                room = self._most_documents - run.found
        return spans

    async def _copies(self, index: str, filters: Filters, span: Pair) -> dict[int, int]:
        """The sequences that one index has more than once, and how often too many."""
        terms = {"field": "event.sequence", "size": COPIES}
        least = {"min_doc_count": 2, "shard_min_doc_count": 2}
        found = await self._counts(index, filters, Ranges([span]), {"terms": {**terms, **least}})
        if len(found) < COPIES:
            return {int(bucket.key): bucket.doc_count - 1 for bucket in found}
        middle = sum(span) // 2
        return await self._copies(index, filters, (span[0], middle)) | await self._copies(
            index, filters, (middle + 1, span[1])
        )

    async def _present(
        self, index: str, filters: Filters, span: Pair, copies: Mapping[int, int]
    ) -> Ranges:
        """The sequences that one index has, by counting ever finer."""
        known = sorted(copies)
        whole: list[Pair] = []
        parts = [Ranges([span])]
        while parts:
            mixed: list[Pair] = []
            for run in await self._histogram(index, filters, parts.pop()):
                found = run.found
                if known:
                    inside = known[bisect_left(known, run.first) : bisect_left(known, run.last + 1)]
                    found -= sum(copies[sequence] for sequence in inside)
                proven = run.width in {1, found}
                (whole if proven else mixed).append((run.first, run.last))
            parts += self._parts(mixed)
        return Ranges(whole)

    def _parts(self, pairs: Sequence[Pair]) -> Iterator[Ranges]:
        """Pairs together, as long as each sequence in them can have a bucket of its own."""
        part: list[Pair] = []
        size = 0
        for first, last in pairs:
            width = last - first + 1
            if part and (size + width > self._most_buckets or len(part) == PAIRS):
                yield Ranges(part)
                part, size = [], 0
            part.append((first, last))
            size += width
        if part:
            yield Ranges(part)

    async def _histogram(self, index: str, filters: Filters, part: Ranges) -> list[_Run]:
        """How many documents there are, in ascending runs of one width, those without left out."""
        width = -(-len(part) // self._most_buckets)
        first, last = part.pairs[0][0], part.pairs[-1][1]
        grid = {"interval": width, "offset": first % width, "min_doc_count": 1}
        counts = await self._counts(
            index, filters, part, {"histogram": {"field": "event.sequence", **grid}}
        )
        return [
            _Run(int(each.key), min(int(each.key) + width - 1, last), each.doc_count)
            for each in counts
        ]

    async def _counts(
        self, index: str, filters: Filters, part: Ranges, counts: dict[str, Any]
    ) -> list[_Bucket]:
        inside = [
            {"range": {"event.sequence": {"gte": first, "lte": last}}} for first, last in part.pairs
        ]
        body = _counting_only([*filters, {"bool": {"should": inside}}], {"counts": counts})
        async with self._slots:
            (answer,) = await self._connection.searches(Counted[_Bucket], (index, body))
        return answer.buckets


def _counting_only(filters: Filters, aggregations: dict[str, Any]) -> dict[str, Any]:
    return {"size": 0, "track_total_hits": False, **where(filters), "aggs": aggregations}
