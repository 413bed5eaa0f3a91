"""A store in memory that keeps the promises of `Output`, rolls over, and fails when told to."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from clima_core.errors import UnavailableError
from clima_core.identity import Lane, Stream, event_id
from clima_core.ranges import Ranges
from clima_core.wire import StationReport
from clima_forwarder.outputs.base import Confirmed, DeadLetter, Document, Found, Highest, Result

Key = tuple[str, Lane, int]


class MemoryOutput:
    """As Elasticsearch does: an identity is refused twice only within one backing index."""

    def __init__(self) -> None:
        self.indices: list[dict[Key, bytes]] = [{}]
        self.letters: dict[Key, DeadLetter] = {}
        self.last_reports: dict[str, StationReport] = {}
        self.finds: list[float] = []
        self.creates = 0
        self.before_create: Callable[[], None] = lambda: None
        self.after_create: Callable[[], None] = lambda: None
        self.verdict: Callable[[Document], Result | None] = lambda document: None
        self.on_the_way: list[Callable[[Ranges], Confirmed]] = []  # answers of `confirmed`

    @property
    def stored(self) -> list[str]:
        """The ids of everything stored, doubles included, sorted."""
        return sorted(event_id(*key) for index in self.indices for key in index)

    def roll_over(self) -> None:
        self.indices.append({})

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def create(self, documents: Sequence[Document]) -> list[Result]:
        self.creates += 1
        self.before_create()
        results = [self._create(document) for document in documents]
        self.after_create()
        return results

    def _create(self, document: Document) -> Result:
        if (verdict := self.verdict(document)) is not None:
            return verdict
        key = (document.station, document.lane, document.sequence)
        if key in self.indices[-1]:
            return Result("exists")
        self.indices[-1][key] = document.body
        return Result("stored")

    async def confirmed(
        self, _station: str, _lane: Lane, sequences: Ranges, _since: float, /
    ) -> Confirmed:
        return self.on_the_way.pop(0)(sequences)

    async def dead_letter(self, letters: Sequence[DeadLetter]) -> list[Result]:
        results = []
        for letter in letters:
            key = (letter.station, letter.lane, letter.sequence)
            results.append(Result("exists" if key in self.letters else "stored"))
            self.letters.setdefault(key, letter)
        return results

    async def find(
        self, station: str, lane: Lane, first: int, last: int, *, since: float
    ) -> list[Found]:
        self.finds.append(since)
        found = [
            Found(sequence, body)
            for index in self.indices
            for (of, in_lane, sequence), body in index.items()
            if (of, in_lane) == (station, lane) and first <= sequence <= last
        ]
        found += [
            Found(sequence, None)
            for (of, in_lane, sequence) in self.letters
            if (of, in_lane) == (station, lane) and first <= sequence <= last
        ]
        return sorted(found, key=lambda each: each.sequence)

    async def highest(self, station: str, journal: str) -> dict[Stream, Highest]:
        highest: dict[Stream, int] = {}
        for of, lane, sequence in [key for index in self.indices for key in index] + [
            *self.letters
        ]:
            if (of, lane.journal) == (station, journal):
                highest[lane.stream] = max(highest.get(lane.stream, 0), sequence)
        reported = {
            lane.stream: lane.last
            for report in self.last_reports.values()
            for lane in report.lanes
            if (report.station, lane.journal) == (station, journal)
        }
        return {
            stream: Highest(highest.get(stream, 0), reported.get(stream, 0))
            for stream in {*highest, *reported}
        }

    async def report(self, reports: Sequence[StationReport]) -> None:
        self.last_reports |= {report.station: report for report in reports}


def fails(times: int) -> Callable[[], None]:
    """A hook that makes the next calls fail with an unknown outcome."""
    left = [times]

    def hook() -> None:
        if left[0]:
            left[0] -= 1
            raise UnavailableError("the store did not answer")

    return hook
