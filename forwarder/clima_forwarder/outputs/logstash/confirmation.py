"""Whether what Logstash accepted is in Elasticsearch: the acknowledgement that Logstash lacks.

One poll a second looks for everybody who waits (`search.py`).

What always holds: nobody is told that a record is on the way no more unless, after the last
attempt for it, Logstash was idle in two polls running (`idleness.py`). While it works something
off, those who wait are left waiting; when it is not idle and does not get on either, they are
told that, and may wait on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from clima_core.errors import ClimaError, UnavailableError
from clima_core.identity import Lane
from clima_core.ranges import Ranges
from clima_forwarder.outputs.base import Confirmed
from clima_forwarder.outputs.logstash.idleness import Idleness
from clima_forwarder.outputs.logstash.search import Search, Wanted


@dataclass(eq=False)
class _Waiting:
    """Somebody who waits for a batch, or what is left of one."""

    wanted: Wanted
    since: float
    outcome: asyncio.Future[Confirmed]

    def told(self, outcome: Confirmed | ClimaError) -> None:
        if self.outcome.done():
            return
        if isinstance(outcome, Confirmed):
            self.outcome.set_result(outcome)
        else:
            self.outcome.set_exception(outcome)


class Confirmation:
    """Looks for what was accepted, for as long as anybody waits."""

    def __init__(self, search: Search, idleness: Idleness, bound_s: float, poll_s: float) -> None:
        self._search = search
        self._idleness = idleness
        self._bound_s = bound_s
        self._poll_s = poll_s
        self._waiting: set[_Waiting] = set()
        self._task: asyncio.Task[None] | None = None

    async def of(self, station: str, lane: Lane, sequences: Ranges, since: float) -> Confirmed:
        """As `Output.confirmed`."""
        outcome: asyncio.Future[Confirmed] = asyncio.get_running_loop().create_future()
        waiting = _Waiting(Wanted(station, lane, sequences), since, outcome)
        self._waiting.add(waiting)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._poll())
        try:
            return await outcome
        finally:
            self._waiting.discard(waiting)

    async def close(self) -> None:
        """Stop looking."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _poll(self) -> None:
        while self._waiting:
            await asyncio.sleep(self._poll_s)
            waiting = list(self._waiting)
            try:
                overdue = {each.wanted for each in waiting if self._overdue(each)}
                found = await self._search.look([each.wanted for each in waiting], overdue)
                for each in waiting:
                    if each.wanted in found:
                        each.told(found[each.wanted])
                await self._judge([each for each in waiting if not each.outcome.done()])
            except ClimaError as error:
                self._idleness.forget()
                for each in waiting:
                    each.told(error)
            except Exception as error:
                for each in waiting:
                    each.told(ClimaError(f"confirmation failed: {error!r}"))
                raise

    def _overdue(self, waiting: _Waiting) -> bool:
        return time.monotonic() - waiting.since > self._bound_s

    async def _judge(self, waiting: Sequence[_Waiting]) -> None:
        """Tell those who have waited long whether there is any point in it."""
        overdue = [each for each in waiting if self._overdue(each)]
        if not overdue:
            self._idleness.forget()
            return
        try:
            await self._idleness.observe()
        except ClimaError as error:
            for each in overdue:
                each.told(error)
            return
        lost = [each for each in overdue if self._idleness.lasts_since(each.since)]
        if lost:
            await self._give_up(lost)
        elif self._idleness.stuck:
            for each in overdue:
                each.told(UnavailableError(self._idleness.stuck))

    async def _give_up(self, lost: Sequence[_Waiting]) -> None:
        """Tell those whose records are on the way no more, after a look that sees everything."""
        await self._search.refresh()
        wanted = {each.wanted for each in lost}
        found = await self._search.look(list(wanted), wanted)
        for each in lost:
            each.told(found.get(each.wanted, Confirmed()))
