"""Who is connected, and what each has had attempted for it.

A session belongs to a station's public key *and* one connection: the key comes from the
handshake and cannot be claimed by another, and an answer must go back on the connection that
asked. What always holds: a record counts as *fresh* (never sent to any store before) only if
its sequence was assigned after the session's HELLO, and no attempt was made for it in any
session of the station. Everything else is *suspect*: it may be stored already, and is looked
for first. A second device with a copied key and a connection that is not quite dead yet are why
attempts are the station's, not the session's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from clima_core.identity import Lane
from clima_core.ranges import Ranges
from clima_core.wire import Batch

SESSIONS_PER_KEY = 4
MOST_LANES, MOST_PAIRS = 200, 200  # that are kept apart for one station; see `Attempts`
SETTLE_S = 1.0  # what an old connection still had in the queue is heard within this time


class Attempts:
    """What was attempted for one station. It may say too much, never too little.

    Too much costs a search, so whoever sends odd sequences or ever new journals makes it coarse
    rather than large. `under_way` are the deliveries that are not through.
    """

    def __init__(self) -> None:
        self.under_way: dict[asyncio.Task[None], Batch] = {}
        self._lanes: dict[Lane, Ranges] = {}
        self._everything = False

    def add(self, lane: Lane, sequences: Ranges) -> None:
        """From now on these may be stored, whatever the store answers."""
        attempted = self._lanes.get(lane, Ranges()) | sequences
        if len(attempted.pairs) > MOST_PAIRS:
            attempted = Ranges([(attempted.pairs[0][0], attempted.pairs[-1][1])])
        self._lanes[lane] = attempted
        if len(self._lanes) > MOST_LANES:
            self._lanes, self._everything = {}, True

    def highest(self, lane: Lane) -> int:
        """The highest sequence that was attempted, as far as it is known."""
        return self._lanes.get(lane, Ranges()).last or 0

    def of(self, lane: Lane, sequences: Ranges) -> Ranges:
        """Those of `sequences` that may have been attempted."""
        return sequences if self._everything else sequences & self._lanes.get(lane, Ranges())

    def overlapping(self, batch: Batch) -> list[asyncio.Task[None]]:
        """The deliveries under way that have a record of this batch in hand."""
        return [
            task
            for task, other in self.under_way.items()
            if other.lane == batch.lane and other.first <= batch.last and batch.first <= other.last
        ]


@dataclass(eq=False)
class Session:
    """One conversation with one station; `opened` and `heard` are monotonic seconds."""

    key: str
    routing_id: bytes
    station: str
    began: Mapping[Lane, int]
    opened: float
    heard: float
    attempts: Attempts = field(default_factory=Attempts)
    alarmed: bool = False

    def suspects(self, lane: Lane, sequences: Ranges) -> tuple[Ranges, float]:
        """Those of `sequences` that may have been sent to a store before, and until when.

        A search sees all of them when it sees whatever was written before that moment: the
        opening of this session, unless one of them was attempted since. Of a lane that HELLO
        did not report nobody knows what was sent.
        """
        if lane not in self.began:
            return sequences, time.monotonic()
        attempted = self.attempts.of(lane, sequences)
        before = sequences.between(1, self.began[lane])
        return before | attempted, time.monotonic() if attempted else self.opened


class Sessions:
    """All sessions, by key and connection."""

    def __init__(self) -> None:
        self._by_key: dict[str, dict[bytes, Session]] = {}
        self._attempts: dict[str, Attempts] = {}

    def __iter__(self) -> Iterator[Session]:
        for sessions in self._by_key.values():
            yield from sessions.values()

    def __len__(self) -> int:
        return sum(map(len, self._by_key.values()))

    def get(self, key: str, routing_id: bytes) -> Session | None:
        return self._by_key.get(key, {}).get(routing_id)

    def attempts_of(self, station: str) -> Attempts:
        """What all sessions of a station share."""
        return self._attempts.setdefault(station, Attempts())

    def of_station(self, station: str) -> Session | None:
        """The session of a station that was heard last."""
        own = [session for session in self if session.station == station]
        return max(own, key=lambda session: session.heard, default=None)

    def add(self, session: Session) -> None:
        """Take a session in; of too many with one key the one longest silent goes."""
        own = self._by_key.setdefault(session.key, {})
        own[session.routing_id] = session
        if len(own) > SESSIONS_PER_KEY:
            silent = min(own.values(), key=lambda each: each.heard)
            del own[silent.routing_id]

    def drop_key(self, key: str) -> None:
        """The key is no longer let in."""
        self._by_key.pop(key, None)

    def drop_connection(self, routing_id: bytes) -> None:
        """Nothing reaches this connection any more."""
        for own in self._by_key.values():
            own.pop(routing_id, None)

    def expire(self, before: float) -> None:
        """Forget sessions last heard before that moment, and the attempts of stations without.

        Whatever was attempted before the next HELLO is covered by that: it is done by then.
        """
        for key, own in list(self._by_key.items()):
            for routing_id, session in list(own.items()):
                if session.heard < before:
                    del own[routing_id]
            if not own:
                del self._by_key[key]
        here = {session.station for session in self}
        for station, attempts in list(self._attempts.items()):
            if station not in here and not attempts.under_way:
                del self._attempts[station]

    def has_live_twin(self, session: Session) -> bool:
        """Whether another session of the same key goes on speaking beside this one.

        A station that has connected anew is not its own twin: its old session falls silent. Nor
        is one that asks, from a second process, whether it is let in: that one is silent after.
        """
        return any(
            min(session.heard, other.heard) > max(session.opened, other.opened) + SETTLE_S
            for other in self._by_key.get(session.key, {}).values()
            if other is not session
        )
