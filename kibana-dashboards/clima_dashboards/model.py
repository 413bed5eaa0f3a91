"""The vocabulary that dashboards are written in. It knows nothing of Kibana's own forms.

Texts are never written here: a panel's `key` finds its title in the catalogue, in the section of
its dashboard, and fields and views have labels of their own. Whoever reads a dashboard's module
aloud should have said what is on the wall.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from clima_dashboards.fields import Field, View

CALM = 0.5  # m/s; a weaker wind has no direction (WMO-No. 8)

Function = Literal[
    "average", "min", "max", "sum", "median", "last", "count", "unique", "percentile"
]
Operator = Literal["+", "-", "*", "/"]
Shape = Literal["number", "percent", "bytes", "duration", "time"]
Height = Literal["note", "low", "middle", "tall", "page"]


class Term:
    """What can be calculated with: measures, and what has been made of them."""

    def __add__(self, other: Term | float) -> Binary:
        return Binary("+", self, other)

    def __sub__(self, other: Term | float) -> Binary:
        return Binary("-", self, other)

    def __mul__(self, other: Term | float) -> Binary:
        return Binary("*", self, other)

    def __truediv__(self, other: Term | float) -> Binary:
        return Binary("/", self, other)


@dataclass(frozen=True)
class Measure(Term):
    """One number out of many documents.

    `where` narrows the documents, in KQL; `label` is a key of the catalogue's section `measures`,
    for where the field's own label does not say enough.
    """

    function: Function
    field: Field
    label: str | None = None
    where: str = ""
    percentile: int = 50
    colour: str | None = None
    right: bool = False
    shape: Shape = "number"
    decimals: int | None = None
    shift: str | None = None  # of so long ago (`1y`)


@dataclass(frozen=True)
class Binary(Term):
    """A calculation of two terms."""

    operator: Operator
    left: Term | float
    right: Term | float


@dataclass(frozen=True)
class Formula:
    """A number calculated from measures; `label` is in the catalogue's section `measures`."""

    term: Term
    label: str
    shape: Shape = "number"
    decimals: int = 1
    unit: str | None = None
    colour: str | None = None
    right: bool = False


Number = Measure | Formula


@dataclass(frozen=True)
class Times:
    """Buckets of time; Kibana chooses how long they are, unless `interval` says so."""

    field: Field
    interval: str = "auto"


@dataclass(frozen=True)
class Terms:
    """A bucket for each value; ordered by the value itself unless `by` is given (then falling)."""

    field: Field
    size: int = 20
    by: int | None = None  # index of a measure of the panel
    missing: bool = False  # a bucket for documents without the field, too


Bucket = Times | Terms


@dataclass(frozen=True)
class Level:
    """From this value on (upwards), this colour."""

    at: float
    colour: str


@dataclass(frozen=True, kw_only=True)
class Panel:
    """What all panels have. `where` narrows its documents (KQL), `period` replaces the dashboard's
    time by one of its own, and `opens` is the dashboard that a click on a station leads to."""

    key: str
    where: str = ""
    period: tuple[str, str] | None = None
    opens: str | None = None


@dataclass(frozen=True, kw_only=True)
class Curves(Panel):
    """Numbers over time, in the quantities' colours; `by` draws one line each instead."""

    over: Times
    measures: tuple[Number, ...]
    style: Literal["line", "area", "bar", "bar_stacked"] = "line"
    by: Bucket | None = None
    zero: bool = False  # the axis begins at 0
    legend: bool = True


@dataclass(frozen=True, kw_only=True)
class Table(Panel):
    """One row per combination of `rows`; `levels` colours cells by the value of a measure."""

    rows: tuple[Bucket, ...]
    columns: tuple[Number, ...]
    levels: tuple[tuple[int, tuple[Level, ...]], ...] = ()
    order: tuple[int, Literal["asc", "desc"]] | None = None  # by which measure


@dataclass(frozen=True, kw_only=True)
class HeatMap(Panel):
    """A colour per cell of two buckets."""

    x: Bucket
    y: Bucket
    value: Number
    colours: tuple[str, ...]


@dataclass(frozen=True)
class Cell:
    """A place of the board: what is large, and what stands small below it.

    `arrow` is a direction in degrees that something comes from.
    """

    value: Measure
    below: tuple[Measure, ...] = ()
    arrow: Measure | None = None


@dataclass(frozen=True, kw_only=True)
class Board(Panel):
    """The present weather, a row per station and a cell per quantity, readable across a room.

    `today` of a measure is the station's own day. What a station does not measure is said.
    """

    station: Field
    date: Field
    time: Field
    cells: tuple[Cell, ...]


@dataclass(frozen=True, kw_only=True)
class StationMap(Panel):
    """Stations on a grid of parallels and meridians, each with its present weather beside it."""

    station: Field
    place: Field
    time: Field
    centre: Measure
    beside: tuple[Measure, ...]
    arrow: Measure
    speed: Measure


@dataclass(frozen=True, kw_only=True)
class Rose(Panel):
    """How often the wind blew from where, and how hard."""

    direction: Field
    speed: Field
    sectors: int = 16
    classes: tuple[float, ...] = (CALM, 2.0, 4.0, 6.0, 8.0, 11.0)


@dataclass(frozen=True, kw_only=True)
class Band(Panel):
    """From the least to the greatest value, and a line for the middle, over time."""

    over: Times
    low: Measure
    middle: Measure
    high: Measure


@dataclass(frozen=True)
class Record:
    """The greatest value ever of a field, or the least; `label` is in the section `measures`."""

    field: Field
    label: str
    least: bool = False


@dataclass(frozen=True, kw_only=True)
class Records(Panel):
    """Per station the record values, and the dates of them."""

    station: Field
    date: Field
    records: tuple[Record, ...]


@dataclass(frozen=True, kw_only=True)
class Documents(Panel):
    """The documents themselves, the newest first; also a saved search to open in Discover."""

    columns: tuple[Field, ...]
    order: tuple[tuple[Field, Literal["asc", "desc"]], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Note(Panel):
    """A line of text with a link that opens the documents of panel `links` in Discover.

    The text is in the catalogue's section of the dashboard under `key` + `_text`.
    """

    links: str


@dataclass(frozen=True)
class Row:
    """Panels side by side; `widths` are their shares, equal unless given."""

    panels: tuple[Panel, ...]
    height: Height
    widths: tuple[int, ...] = ()


@dataclass(frozen=True)
class Control:
    """A list of the values that a field has, to choose from."""

    key: str
    field: Field


@dataclass(frozen=True)
class Dashboard:
    """A wall."""

    key: str
    rows: tuple[Row, ...]
    controls: tuple[Control, ...] = ()
    start: str = "now-24h"
    end: str = "now"
    refresh_s: int = 10

    def panels(self) -> Iterator[Panel]:
        for row in self.rows:
            yield from row.panels


def average(field: Field, label: str | None = None, *, right: bool = False) -> Measure:
    """The mean."""
    return Measure("average", field, label, right=right)


def minimum(field: Field, label: str | None = None, **more: Shape) -> Measure:
    """The least value."""
    return Measure("min", field, label, shape=more.get("shape", "number"))


def maximum(field: Field, label: str | None = None, **more: Shape) -> Measure:
    """The greatest value."""
    return Measure("max", field, label, shape=more.get("shape", "number"))


def total(field: Field, label: str | None = None) -> Measure:
    """The sum."""
    return Measure("sum", field, label)


def last(field: Field, label: str | None = None, *, shape: Shape = "number") -> Measure:
    """The newest value."""
    return Measure("last", field, label, shape=shape)


def count(view: View, label: str, where: str = "", colour: str | None = None) -> Measure:
    """The number of documents."""
    return Measure("count", view["@timestamp"], label, where, colour=colour)


def percentile(percent: int, field: Field, label: str, shape: Shape = "number") -> Measure:
    """What so many per cent of the values are not above."""
    return Measure("percentile", field, label, percentile=percent, shape=shape)
