"""Rows and columns to places on Kibana's grid, which is 48 columns wide."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

from clima_dashboards.model import Dashboard, Height, Panel, Row

COLUMNS = 48
HEIGHTS: Mapping[Height, int] = {"note": 3, "low": 6, "middle": 11, "tall": 15, "page": 24}


@dataclass(frozen=True)
class Place:
    """In columns and rows of the grid."""

    x: int
    y: int
    width: int
    height: int

    def overlaps(self, other: Place) -> bool:
        return (
            self.x < other.x + other.width
            and other.x < self.x + self.width
            and self.y < other.y + other.height
            and other.y < self.y + self.height
        )


def places(dashboard: Dashboard) -> Iterator[tuple[Panel, Place]]:
    """Where each panel lies; each row begins below the one before and fills the width."""
    y = 0
    for row in dashboard.rows:
        height = HEIGHTS[row.height]
        for panel, (x, width) in zip(row.panels, _columns(row), strict=True):
            yield panel, Place(x, y, width, height)
        y += height


def _columns(row: Row) -> Iterator[tuple[int, int]]:
    shares = row.widths or (1,) * len(row.panels)
    edges = [round(COLUMNS * sum(shares[:n]) / sum(shares)) for n in range(len(shares) + 1)]
    for left, right in pairwise(edges):
        yield left, right - left
