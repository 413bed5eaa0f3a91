"""Ranges behave as sets of numbers do, and keep their form."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from clima_core.ranges import Pair, Ranges

numbers = st.sets(st.integers(0, 60))
pairs = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)))


def members(several: list[Pair]) -> set[int]:
    return {number for first, last in several for number in range(first, last + 1)}


@given(pairs)
def test_pairs_are_kept_as_few_as_can_be(several: list[Pair]) -> None:
    """Whatever comes in, the pairs are ascending, not empty, and never touch."""
    found = Ranges(several)
    assert all(first <= last for first, last in found.pairs)
    assert all(last + 1 < first for (_, last), (first, _) in pairwise(found.pairs))
    assert members(several) == set(found)


@given(numbers, numbers)
def test_the_operations_are_those_of_sets(left: set[int], right: set[int]) -> None:
    """Union, difference, intersection, equality and hash."""
    a, b = Ranges.of(left), Ranges.of(right)
    assert left | right == set(a | b)
    assert left - right == set(a - b)
    assert left & right == set(a & b)
    assert (left == right) == (a == b)
    assert Ranges.of(left | right) == a | b
    assert hash(Ranges.of(left | right)) == hash(a | b)


@given(numbers, st.integers(-1, 61))
def test_the_questions_are_those_of_sets(left: set[int], number: int) -> None:
    """Membership, size, emptiness, the ends, and the order of iteration."""
    found = Ranges.of(left)
    assert (number in left) == (number in found)
    assert len(left) == len(found)
    assert bool(left) == bool(found)
    assert sorted(left) == list(found)
    assert min(left, default=None) == found.first
    assert max(left, default=None) == found.last


@given(numbers, st.integers(0, 60), st.integers(0, 60))
def test_between_is_a_cut(left: set[int], first: int, last: int) -> None:
    """Both ends belong to it; a window turned round is empty."""
    assert {n for n in left if first <= n <= last} == set(Ranges.of(left).between(first, last))


@given(st.integers(1, 5), st.integers(0, 3))
def test_what_comes_after_is_joined_where_it_touches(length: int, gap: int) -> None:
    """The everyday case, one run after another, gives the same as any other union."""
    earlier = Ranges([(1, length)])
    later = Ranges([(length + 1 + gap, length + 3 + gap), (90, 91)])
    assert Ranges(earlier.pairs + later.pairs) == earlier | later


def test_a_run_costs_one_pair_however_long() -> None:
    """Ten million numbers are counted without being walked."""
    assert 10_000_000 == len(Ranges([(1, 10_000_000)]))


def test_people_read_them_as_they_write_them() -> None:
    """`1-5, 7`, and a repr that can be pasted back."""
    found = Ranges([(7, 7), (1, 3), (4, 5)])
    assert "1-5, 7" == str(found)
    assert "Ranges([(1, 5), (7, 7)])" == repr(found)


def test_another_type_is_never_equal() -> None:
    """A set of the same numbers is not a Ranges."""
    assert Ranges([(1, 2)]) != {1, 2}
