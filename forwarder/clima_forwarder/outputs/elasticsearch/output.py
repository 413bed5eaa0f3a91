"""Writes records to Elasticsearch's data streams by bulk `create`, and says what became of each.

What always holds:

- `_id` is the record's identity, and every write is a `create`: 409 means "already there". An
  `_id` is unique only within one backing index, so after a rollover the same one is taken
  again; hence `find` searches the whole data stream by sequence.
- Only a document that the server finds fault with (400) is `refused`. What is the operator's to
  mend (a read-only index, a missing privilege or pipeline, too many shards) is `retry`, or good
  readings would end as dead letters.
- No request is sent twice (see connection.py).
"""

import base64
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from clima_core.errors import ClimaError, ConfigurationError, UnavailableError
from clima_core.identity import DATA_SETS, DEAD_LETTERS, STREAMS, Lane, Stream, lane_id
from clima_core.reading import rfc3339
from clima_core.wire import LaneReport, StationReport
from clima_elk import elasticsearch as assets
from clima_forwarder.outputs.base import (
    FIND_LIMIT,
    Confirmed,
    DeadLetter,
    Document,
    Found,
    Highest,
    Result,
)
from clima_forwarder.outputs.elasticsearch import Options
from clima_forwarder.outputs.elasticsearch.answers import Page
from clima_forwarder.outputs.elasticsearch.connection import BulkItem, Connection

JOURNALS = "clima-journals"
BULK_BYTES = 1_000_000  # of one bulk request, so that memory stays bounded
FIND_STEP = 1_000  # sequences per search of `find`, for the same reason
STORED = Result("stored")
EXISTS = Result("exists")

BLAMELESS = ("index_closed_exception", "validation_exception")  # 400s that no document caused
# Another: an index names an ingest pipeline that is not there, as where indices were restored into
# a cluster that was not provisioned. Of its type there are others, which a document did cause.
PIPELINE_GONE = ("illegal_argument_exception", "pipeline with id [")
Filters = Sequence[dict[str, Any]]
_ANSWER = "errors,items.*.status,items.*.error"


class _Bulk(msgspec.Struct, frozen=True):
    """What a bulk is answered with; the items are looked at only where there are errors."""

    errors: bool
    items: msgspec.Raw = msgspec.Raw(b"[]")


class _Hit(msgspec.Struct, frozen=True):
    sort: tuple[int]
    source: msgspec.Raw = msgspec.field(default=msgspec.Raw(), name="_source")


class _Max(msgspec.Struct, frozen=True):
    value: float | None


class _Last(msgspec.Struct, frozen=True):
    last: _Max = _Max(None)


class _Highest(msgspec.Struct, frozen=True):
    aggregations: _Last = _Last()  # missing where there is no index yet


class _Reported(msgspec.Struct, frozen=True):
    reported: datetime = datetime.min.replace(tzinfo=UTC)


class _Kept(msgspec.Struct, frozen=True):
    """A report that is there; one that is not is as old as can be."""

    version: int = msgspec.field(default=0, name="_version")
    source: _Reported = msgspec.field(default=_Reported(), name="_source")


class _Reports(msgspec.Struct, frozen=True):
    docs: list[_Kept]


@dataclass(frozen=True, eq=False)
class _Said:
    """What a station said of one lane."""

    reported: datetime
    station: str
    lane: LaneReport

    @property
    def id(self) -> str:
        return lane_id(self.station, self.lane.lane)

    @property
    def version(self) -> int:
        """The moment of reporting, so that the newest wins in whatever order they come."""
        return int(self.reported.timestamp() * 1000)

    def lines(self, version: int) -> bytes:
        """Its part of a bulk."""
        lane = self.lane
        body = {
            "station": {"id": self.station, "journal": lane.journal},
            "reported": rfc3339(self.reported),
            "stream": lane.stream,
            "first": lane.first,
            "last": lane.last,
            "since": rfc3339(lane.since),
            "waiting": lane.waiting,
            "dropped": lane.dropped,
        }
        under = {"version": version, "version_type": "external"}
        return _lines({"index": {"_index": JOURNALS, "_id": self.id, **under}}, body)


class Output:
    """The output `elasticsearch`; `outputs.base.Output` says what each call promises."""

    def __init__(self, options: Options) -> None:
        self.connection = Connection(options)
        self._install_templates = options.install_templates
        self._refreshed: dict[str, float] = {}  # data stream -> when its last refresh began

    async def open(self) -> None:
        await self.connection.check_version()
        request = self.connection.exchange
        try:
            if self._install_templates:
                await assets.install(request)
            elif missing := await assets.missing(request):
                raise ConfigurationError(
                    f"{self.connection.url} lacks the index templates {', '.join(missing)}, or has"
                    " older ones: run `clima provision`, or set install_templates"
                )
        except assets.InstallError as error:
            raise self.connection.refusal(error) from error

    async def close(self) -> None:
        await self.connection.close()

    async def create(self, documents: Sequence[Document]) -> list[Result]:
        lines: list[bytes] = []
        station, lane, action = "", None, b""
        for each in documents:  # hundreds of a lane in a row: the action is made for the first
            if each.lane is not lane or each.station is not station:
                station, lane = each.station, each.lane
                action = _create(station, lane)
            lines.append(b'%b%d"}}\n%b\n' % (action, each.sequence, each.body))
        return await self._write(lines)

    async def confirmed(self, *_: object) -> Confirmed:
        return Confirmed()  # nothing is ever on the way: `create` says it at once

    async def dead_letter(self, letters: Sequence[DeadLetter]) -> list[Result]:
        return await self._write(
            [
                _lines({"create": {"_index": DEAD_LETTERS.name, "_id": each.id}}, _letter(each))
                for each in letters
            ]
        )

    async def find(
        self, station: str, lane: Lane, first: int, last: int, *, since: float
    ) -> list[Found]:
        if last - first >= FIND_LIMIT:
            raise ValueError(f"{last - first + 1} sequences; at most {FIND_LIMIT}")
        stream = DATA_SETS[lane.stream].name
        await self._refresh((stream, DEAD_LETTERS.name), since)
        options = {"size": FIND_LIMIT, "sort": ["event.sequence"], "track_total_hits": True}
        found: list[Found] = []
        for start in range(first, last + 1, FIND_STEP):
            query = of_lane(station, lane.journal, start, min(start + FIND_STEP - 1, last))
            letters = [*query, {"term": {"deadletter.stream": lane.stream}}]
            answers = await self.connection.searches(
                Page[_Hit],
                (stream, {**options, **where(query)}),
                (DEAD_LETTERS.name, {**options, **where(letters), "_source": False}),
            )
            for page in answers:
                if page.total != len(page.hits):
                    raise ClimaError(f"{station}: too many copies of {lane} from {start}")
                found += (Found(hit.sort[0], bytes(hit.source) or None) for hit in page.hits)
        return sorted(found, key=lambda one: one.sequence)

    async def highest(self, station: str, journal: str) -> dict[Stream, Highest]:
        data_streams = [DATA_SETS[stream].name for stream in STREAMS]
        await self.connection.refresh(*data_streams, DEAD_LETTERS.name, JOURNALS)
        lane = of_lane(station, journal)
        searches = [
            (index, {"size": 0, **where(query), "aggs": {"last": {"max": {"field": field}}}})
            for stream in STREAMS
            for index, query, field in (
                (DATA_SETS[stream].name, lane, "event.sequence"),
                (
                    DEAD_LETTERS.name,
                    [*lane, {"term": {"deadletter.stream": stream}}],
                    "event.sequence",
                ),
                (JOURNALS, [*lane, {"term": {"stream": stream}}], "last"),
            )
        ]
        answers = await self.connection.searches(_Highest, *searches)
        lasts = [int(answer.aggregations.last.value or 0) for answer in answers]
        return {
            stream: Highest(max(stored, dead), reported)
            for stream, stored, dead, reported in zip(
                STREAMS, lasts[0::3], lasts[1::3], lasts[2::3], strict=True
            )
            if stored or dead or reported
        }

    async def report(self, reports: Sequence[StationReport]) -> None:
        said = [
            _Said(report.reported, report.station, lane)
            for report in reports
            for lane in report.lanes
        ]
        if outdone := await self._keep({each: each.version for each in said}):
            await self._keep(await self._outdated(outdone))

    async def _keep(self, versions: Mapping[_Said, int]) -> list[_Said]:
        """Keep reports under these versions; returns those of which a higher one was there."""
        results = await self._write([said.lines(version) for said, version in versions.items()])
        for result in results:
            if result.status in ("refused", "retry"):
                raise UnavailableError(f"a station's report could not be kept: {result.reason}")
        return [said for said, result in zip(versions, results, strict=True) if result == EXISTS]

    async def _outdated(self, outdone: Sequence[_Said]) -> dict[_Said, int]:
        """Those that are to replace what is there all the same, and the versions that do it.

        The clock of whoever wrote that was ahead: it lies in the future still, or what replaced
        it then had to take a version ahead of its time.
        """
        asked = [{"_index": JOURNALS, "_id": said.id, "_source": ["reported"]} for said in outdone]
        body = msgspec.json.encode({"docs": asked})
        there = (await self.connection.request("POST", "/_mget", _Reports, body)).docs
        now = datetime.now(UTC)
        return {
            said: kept.version + 1
            for said, kept in zip(outdone, there, strict=True)
            if said.reported > kept.source.reported or kept.source.reported > now
        }

    async def _write(self, lines: Sequence[bytes]) -> list[Result]:
        results: list[Result] = []
        for body, count in _bulks(lines):
            answer = await self.connection.request(
                "POST", "/_bulk", _Bulk, body, timeout="10s", filter_path=_ANSWER
            )
            if answer.errors:
                results += self._judged(answer, count)
            else:
                results += [STORED] * count
        return results

    def _judged(self, answer: _Bulk, count: int) -> list[Result]:
        """What became of each document of a bulk; no two may be taken for one another."""
        items = self.connection.decoded(answer.items, list[dict[str, BulkItem]])
        results = [_result(item) for entry in items for item in entry.values()]
        if len(results) != count:
            raise UnavailableError(f"{self.connection.url} spoke of {len(results)} of {count}")
        return results

    async def _refresh(self, names: Sequence[str], since: float) -> None:
        stale = [name for name in names if self._refreshed.get(name, -1.0) < since]
        if stale:
            began = time.monotonic()
            await self.connection.refresh(*stale)
            self._refreshed.update(dict.fromkeys(stale, began))


def where(filters: Filters) -> dict[str, Any]:
    """The query part of a search: all of the filters hold."""
    return {"query": {"bool": {"filter": filters}}}


def of_lane(
    station: str, journal: str, first: int | None = None, last: int | None = None
) -> list[dict[str, Any]]:
    """Filters for one journal's documents, or for a range of its sequences."""
    filters: list[dict[str, Any]] = [
        {"term": {"station.id": station}},
        {"term": {"station.journal": journal}},
    ]
    if first is not None:
        filters.append({"range": {"event.sequence": {"gte": first, "lte": last}}})
    return filters


def _create(station: str, lane: Lane) -> bytes:
    """The action line of a lane's records, up to the sequence."""
    index = DATA_SETS[lane.stream].name
    return f'{{"create":{{"_index":"{index}","_id":"{lane_id(station, lane)}:'.encode()


def _lines(action: dict[str, Any], body: dict[str, Any]) -> bytes:
    return b"%b\n%b\n" % (msgspec.json.encode(action), msgspec.json.encode(body))


def _bulks(lines: Sequence[bytes]) -> Iterator[tuple[bytes, int]]:
    """Bodies of at most `BULK_BYTES` (or one document), and how many documents each has."""
    if lines and sum(map(len, lines)) <= BULK_BYTES:
        yield b"".join(lines), len(lines)
        return
    chunk: list[bytes] = []
    size = 0
    for line in lines:
        if chunk and size + len(line) > BULK_BYTES:
            yield b"".join(chunk), len(chunk)
            chunk, size = [], 0
        chunk.append(line)
        size += len(line)
    if chunk:
        yield b"".join(chunk), len(chunk)


def _result(item: BulkItem) -> Result:
    if item.status == 201:
        return STORED
    if item.status == 409:
        return EXISTS
    status: Literal["refused", "retry"] = "retry"
    if item.status == 400 and item.error and not _blameless(item.error):
        status = "refused"
    return Result(status, str(item.error))


def _blameless(error: assets.Cause) -> bool:
    """Whether the document has nothing to do with it. Logstash's deadletters.conf says the same."""
    kind, beginning = PIPELINE_GONE
    gone = error.type == kind and (error.reason or "").startswith(beginning)
    return gone or error.type in BLAMELESS


def _letter(letter: DeadLetter) -> dict[str, Any]:
    """The document of a dead letter; `event.original` is base64 where it is no text."""
    try:
        original, encoding = letter.body.decode(), "utf-8"
    except UnicodeDecodeError:
        original, encoding = base64.b64encode(letter.body).decode(), "base64"
    found_by = {
        "@timestamp": rfc3339(letter.received),
        "event": {"id": letter.id, "sequence": letter.sequence, "original": original},
        "station": {"id": letter.station, "journal": letter.lane.journal},
        "deadletter": {"stream": letter.lane.stream, "encoding": encoding},
    }
    if letter.bare:
        return found_by
    error = {"type": letter.reason, "message": letter.message}
    return {**found_by, "data_stream": DEAD_LETTERS._asdict(), "error": error}
