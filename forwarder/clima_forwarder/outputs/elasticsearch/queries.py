"""Reads Elasticsearch's data streams for `clima audit` and `clima readings`.

Which sequences of a lane are there is proven by counting, one backing index at a time: a bucket
of a histogram whose count is its width is whole, one that is missing is empty, and the mixed
ones are counted again, finer, down to single sequences. A count proves that only where no
sequence occurs twice in the index. `_id` sees to that for what Clima writes; copies under
another `_id` are looked for by themselves, and taken off the counts.
"""

import asyncio
from bisect import bisect_left
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from clima_core.identity import DATA_SETS, DEAD_LETTERS, STREAMS, Lane
from clima_core.ranges import Pair, Ranges
from clima_core.reading import QUANTITIES, rfc3339
from clima_core.wire import LaneReport, StationReport
from clima_forwarder.outputs import means
from clima_forwarder.outputs.base import Presence, Reading
from clima_forwarder.outputs.elasticsearch import Options
from clima_forwarder.outputs.elasticsearch.connection import Connection
from clima_forwarder.outputs.elasticsearch.output import JOURNALS, of_lane, where

BUCKETS = 40_000  # of one answer; the server allows 65,536 (search.max_buckets)
PAIRS = 500  # ranges in one query; the server allows 1,024 clauses at least
COPIES_STEP = 1_000_000  # sequences per search for copies: the server keeps a number for each
COPIES = 10_000  # of one answer
COUNTING = 3  # such searches at a time
PAGE = 1_000

Filters = Sequence[dict[str, Any]]


class _Bucket(msgspec.Struct, frozen=True, gc=False):
    key: float
    doc_count: int


class _Buckets(msgspec.Struct, frozen=True):
    buckets: list[_Bucket] = []


class _Counts(msgspec.Struct, frozen=True):
    counts: _Buckets = _Buckets()


class _Counted(msgspec.Struct, frozen=True):
    aggregations: _Counts = _Counts()


class _Aggregated(msgspec.Struct, frozen=True):
    aggregations: dict[str, Any] = {}


class _Who(msgspec.Struct, frozen=True):
    id: str
    journal: str


class _Journal(LaneReport, frozen=True, kw_only=True):
    """A document of `clima-journals`: a lane's report, and whose it is."""

    station: _Who
    reported: datetime
    journal: str = ""


class _Values(msgspec.Struct, frozen=True):
    weather: dict[str, float | None] = {}


class _Hit(msgspec.Struct, frozen=True):
    sort: list[Any]
    source: msgspec.Raw = msgspec.field(name="_source")


class _Hits(msgspec.Struct, frozen=True):
    hits: list[_Hit]


class _Page(msgspec.Struct, frozen=True):
    hits: _Hits


class Archive:
    """The reading side; `outputs.base.Archive` says what each call promises."""

    def __init__(self, options: Options) -> None:
        self._connection = Connection(options)
        self._counting = asyncio.Semaphore(COUNTING)

    async def open(self) -> None:
        await self._connection.check_version()

    async def close(self) -> None:
        await self._connection.close()

    async def reports(self) -> list[StationReport]:
        await self._connection.refresh(JOURNALS)
        found: dict[str, list[_Journal]] = {}
        async for hit in self._pages(JOURNALS, [], ["station.id", "station.journal", "stream"]):
            journal = msgspec.json.decode(hit.source, type=_Journal)
            found.setdefault(journal.station.id, []).append(journal)
        return [_station_report(station, journals) for station, journals in found.items()]

    async def lanes(self) -> list[tuple[str, Lane]]:
        names = [DATA_SETS[stream].name for stream in STREAMS]
        await self._connection.refresh(*names, DEAD_LETTERS.name)
        sources = {"station": _terms("station.id"), "journal": _terms("station.journal")}
        found = {
            (bucket["key"]["station"], Lane(bucket["key"]["journal"], stream))
            for stream, name in zip(STREAMS, names, strict=True)
            async for bucket in self._composite(name, [], sources)
        }
        sources["stream"] = _terms("deadletter.stream")
        async for bucket in self._composite(DEAD_LETTERS.name, [], sources):
            key = bucket["key"]
            found.add((key["station"], Lane(key["journal"], key["stream"])))
        return sorted(found)

    async def presence(self, station: str, lane: Lane) -> Presence:
        filters = of_lane(station, lane.journal)
        letters = [*filters, {"term": {"deadletter.stream": lane.stream}}]
        stored, doubled = await self._sequences(DATA_SETS[lane.stream].name, filters)
        dead, _ = await self._sequences(DEAD_LETTERS.name, letters)
        return Presence(stored, doubled, dead)

    async def readings(
        self,
        station: str | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        every: timedelta | None = None,
    ) -> AsyncIterator[Reading]:
        filters: list[dict[str, Any]] = [{"term": {"station.id": station}}] if station else []
        limits = {"gte": start and rfc3339(start), "lt": end and rfc3339(end)}
        filters.append({"range": {"@timestamp": {k: v for k, v in limits.items() if v}}})
        index = DATA_SETS["w"].name
        await self._connection.refresh(index)
        pages = self._means(index, filters, every) if every else self._single(index, filters)
        async for reading in pages:
            yield reading

    async def _single(self, index: str, filters: Filters) -> AsyncIterator[Reading]:
        """Each reading; one that is stored twice is shown once."""
        order = ["@timestamp", "station.id", "station.journal", "event.sequence"]
        before: list[Any] = []
        async for hit in self._pages(index, filters, order, ["weather"]):
            if hit.sort != before:
                values = msgspec.json.decode(hit.source, type=_Values).weather
                yield Reading(_moment(hit.sort[0]), hit.sort[1], values)
            before = hit.sort

    async def _means(
        self, index: str, filters: Filters, every: timedelta
    ) -> AsyncIterator[Reading]:
        interval = f"{int(every.total_seconds() * 1000)}ms"
        time = {"date_histogram": {"field": "@timestamp", "fixed_interval": interval}}
        sources = {"time": time, "station": _terms("station.id")}
        async for bucket in self._composite(index, filters, sources, _MEANS):
            yield Reading(_moment(bucket["key"]["time"]), bucket["key"]["station"], _values(bucket))

    async def _sequences(self, name: str, filters: Filters) -> tuple[Ranges, Ranges]:
        """The sequences that are there, and those there more than once."""
        await self._connection.refresh(name)
        spans = {"first": _of("min"), "last": _of("max")}
        indices = {"terms": {"field": "_index", "size": BUCKETS}, "aggs": spans}
        found = (await self._aggregated(name, filters, {"indices": indices})).get("indices", {})
        in_each = await asyncio.gather(
            *(
                self._in_index(bucket["key"], filters, (bucket["first"], bucket["last"]))
                for bucket in found.get("buckets", ())
            )
        )
        stored, doubled = Ranges(), Ranges()
        for there, twice in in_each:
            doubled |= twice | (stored & there)
            stored |= there
        return stored, doubled

    async def _in_index(
        self, index: str, filters: Filters, values: Sequence[dict[str, float]]
    ) -> tuple[Ranges, Ranges]:
        """The sequences that one backing index has, and those it has more than once."""
        first, last = (int(value["value"]) for value in values)
        copies: dict[int, int] = {}
        for found in await asyncio.gather(
            *(
                self._copies(index, filters, (start, min(start + COPIES_STEP - 1, last)))
                for start in range(first, last + 1, COPIES_STEP)
            )
        ):
            copies |= found
        return await self._present(index, filters, (first, last), copies), Ranges.of(copies)

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
            part = parts.pop()
            width = -(-len(part) // BUCKETS)
            first, last = part.pairs[0][0], part.pairs[-1][1]
            grid = {"interval": width, "offset": first % width, "min_doc_count": 1}
            counts = await self._counts(
                index, filters, part, {"histogram": {"field": "event.sequence", **grid}}
            )
            mixed: list[Pair] = []
            for bucket in counts:
                pair = int(bucket.key), min(int(bucket.key) + width - 1, last)
                found = bucket.doc_count
                if known:
                    inside = known[bisect_left(known, pair[0]) : bisect_left(known, pair[1] + 1)]
                    found -= sum(copies[sequence] for sequence in inside)
                proven = width == 1 or found == pair[1] - pair[0] + 1
                (whole if proven else mixed).append(pair)
            parts += _parts(mixed)
        return Ranges(whole)

    async def _counts(
        self, index: str, filters: Filters, part: Ranges, counts: dict[str, Any]
    ) -> list[_Bucket]:
        inside = [
            {"range": {"event.sequence": {"gte": first, "lte": last}}} for first, last in part.pairs
        ]
        query = where([*filters, {"bool": {"should": inside}}])
        body = {"size": 0, "track_total_hits": False, **query, "aggs": {"counts": counts}}
        async with self._counting:
            (answer,) = await self._connection.searches(_Counted, (index, body))
        return answer.aggregations.counts.buckets

    async def _aggregated(
        self, index: str, filters: Filters, aggregations: dict[str, Any]
    ) -> dict[str, Any]:
        body = {"size": 0, "track_total_hits": False, **where(filters), "aggs": aggregations}
        (answer,) = await self._connection.searches(_Aggregated, (index, body))
        return answer.aggregations

    async def _composite(
        self,
        index: str,
        filters: Filters,
        sources: Mapping[str, Any],
        aggregations: Mapping[str, Any] | None = None,
    ) -> AsyncIterator[dict[str, Any]]:
        """All buckets, page by page."""
        page: dict[str, Any] = {
            "size": PAGE,
            "sources": [{name: source} for name, source in sources.items()],
        }
        while True:
            request = {"page": {"composite": page, "aggs": aggregations or {}}}
            answer = (await self._aggregated(index, filters, request)).get("page", {})
            for bucket in answer.get("buckets", ()):
                yield bucket
            if "after_key" not in answer:
                return
            page["after"] = answer["after_key"]

    async def _pages(
        self,
        index: str,
        filters: Filters,
        order: list[str],
        fields: list[str] | bool = True,
    ) -> AsyncIterator[_Hit]:
        """All documents in order, page by page; equal ones may be passed over between pages."""
        body: dict[str, Any] = {"size": PAGE, **where(filters), "sort": order, "_source": fields}
        body["track_total_hits"] = False
        while True:
            (page,) = await self._connection.searches(_Page, (index, body))
            for hit in page.hits.hits:
                yield hit
            if len(page.hits.hits) < PAGE:
                return
            body["search_after"] = page.hits.hits[-1].sort


def _terms(field: str) -> dict[str, Any]:
    return {"terms": {"field": field}}


def _of(function: str) -> dict[str, Any]:
    return {function: {"field": "event.sequence"}}


def _parts(pairs: Sequence[Pair]) -> Iterator[Ranges]:
    """Pairs together, as long as each sequence in them can have a bucket of its own."""
    part: list[Pair] = []
    size = 0
    for first, last in pairs:
        width = last - first + 1
        if part and (size + width > BUCKETS or len(part) == PAIRS):
            yield Ranges(part)
            part, size = [], 0
        part.append((first, last))
        size += width
    if part:
        yield Ranges(part)


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def _station_report(station: str, journals: Sequence[_Journal]) -> StationReport:
    lanes = [
        LaneReport(
            journal=journal.station.journal,
            stream=journal.stream,
            first=journal.first,
            last=journal.last,
            since=journal.since,
            waiting=journal.waiting,
            dropped=journal.dropped,
        )
        for journal in journals
    ]
    return StationReport(station, max(journal.reported for journal in journals), lanes)


_MEANS: dict[str, Any] = {
    name: {"avg": {"field": f"weather.{name}"}}
    for name in QUANTITIES
    if name not in (means.AMOUNT, means.DIRECTION)
}
_MEANS[means.AMOUNT] = {"stats": {"field": f"weather.{means.AMOUNT}"}}  # a sum of nothing is 0
_MEANS[means.DIRECTION] = {
    "histogram": {"field": f"weather.{means.DIRECTION}", "interval": 10, "min_doc_count": 1},
    "aggs": {"mean": {"avg": {"field": f"weather.{means.DIRECTION}"}}},
}


def _values(bucket: Mapping[str, Any]) -> dict[str, float | None]:
    """A bucket's means; what no reading in it measured is absent."""
    values = {name: bucket[name].get("value") for name in _MEANS}
    if bucket[means.AMOUNT]["count"]:
        values[means.AMOUNT] = bucket[means.AMOUNT]["sum"]
    if sectors := bucket[means.DIRECTION]["buckets"]:
        values[means.DIRECTION] = means.direction(
            (sector["mean"]["value"], sector["doc_count"]) for sector in sectors
        )
    return means.rounded({name: value for name, value in values.items() if value is not None})
