"""Whether Logstash is idle, gets on with what it has, or is stuck.

Its statistics have to be read with care. The number of events in the queue is some seconds old, an
event between the queue and the first filter shows nowhere, and after a start all is zero. What is
exact at any time is how many events came in and how many are through. They do not add up where an
earlier life left some in the queue, which count only when they are through: but never by more than
there were, so when the difference is as large as it ever was, and nothing is queued or held, then
all are through.

What always holds: `lasts_since(moment)` is true only if nothing that Logstash had taken before that
moment is still on the way.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import NamedTuple

from clima_core.errors import ClimaError
from clima_forwarder.outputs.logstash.connection import Connection, State

UNBROKEN = 5  # polls after which it counts as idle although it goes on taking new records


@dataclass(frozen=True)
class Pace:
    """How often Logstash and Elasticsearch are looked at, and what Logstash takes its time for."""

    poll_s: float = 1.0
    settle_s: float = 6.0  # after a start; the number of events in the queue is taken every five
    stuck_s: float = 10.0  # a batch may take so long


class _Look(NamedTuple):
    """It was idle at that moment, and had taken so much until then."""

    moment: float
    entered: int


class Idleness:
    """What the polls of one Logstash say, taken together."""

    def __init__(self, queue: Connection, pace: Pace) -> None:
        self._queue = queue
        self._pace = pace
        self._life: str | None = None
        self._since, self._replayed = 0.0, 0
        self.on_the_way = 0
        self.forget()

    def forget(self) -> None:
        """There was a gap in the watching: what was idle before it counts no more."""
        self._idle: list[_Look] = []
        self._left: int | None = None
        self._moved = 0.0
        self.stuck = ""

    async def observe(self) -> None:
        """Look once; UnavailableError or ConfigurationError when Logstash does not say."""
        began = time.monotonic()
        try:
            state = await self._queue.state()
        except ClimaError:
            self.forget()
            raise
        self._count(state, began)
        if self.on_the_way or began < self._since + self._pace.settle_s:
            self._idle.clear()
        else:
            self._idle = [*self._idle[1 - UNBROKEN :], _Look(began, state.entered)]
        if state.left != self._left:
            self._left, self._moved = state.left, began
        self.stuck = ""
        if self.on_the_way and began - self._moved > self._pace.stuck_s:
            self.stuck = (
                f"Logstash has {self.on_the_way} records in hand and does not get on with them:"
                " its log says what Elasticsearch answers it"
            )

    def lasts_since(self, moment: float) -> bool:
        """Whether it was idle in the last polls, all of them after that moment.

        Two will do if it took nothing between them. A request that nobody waits for any more may
        still be handed to the queue record by record: idle between two of them is not idle.
        """
        since = [look for look in self._idle if look.moment > moment]
        if len(since) < UNBROKEN:
            return len(since) > 1 and since[-1].entered == since[-2].entered
        return True

    def _count(self, state: State, began: float) -> None:
        if state.life != self._life:
            self._life, self._since, self._replayed = state.life, began, 0
            self.forget()
        through = state.left - state.entered
        self._replayed = max(self._replayed, through)
        self.on_the_way = max(self._replayed - through, state.queued, state.held)
