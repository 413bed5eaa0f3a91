"""Was anything refused for good in the last days, and why?"""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import msgspec

from clima_core.identity import DEAD_LETTERS
from clima_core.reading import rfc3339
from clima_forwarder.doctor.finding import Finding, ok, warning
from clima_forwarder.doctor.site import Site
from clima_forwarder.outputs import sqlite
from clima_forwarder.outputs.sqlite.database import Database

NAME = "dead letters"

RECENT = timedelta(days=1)
REASONS = 5
_NEWEST = """
SELECT reason, count(*), group_concat(DISTINCT station), max(received), message
FROM deadletters JOIN lanes ON lanes.id = lane WHERE received >= ? GROUP BY reason
"""


class Reason(NamedTuple):
    """Why some were refused; `message` is the newest one's."""

    reason: str
    number: int
    stations: list[str]
    message: str


class _Reasons(msgspec.Struct, frozen=True):
    aggregations: dict[str, Any] = {}


async def look(site: Site) -> list[Finding]:
    """One line per reason."""
    since = datetime.now(UTC) - RECENT
    if isinstance(site.config.output, sqlite.Options):
        reasons = await _in_sqlite(site.config.output, since)
    else:
        reasons = await _in_elasticsearch(site, since)
    if not reasons:
        return [ok("none in the last 24 hours")]
    return [
        warning(
            f"{each.number} in the last 24 hours, {each.reason}, of {', '.join(each.stations)};"
            f" the newest: {' '.join(each.message.split())[:300]}",
            f"nothing is lost: they lie whole in {DEAD_LETTERS.name}",
        )
        for each in reasons
    ]


async def _in_elasticsearch(site: Site, since: datetime) -> list[Reason]:
    newest = {"top_hits": {"size": 1, "sort": [{"@timestamp": "desc"}], "_source": ["error"]}}
    body = {
        "size": 0,
        "query": {"range": {"@timestamp": {"gte": rfc3339(since)}}},
        "aggs": {
            "reasons": {
                "terms": {"field": "error.type", "size": REASONS, "missing": "unknown"},
                "aggs": {
                    "stations": {"terms": {"field": "station.id", "size": REASONS}},
                    "newest": newest,
                },
            }
        },
    }
    connection = await site.store()
    (found,) = await connection.searches(_Reasons, (DEAD_LETTERS.name, body))
    buckets = found.aggregations.get("reasons", {}).get("buckets", ())
    return [_reason(bucket) for bucket in buckets]


def _reason(bucket: dict[str, Any]) -> Reason:
    (hit,) = bucket["newest"]["hits"]["hits"]
    message = hit["_source"].get("error", {}).get("message", "")
    stations = [each["key"] for each in bucket["stations"]["buckets"]] or ["nobody known"]
    return Reason(bucket["key"], bucket["doc_count"], stations, message)


async def _in_sqlite(options: sqlite.Options, since: datetime) -> list[Reason]:
    database = Database(options.path)
    try:
        await database.open(create=False)

        def work(connection: sqlite3.Connection) -> list[Any]:
            return connection.execute(_NEWEST, (rfc3339(since),)).fetchall()

        rows = await database.read(work)
    finally:
        await database.close()
    return [Reason(why, count, who.split(","), text) for why, count, who, _, text in rows]
