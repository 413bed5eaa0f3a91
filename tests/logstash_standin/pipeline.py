"""One pipeline: its queue, its workers, and what its statistics say."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from tests.logstash_standin.queue import Queue
from tests.logstash_standin.trouble import Trouble

RETRY_S, RETRY_CAP_S = 0.2, 2.0


class Item(msgspec.Struct):
    """What became of one line of a bulk."""

    class Error(msgspec.Struct):
        type: str
        reason: str | None = None

    status: int
    error: Error | None = None


class Bulk(msgspec.Struct):
    items: list[dict[str, Item]]


class Process(Protocol):
    """What a pipeline wants of the Logstash it is part of."""

    life: str
    trouble: Trouble
    flowing: asyncio.Event

    async def bulk(self, lines: list[tuple[bytes, bytes]]) -> list[Item] | None:
        """What Elasticsearch says to each line, or None where it says nothing of use."""

    def refused(self, document: bytes, item: Item) -> None:
        """Elasticsearch refused a document."""


class Pipeline:
    """A queue, and the workers that write what is in it to Elasticsearch."""

    def __init__(
        self,
        name: str,
        queue: Queue,
        sort: Callable[[bytes], tuple[bytes, bytes] | None],
        logstash: Process,
    ) -> None:
        self.name = name
        self.queue = queue
        self._sort = sort
        self._logstash = logstash
        self._zero()

    def push(self, lines: list[bytes]) -> None:
        self.taken_in += len(lines)
        self.queue.push(lines)

    async def work(self) -> None:
        while True:
            await self._logstash.flowing.wait()
            await self.queue.some()
            if not self.queue.unread or not self._logstash.flowing.is_set():
                continue
            lines, mark = self.queue.take()
            sorted_ = [action for line in lines if (action := self._sort(line))]
            self.filtered += len(lines)
            self.given += len(sorted_)
            await asyncio.sleep(self._logstash.trouble.slow_s)
            for _ in range(2 if self._logstash.trouble.double else 1):
                await self._write(sorted_)
            self.written += len(sorted_)
            self.out += len(lines)
            self.queue.done(mark)

    async def _write(self, pending: list[tuple[bytes, bytes]]) -> None:
        """Until Elasticsearch has answered for each of them, however long it takes."""
        failures = 0
        while pending:
            items = await self._logstash.bulk(pending)
            retry = list(pending) if items is None else []
            for action, item in zip(pending, items or (), strict=False):
                if item.status in {400, 404}:
                    self.dead += 1
                    self._logstash.refused(action[1], item)
                elif item.status not in {200, 201, 409}:
                    retry.append(action)
            pending = retry
            if pending:
                await asyncio.sleep(min(RETRY_CAP_S, RETRY_S * 2**failures))
                failures += 1

    def begin_anew(self) -> None:
        """With an empty queue."""
        self.queue.clear()
        self._zero()

    def _zero(self) -> None:
        self.taken_in = self.filtered = self.out = 0
        self.refused = self.given = self.written = self.dead = 0
        self._counted: int | None = None  # what was queued when it was last looked at

    def count(self) -> None:
        """Look how much is queued, for the statistics."""
        self._counted = self.queue.unread

    def statistics(self) -> dict[str, Any]:
        """The part of `GET /_node/stats/pipelines` that is about this pipeline."""
        size, name = self.queue.size, self.name
        counted = {} if self._counted is None else {"events_count": self._counted}
        return {
            "ephemeral_id": self._logstash.life,
            "events": {
                "in": self.taken_in,
                "filtered": self.out,
                "out": self.out,
                "duration_in_millis": 0,
                "queue_push_duration_in_millis": 0,
            },
            "plugins": {
                "inputs": [{"id": name, "name": "http", "events": {"out": self.taken_in}}],
                "codecs": [],
                "filters": [
                    {
                        "id": "filter",
                        "name": "mutate",
                        "events": {"in": self.filtered, "out": self.filtered},
                    }
                ],
                "outputs": [
                    {
                        "id": "elasticsearch",
                        "name": "elasticsearch",
                        "events": {"in": self.given, "out": self.written},
                        "documents": {"successes": self.written - self.dead},
                    },
                    {
                        "id": "refused",
                        "name": "pipeline",
                        "events": {"in": self.refused, "out": self.refused},
                    },
                ],
            },
            "reloads": {"successes": 0, "failures": 0, "last_error": None},
            "queue": {
                "type": "persisted",
                "capacity": {"queue_size_in_bytes": size, "max_queue_size_in_bytes": 2**30},
                **counted,
                "queue_size_in_bytes": size,
                "max_queue_size_in_bytes": 2**30,
            },
            "dead_letter_queue": {
                "queue_size_in_bytes": 1,
                "max_queue_size_in_bytes": 2**30,
                "dropped_events": 0,
                "last_error": "no errors",
                "storage_policy": "drop_newer",
            },
        }
