"""What a benchmark says: a figure, and the limit that it was to stay below."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import msgspec


class MeasurementError(Exception):
    """A run that cannot count: something was lost, doubled, or did not happen."""


class Figure(msgspec.Struct, frozen=True):
    """One measured value; without a limit it is only told."""

    name: str
    value: float
    unit: str
    limit: float | None = None

    @property
    def verdict(self) -> str:
        """`ok`, `missed`, or nothing where there is no limit."""
        if self.limit is None:
            return ""
        return "ok" if self.value <= self.limit else "missed"


class Part(Protocol):
    """A module of this package that measures something."""

    def measure(self, directory: Path, *, quick: bool) -> list[Figure]:
        """Measure, with all files in the directory; MeasurementError: the run does not count."""


def yardstick() -> Figure:
    """What this machine takes just now for a million decodings of a short reading into a dict.

    CPU seconds stretch when others work on the machine: compare them only beside like yardsticks.
    """
    reading = msgspec.json.encode({"event": {"id": "a" * 100}, "weather": {"a": 1.25, "b": 99.5}})
    began = time.process_time()
    for _ in range(300_000):
        msgspec.json.decode(reading)
    return Figure("yardstick", (time.process_time() - began) / 0.3, "CPU s/million")


def medians(runs: Sequence[Sequence[Figure]]) -> list[Figure]:
    """Of several runs with the same figures, the median of each."""
    return [
        msgspec.structs.replace(same[0], value=statistics.median(each.value for each in same))
        for same in zip(*runs, strict=True)
    ]


def table(figures: Iterable[Figure]) -> str:
    """The figures for people, one line each."""
    rows = [("figure", "measured", "at most", "")]
    for each in figures:
        limit = "" if each.limit is None else f"{each.limit:g} {each.unit}"
        rows.append((each.name, f"{each.value:.3g} {each.unit}", limit, each.verdict))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def json(figures: Iterable[Figure]) -> str:
    """The figures for scripts."""
    rows = [
        {**msgspec.structs.asdict(each), "value": round(each.value, 4), "verdict": each.verdict}
        for each in figures
    ]
    return msgspec.json.format(msgspec.json.encode(rows)).decode()
