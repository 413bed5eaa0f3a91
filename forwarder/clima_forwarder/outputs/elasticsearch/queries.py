"""Reads Elasticsearch's data streams for `clima audit` and `clima readings`.

Which sequences of a lane are there is proven by counting: see sequences.py.
"""

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from clima_core.identity import DATA_SETS, DEAD_LETTERS, STREAMS, Lane, Stream
from clima_core.reading import QUANTITIES, rfc3339
from clima_core.wire import LaneReport, StationReport
from clima_elk.retention import OF_STREAM, windows
from clima_forwarder.outputs import means
from clima_forwarder.outputs.base import Presence, Reading
from clima_forwarder.outputs.elasticsearch import Options
from clima_forwarder.outputs.elasticsearch.connection import Connection
from clima_forwarder.outputs.elasticsearch.reports import JOURNALS
from clima_forwarder.outputs.elasticsearch.searches import Filters, Page, of_lane, where
from clima_forwarder.outputs.elasticsearch.sequences import Counting

PAGE = 1_000


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
    source: msgspec.Raw = msgspec.field(default=msgspec.Raw(), name="_source")


class Archive:
    """The reading side; `outputs.base.Archive` says what each call promises."""

    def __init__(self, options: Options) -> None:
        self._connection = Connection(options)
        self._counting = Counting(self._connection)

    async def open(self) -> None:
        await self._connection.check_version()

    async def close(self) -> None:
        await self._connection.close()

    async def reports(self) -> list[StationReport]:
        await self._connection.refresh(JOURNALS)
        found: dict[tuple[str, datetime], list[LaneReport]] = {}
        async for hit in self._pages(JOURNALS, [], ["station.id", "station.journal", "stream"]):
            said = msgspec.json.decode(hit.source, type=_Journal)
            found.setdefault((said.station.id, said.reported), []).append(_lane_report(said))
        return [StationReport(*said, found[said]) for said in sorted(found)]

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
        stored, doubled = await self._counting.sequences(DATA_SETS[lane.stream].name, filters)
        dead, _ = await self._counting.sequences(DEAD_LETTERS.name, letters)
        return Presence(stored, doubled, dead, await self._begins(lane, filters))

    async def _begins(self, lane: Lane, filters: Filters) -> datetime | None:
        body = {
            "size": 1,
            "track_total_hits": False,
            **where(filters),
            "sort": ["event.sequence", "@timestamp"],
            "_source": False,
        }
        (page,) = await self._connection.searches(Page[_Hit], (DATA_SETS[lane.stream].name, body))
        return _moment(page.hits[0].sort[1]) if page.hits else None

    async def retention(self) -> Mapping[Stream, timedelta | None]:
        kept = await windows(self._connection.exchange)
        return {stream: kept[name] for stream, name in OF_STREAM.items()}

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
            (page,) = await self._connection.searches(Page[_Hit], (index, body))
            for hit in page.hits:
                yield hit
            if len(page.hits) < PAGE:
                return
            body["search_after"] = page.hits[-1].sort


def _terms(field: str) -> dict[str, Any]:
    return {"terms": {"field": field}}


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def _lane_report(said: _Journal) -> LaneReport:
    return LaneReport(
        journal=said.station.journal,
        stream=said.stream,
        first=said.first,
        last=said.last,
        since=said.since,
        waiting=said.waiting,
        dropped=said.dropped,
    )


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
