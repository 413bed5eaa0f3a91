"""Does Logstash's queue move, and is there room in it and in the dead letter queue?"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import msgspec

from clima_forwarder.doctor.disk import size
from clima_forwarder.doctor.finding import Finding, UncheckedError, broken, ok, warning
from clima_forwarder.doctor.site import Site

NAME = "logstash"

PIPELINES = ("readings", "logs", "deadletters")
WATCHED_S = 6.0  # without an event that leaves, a queue stands still; statistics are 5 s old
LOOK_AGAIN_S = 0.5
FULL = 0.95


class _Events(msgspec.Struct, frozen=True):
    out: int = 0


class _Queue(msgspec.Struct, frozen=True):
    events_count: int = 0
    queue_size_in_bytes: int = 0
    max_queue_size_in_bytes: int = 0


class _DeadLetters(msgspec.Struct, frozen=True):
    queue_size_in_bytes: int = 0
    max_queue_size_in_bytes: int = 0
    dropped_events: int = 0


class _Pipeline(msgspec.Struct, frozen=True):
    events: _Events | None = None
    queue: _Queue | None = None
    dead_letter_queue: _DeadLetters | None = None


class _Statistics(msgspec.Struct, frozen=True):
    pipelines: dict[str, _Pipeline] = {}


async def look(site: Site) -> list[Finding]:
    """One line per pipeline, and one per dead letter queue that is nearly full."""
    if site.logstash is None:
        return []
    before = await _statistics(site, site.logstash.statistics_url)
    after, left = before, round(WATCHED_S / LOOK_AGAIN_S)
    while left and any(_stands(before, after, name) for name in after):
        await asyncio.sleep(LOOK_AGAIN_S)
        after = await _statistics(site, site.logstash.statistics_url)
        left -= 1
    found = []
    for name in PIPELINES:
        if name in after:
            found.append(_pipeline(site, name, before.get(name, _Pipeline()), after[name]))
            found += _dead_letters(name, after[name].dead_letter_queue)
        else:
            said = f"pipeline {name} is not running"
            found.append(broken(said, site.restart("logstash")))
    return found


async def _statistics(site: Site, url: str) -> dict[str, _Pipeline]:
    answer = await site.get(f"{url}/_node/stats/pipelines", login=site.logstash_login)
    if answer.status == 401:
        raise UncheckedError("Logstash refuses to tell its statistics with these credentials")
    try:
        return msgspec.json.decode(answer.body, type=_Statistics).pipelines
    except msgspec.MsgspecError as error:
        raise UncheckedError(f"{url} gives no statistics of Logstash: {error}") from error


def _pipeline(site: Site, name: str, before: _Pipeline, after: _Pipeline) -> Finding:
    waiting, queue = _waiting(after), after.queue or _Queue()
    room = f"{size(queue.queue_size_in_bytes)} of {size(queue.max_queue_size_in_bytes)}"
    if _full(queue):
        return broken(
            f"pipeline {name}: the queue is full ({room}), and takes nothing more",
            "nothing is lost: mend what Elasticsearch is broken in above, and it drains",
        )
    if not waiting:
        return ok(f"pipeline {name}: nothing waits")
    if _out(after) == _out(before):
        return broken(
            f"pipeline {name}: {waiting} events wait, and none left in {WATCHED_S:g} s",
            "see Elasticsearch above; else " + site.restart("logstash"),
        )
    said = f"pipeline {name}: {waiting} events wait, and it moves"
    return warning(said, "wait") if queue.queue_size_in_bytes > _half(queue) else ok(said)


def _dead_letters(name: str, queue: _DeadLetters | None) -> list[Finding]:
    if queue is None:
        return []
    mend = "see what is refused in logs-clima.deadletter-default; raise dead_letter_queue.max_bytes"
    if queue.dropped_events:
        said = f"pipeline {name}: {queue.dropped_events} dead letters dropped, the queue being full"
        return [broken(said, f"{mend}; their stations send again what is missing")]
    if _full(_Queue(0, queue.queue_size_in_bytes, queue.max_queue_size_in_bytes)):
        return [broken(f"pipeline {name}: the dead letter queue is full", mend)]
    return []


def _full(queue: _Queue) -> bool:
    most = queue.max_queue_size_in_bytes
    return most > 0 and queue.queue_size_in_bytes >= FULL * most


def _half(queue: _Queue) -> float:
    return queue.max_queue_size_in_bytes / 2 or float("inf")


def _stands(before: Mapping[str, _Pipeline], after: Mapping[str, _Pipeline], name: str) -> bool:
    """Whether events wait, and none has been seen to leave."""
    return bool(_waiting(after[name])) and _out(after[name]) == _out(before.get(name, _Pipeline()))


def _waiting(pipeline: _Pipeline) -> int:
    return pipeline.queue.events_count if pipeline.queue else 0


def _out(pipeline: _Pipeline) -> int:
    return pipeline.events.out if pipeline.events else 0
