"""Sets of sequence numbers as sorted, disjoint, inclusive ranges.

What is stored, acknowledged, waiting or lost is always a set of sequences, and almost always
one long run with a few holes; a run costs one pair however long it is. `Ranges` is immutable:
a value that two parts of the program hold can never change under one of them.

Always true: `first <= last` in each pair, pairs ascending, and never two that touch.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator

Pair = tuple[int, int]


class Ranges:
    """An immutable set of integers, kept as inclusive ranges: `Ranges([(1, 5), (7, 7)])`."""

    __slots__ = ("_pairs",)

    def __init__(self, pairs: Iterable[Pair] = ()) -> None:
        """Take pairs in any order, overlapping or not; a pair with first > last is empty."""
        self._pairs = _normalised(pairs)

    @classmethod
    def of(cls, numbers: Iterable[int]) -> Ranges:
        """The set of the numbers given, in any order."""
        ordered = sorted(set(numbers))
        if ordered and ordered[-1] - ordered[0] == len(ordered) - 1:  # most sets are one run
            return cls([(ordered[0], ordered[-1])])
        return cls((number, number) for number in ordered)

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """The ranges as `(first, last)`, ascending."""
        return self._pairs

    @property
    def first(self) -> int | None:
        """The smallest number, or None when empty."""
        return self._pairs[0][0] if self._pairs else None

    @property
    def last(self) -> int | None:
        """The largest number, or None when empty."""
        return self._pairs[-1][1] if self._pairs else None

    def __contains__(self, number: int) -> bool:
        index = bisect_right(self._pairs, number, key=lambda pair: pair[0]) - 1
        return index >= 0 and number <= self._pairs[index][1]

    def __bool__(self) -> bool:
        return bool(self._pairs)

    def __len__(self) -> int:
        """How many numbers are in the set."""
        return sum(last - first + 1 for first, last in self._pairs)

    def __iter__(self) -> Iterator[int]:
        for first, last in self._pairs:
            yield from range(first, last + 1)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ranges) and self._pairs == other._pairs

    def __hash__(self) -> int:
        return hash(self._pairs)

    def __repr__(self) -> str:
        return f"Ranges({list(self._pairs)})"

    def __str__(self) -> str:
        """As people write it: `1-5, 7`."""
        return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in self._pairs)

    def __or__(self, other: Ranges) -> Ranges:
        if not other:
            return self
        if self and other._pairs[0][0] > self._pairs[-1][1]:
            return self._appended(other)
        return Ranges(self._pairs + other._pairs)

    def __and__(self, other: Ranges) -> Ranges:
        return self - (self - other)

    def __sub__(self, other: Ranges) -> Ranges:
        return Ranges(_difference(self._pairs, other._pairs))

    def between(self, first: int, last: int) -> Ranges:
        """The part of the set that lies in `first..last`."""
        return self & Ranges([(first, last)])

    def _appended(self, later: Ranges) -> Ranges:
        """Join with a set that lies wholly after this one: the everyday case, without a sort."""
        joined = Ranges()
        (first, last), (next_first, next_last) = self._pairs[-1], later._pairs[0]
        if next_first == last + 1:
            joined._pairs = (*self._pairs[:-1], (first, next_last), *later._pairs[1:])
        else:
            joined._pairs = self._pairs + later._pairs
        return joined


def _normalised(pairs: Iterable[Pair]) -> tuple[Pair, ...]:
    merged: list[Pair] = []
    for first, last in sorted(pair for pair in pairs if pair[0] <= pair[1]):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return tuple(merged)


def _difference(pairs: tuple[Pair, ...], holes: tuple[Pair, ...]) -> Iterator[Pair]:
    """Cut `holes` out of `pairs`; both ascending and disjoint, so one pass over each will do."""
    index = 0
    for pair_first, last in pairs:
        first = pair_first
        while index < len(holes) and holes[index][1] < first:
            index += 1
        cut = index
        while cut < len(holes) and holes[cut][0] <= last:
            yield first, holes[cut][0] - 1
            first = holes[cut][1] + 1
            cut += 1
        yield first, last
