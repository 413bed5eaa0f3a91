"""What the forwarder asks of a store, and what `clima audit` and `clima readings` ask of it.

`Output` is the writing side: whole records with an identity, never re-encoded. `Archive` is the
reading side. Each store implements both; nothing outside `outputs/` knows which one it talks to.

Promises every output keeps:

- A record is `stored` only when the store itself said so; a `create` never overwrites.
- A call that raises UnavailableError has an *unknown* outcome. An output never sends again by
  itself: that is the caller's decision, after `find` has shown what arrived.
- Sets of sequences are exact. Nothing is counted that was not looked at, or proven by counts.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal, NamedTuple, Protocol

import msgspec

from clima_core.identity import Lane, Stream, event_id
from clima_core.ranges import Ranges
from clima_core.wire import StationReport

FIND_LIMIT = 10_000  # sequences per `find`


class Document(msgspec.Struct, frozen=True, gc=False):
    """One record; `body` is the station's own JSON, no newline in it, never re-encoded."""

    station: str
    lane: Lane
    sequence: int
    timestamp: datetime
    body: bytes


class DeadLetter(msgspec.Struct, frozen=True, gc=False):
    """One record that the store may not have, whole, with the reason: a code and a sentence.

    `bare` asks the store to keep no more than the record and what it is found by.
    """

    station: str
    lane: Lane
    sequence: int
    reason: str
    message: str
    body: bytes
    received: datetime
    bare: bool = False

    @property
    def id(self) -> str:
        """The `event.id` that the record should have had, and the `_id` of its dead letter."""
        return event_id(self.station, self.lane, self.sequence)


class Result(NamedTuple):
    """What became of one record.

    `refused` is for good; `retry` says that it is not stored; `accepted` that somebody on the
    way to the store has it in hand, and that `confirmed` will say what became of it; with a
    reason, it is in doubt even that.
    """

    status: Literal["stored", "exists", "refused", "retry", "accepted"]
    reason: str = ""


class Confirmed(NamedTuple):
    """What became of accepted records."""

    stored: Ranges = Ranges()
    dead: Ranges = Ranges()


class Found(NamedTuple):
    """A sequence that the store has; `body` is None where it has it as a dead letter."""

    sequence: int
    body: bytes | None


class Highest(NamedTuple):
    """The highest sequence that is stored or dead-lettered, and that was reported as assigned."""

    stored: int = 0
    reported: int = 0


class Output(Protocol):
    """The writing side of a store. All calls run in one event loop and never block it."""

    async def open(self) -> None:
        """Connect, check, and install what is missing.

        Raises UnavailableError or ConfigurationError, each with the mend.
        """

    async def create(self, documents: Sequence[Document]) -> list[Result]:
        """Store new records; one Result each, in order.

        Raises UnavailableError when the outcome of the whole call is unknown.
        """

    async def confirmed(
        self, station: str, lane: Lane, sequences: Ranges, since: float, /
    ) -> Confirmed:
        """Wait until the store has some of what was accepted up to `since` (monotonic seconds).

        Neither stored nor dead: they are not on the way any more; look once more, and send them
        again. Raises UnavailableError while they are on the way, or may be, and do not get on.
        """

    async def dead_letter(self, letters: Sequence[DeadLetter]) -> list[Result]:
        """Keep what may not be stored; same rules as `create`."""

    async def find(
        self, station: str, lane: Lane, first: int, last: int, *, since: float
    ) -> list[Found]:
        """Everything the store has of `first..last`, at most FIND_LIMIT sequences, ascending.

        Sees whatever was written before `since`, a moment of `time.monotonic()`. A sequence
        that is stored twice is found twice.
        """

    async def highest(self, station: str, journal: str) -> dict[Stream, Highest]:
        """The highest sequences of a journal that the store knows of, per stream."""

    async def report(self, reports: Sequence[StationReport]) -> None:
        """Keep what stations say of their lanes; per lane the newest `reported` wins.

        What is there from the future, by a clock that was ahead, gives way to any other.
        """

    async def close(self) -> None:
        """Let go of everything; safe to call twice."""


class Presence(NamedTuple):
    """What a store has of one lane. `stored` holds the doubled ones too.

    `begins` is when the lowest sequence that is stored was recorded.
    """

    stored: Ranges
    doubled: Ranges
    dead: Ranges
    begins: datetime | None = None


class Reading(NamedTuple):
    """Values at `time`, or averaged over the interval that begins there."""

    time: datetime
    station: str
    values: dict[str, float | None]


class Archive(Protocol):
    """The reading side of a store. It changes nothing there."""

    async def open(self) -> None:
        """Connect; raises UnavailableError or ConfigurationError, each with the mend."""

    async def reports(self) -> list[StationReport]:
        """What stations last said of each of their lanes.

        One StationReport for all lanes of a station that it spoke of at the same moment; those of
        a station in the order of time.
        """

    async def lanes(self) -> list[tuple[str, Lane]]:
        """Station and lane of everything that is stored or dead-lettered."""

    async def presence(self, station: str, lane: Lane) -> Presence:
        """Which sequences of a lane are stored, stored more than once, and dead-lettered.

        And since when.
        """

    async def retention(self) -> Mapping[Stream, timedelta | None]:
        """How long the store keeps the records of each stream at least; None: for ever."""

    def readings(
        self,
        station: str | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        every: timedelta | None = None,
    ) -> AsyncIterator[Reading]:
        """Weather in `start <= time < end`, by time and station; averaged over `every` if given.

        Precipitation is summed, and wind direction averaged as a vector. Pages: memory stays
        bounded however many there are.
        """

    async def close(self) -> None:
        """Let go of everything; safe to call twice."""
