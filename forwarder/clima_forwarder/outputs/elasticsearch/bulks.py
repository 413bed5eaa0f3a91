"""Bulk requests: what is written, and what Elasticsearch says became of each document.

What always holds: only a document that the server finds fault with (400) is `refused`. What is the
operator's to mend (a read-only index, a missing privilege or pipeline, too many shards) is `retry`,
or good readings would end as dead letters.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import msgspec

from clima_core.errors import UnavailableError
from clima_elk.elasticsearch import Cause
from clima_forwarder.outputs.base import Result
from clima_forwarder.outputs.elasticsearch.connection import BulkItem, Connection

BULK_BYTES = 1_000_000  # of one bulk request, so that memory stays bounded
STORED = Result("stored")
EXISTS = Result("exists")

BLAMELESS = ("index_closed_exception", "validation_exception")  # 400s that no document caused
# Another: an index names an ingest pipeline that is not there, as where indices were restored into
# a cluster that was not provisioned. Of its type there are others, which a document did cause.
PIPELINE_GONE = ("illegal_argument_exception", "pipeline with id [")
_ANSWER = "errors,items.*.status,items.*.error"


class _Bulk(msgspec.Struct, frozen=True):
    """What a bulk is answered with; the items are looked at only where there are errors."""

    errors: bool
    items: msgspec.Raw = msgspec.Raw(b"[]")


async def write(connection: Connection, lines: Sequence[bytes]) -> list[Result]:
    """Send the parts of a bulk, one a document, in as few requests as may be; one Result each."""
    results: list[Result] = []
    for body, count in _bulks(lines):
        answer = await connection.request(
            "POST", "/_bulk", _Bulk, body, timeout="10s", filter_path=_ANSWER
        )
        if answer.errors:
            results += _judged(connection, answer, count)
        else:
            results += [STORED] * count
    return results


def part(action: dict[str, Any], body: dict[str, Any]) -> bytes:
    """One document's part of a bulk."""
    return b"%b\n%b\n" % (msgspec.json.encode(action), msgspec.json.encode(body))


def _judged(connection: Connection, answer: _Bulk, count: int) -> list[Result]:
    """What became of each document of a bulk; no two may be taken for one another."""
    items = connection.decoded(answer.items, list[dict[str, BulkItem]])
    results = [_result(item) for entry in items for item in entry.values()]
    if len(results) != count:
        raise UnavailableError(f"{connection.url} spoke of {len(results)} of {count}")
    return results


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
    if item.status in (200, 201):  # a report that takes the place of another: 200
        return STORED
    if item.status == 409:
        return EXISTS
    status: Literal["refused", "retry"] = "retry"
    if item.status == 400 and item.error and not _blameless(item.error):
        status = "refused"
    return Result(status, str(item.error))


def _blameless(error: Cause) -> bool:
    """Whether the document has nothing to do with it. Logstash's deadletters.conf says the same."""
    kind, beginning = PIPELINE_GONE
    gone = error.type == kind and (error.reason or "").startswith(beginning)
    return gone or error.type in BLAMELESS
