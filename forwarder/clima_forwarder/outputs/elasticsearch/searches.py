"""What searches of Elasticsearch have in common: filters, and the two forms of an answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import msgspec

T = TypeVar("T")
Filters = Sequence[dict[str, Any]]


def where(filters: Filters) -> dict[str, Any]:
    """The query part of a search: all of the filters hold."""
    return {"query": {"bool": {"filter": filters}}}


def of_lane(
    station: str, journal: str, first: int | None = None, last: int | None = None
) -> list[dict[str, Any]]:
    """Filters for one journal's documents, or for a range of its sequences."""
    filters: list[dict[str, Any]] = [
        {"term": {"station.id": station}},
        {"term": {"station.journal": journal}},
    ]
    if first is not None:
        filters.append({"range": {"event.sequence": {"gte": first, "lte": last}}})
    return filters


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
