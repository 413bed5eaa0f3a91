"""Who is connected, and what each has had attempted for it.

A session belongs to a station's public key *and* one connection: the key comes from the
handshake and cannot be claimed by another, and an answer must go back on the connection that
asked. What always holds: a record counts as *fresh* (never sent to any store before) only if
its sequence was assigned after the session's HELLO and no attempt was made for it in the
session. Everything else is *suspect*: it may be stored already, and is looked for first.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from clima_core.identity import Lane
from clima_core.ranges import Ranges

SESSIONS_PER_KEY = 4
SETTLE_S = 1.0  # what an old connection still had in the queue is heard within this time


@dataclass(eq=False)
class Session:
    """One conversation with one station; `opened` and `heard` are monotonic seconds."""

    key: str
    routing_id: bytes
    station: str
    began: Mapping[Lane, int]
    opened: float
    heard: float
    attempted: dict[Lane, Ranges] = field(default_factory=dict)
    deliveries: set[asyncio.Task[None]] = field(default_factory=set)
    alarmed: bool = False

    def suspects(self, lane: Lane, sequences: Ranges) -> tuple[Ranges, float]:
        """Those of `sequences` that may have been sent to a store before, and until when.

        A search sees all of them when it sees whatever was written before that moment: the
        opening of this session, unless it has attempted one of them itself.
        """
        attempted = sequences & self.attempted.get(lane, Ranges())
        before = sequences.between(1, self.began.get(lane, 0))
        return before | attempted, time.monotonic() if attempted else self.opened

    def attempt(self, lane: Lane, sequences: Ranges) -> None:
        """From now on these may be stored, whatever the store answers."""
        self.attempted[lane] = self.attempted.get(lane, Ranges()) | sequences


class Sessions:
    """All sessions, by key and connection."""

    def __init__(self) -> None:
        self._by_key: dict[str, dict[bytes, Session]] = {}

    def __iter__(self) -> Iterator[Session]:
        for sessions in self._by_key.values():
            yield from sessions.values()

    def __len__(self) -> int:
        return sum(map(len, self._by_key.values()))

    def get(self, key: str, routing_id: bytes) -> Session | None:
        return self._by_key.get(key, {}).get(routing_id)

    def of_key(self, key: str) -> list[Session]:
        return list(self._by_key.get(key, {}).values())

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

    def expire(self, before: float) -> None:
        """Forget sessions that were last heard before that moment and have nothing under way."""
        for key, own in list(self._by_key.items()):
            for routing_id, session in list(own.items()):
                if session.heard < before and not session.deliveries:
                    del own[routing_id]
            if not own:
                del self._by_key[key]

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
