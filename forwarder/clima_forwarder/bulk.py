"""Joins what many stations send into few requests to the store.

A request leaves when enough has gathered or after a short wait, whichever is first; at most
`CONCURRENT` are under way. Each caller gets the results of its own documents, and learns by
`UnavailableError` that the outcome of the request they were in is unknown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from clima_forwarder.outputs.base import Document, Output, Result

MOST_DOCUMENTS = 2000
LINGER_S = 0.05
CONCURRENT = 2


class Bulk:
    """Gathers documents for `Output.create`."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._waiting: list[tuple[Sequence[Document], asyncio.Future[list[Result]]]] = []
        self._count = 0
        self._slots = asyncio.Semaphore(CONCURRENT)
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def create(self, documents: Sequence[Document]) -> list[Result]:
        """Like `Output.create`, in company."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[Result]] = loop.create_future()
        self._waiting.append((documents, future))
        self._count += len(documents)
        if self._count >= MOST_DOCUMENTS:
            self._flush()
        elif self._timer is None:
            self._timer = loop.call_later(LINGER_S, self._flush)
        return await future

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        gathered, self._waiting, self._count = self._waiting, [], 0
        task = asyncio.create_task(self._send(gathered))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send(
        self, gathered: list[tuple[Sequence[Document], asyncio.Future[list[Result]]]]
    ) -> None:
        documents = [document for own, _ in gathered for document in own]
        try:
            async with self._slots:
                results = await self._output.create(documents)
        except BaseException as error:
            for _, future in gathered:
                if not future.done():
                    future.set_exception(error)
            if not isinstance(error, Exception):
                raise
            return
        start = 0
        for own, future in gathered:
            if not future.done():
                future.set_result(results[start : start + len(own)])
            start += len(own)
