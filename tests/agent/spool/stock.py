"""What the tests of the spool put into it, and how they look at what it holds."""

from __future__ import annotations

from typing import Any

import msgspec

from clima_agent.spool import Spool
from clima_core.identity import Lane
from clima_core.ranges import Ranges

STATION = "roof"
MOST = 1024 * 1024
WEATHER = 3  # the number of a new spool's lane of readings


class Told:
    """What a spool said that a person must know."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, event: str, /, **fields: object) -> None:
        self.events.append((event, fields))

    def fields(self, name: str) -> list[dict[str, Any]]:
        return [fields for event, fields in self.events if event == name]


def document(number: int, padding: int = 0) -> dict[str, Any]:
    """A reading that can be told from others; `padding` bytes longer than it need be."""
    return {"weather": {"air_temperature": number / 10}, "message": "x" * padding}


def documents(count: int, first: int = 1, padding: int = 0) -> list[dict[str, Any]]:
    return [document(number, padding) for number in range(first, first + count)]


def number_of(body: bytes) -> int:
    """Which document a body was made of."""
    temperature: float = msgspec.json.decode(body)["weather"]["air_temperature"]
    return round(temperature * 10)


def waiting(spool: Spool, lane: Lane) -> dict[int, bytes]:
    """What would be sent of a lane, read as the session does; the unreadable is dropped by it."""
    found: dict[int, bytes] = {}
    for _ in range(100_000):
        left = spool.ledgers[lane].waiting - Ranges.of(found)
        if not left:
            return found
        first, last = left.pairs[0]
        found |= enumerate(spool.read(lane, first, last, MOST), first)
    raise AssertionError("reading does not come to an end")


def assert_whole(lane: Lane, found: dict[int, bytes]) -> None:
    """Every body says who it is, as its place says, and nothing else."""
    for sequence, body in found.items():
        said = msgspec.json.decode(body)
        assert sequence == said["event"]["sequence"]
        assert f"{STATION}:{lane.journal}:{lane.stream}:{sequence}" == said["event"]["id"]
        assert (STATION, lane.journal) == (said["station"]["id"], said["station"]["journal"])


def assert_accounted(spool: Spool) -> None:
    """Every sequence of every lane is exactly one of acknowledged, dropped and waiting."""
    for ledger in spool.ledgers.values():
        parts = [ledger.acknowledged, *ledger.dropped.values()]
        parts.append(ledger.waiting | Ranges([(ledger.synced + 1, ledger.last)]) - ledger.settled)
        everything = Ranges()
        for part in parts:
            everything |= part
        assert Ranges([(1, ledger.last)]) == everything
        assert ledger.last == sum(map(len, parts))


def limit_pages(spool: Spool, pages: int) -> None:
    """No more than so many pages beyond those there are, as on a full disk."""
    (count,) = spool.file._all("PRAGMA page_count")[0]
    spool.file._all(f"PRAGMA max_page_count = {count + pages}")
