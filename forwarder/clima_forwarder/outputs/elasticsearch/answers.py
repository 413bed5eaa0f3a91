"""The two forms that an answer of Elasticsearch to a search has: hits, or the buckets of counts."""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec

T = TypeVar("T")


class _Total(msgspec.Struct, frozen=True):
    value: int = 0


class _Hits(msgspec.Struct, Generic[T], frozen=True):
    hits: list[T]
    total: _Total = _Total()


class Page(msgspec.Struct, Generic[T], frozen=True):
    """Documents, each a `T`."""

    answer: _Hits[T] = msgspec.field(name="hits")

    @property
    def hits(self) -> list[T]:
        return self.answer.hits

    @property
    def total(self) -> int:
        """How many there are, on other pages too; 0 where it was not asked for."""
        return self.answer.total.value


class _Buckets(msgspec.Struct, Generic[T], frozen=True):
    buckets: list[T] = []


class Counted(msgspec.Struct, Generic[T], frozen=True):
    """The buckets, each a `T`, of the one aggregation that was asked for."""

    aggregations: dict[str, _Buckets[T]] = {}

    @property
    def buckets(self) -> list[T]:
        """None where there is no index yet."""
        return [bucket for each in self.aggregations.values() for bucket in each.buckets]
