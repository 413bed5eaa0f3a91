"""The present weather: a row per station, a cell per quantity."""

from __future__ import annotations

from clima_dashboards import colours, queries
from clima_dashboards.catalogue import Catalogue
from clima_dashboards.fields import TENDENCY
from clima_dashboards.model import CALM, Board, Cell, Measure, Panel
from clima_dashboards.saved_objects import JSON
from clima_dashboards.saved_objects.vega import (
    clickable,
    clicks,
    fixed,
    formula,
    mark,
    newest,
    nothing,
    quoted,
    source,
    specification,
)

GUTTER = 150  # for the stations' names, px
HEAD = 20
MIDDLE = f"{HEAD} + (datum.row - 0.5) * tall"
LEFT = f"{GUTTER} + datum.cell.n * wide"
DAYS = 2  # how far back the present may lie
CELLS: JSON = {
    "name": "cells",
    "source": "stations",
    "transform": [{"type": "flatten", "fields": ["cells"], "as": ["cell"]}],
}
OLD_MS = 2 * 3600 * 1000


def board(panel: Board, texts: Catalogue) -> JSON:
    """The specification."""
    head = {"name": "head", "values": [_head(n, cell, texts) for n, cell in enumerate(panel.cells)]}
    return specification(
        texts,
        signals=[*layout(len(panel.cells)), *clicks(panel, panel.station)],
        data=[_found(panel), _stations(panel, texts), CELLS, head],
        marks=[nothing("stations", texts), *marks(panel, texts)],
    )


def _found(panel: Board) -> JSON:
    """The stations, and one more than there is room for."""
    path = "aggregations.stations.buckets"
    aggs = queries.board(panel)
    return source("found", panel.station.view, panel.time.name, aggs, path, [], DAYS)


def _stations(panel: Board, texts: Catalogue) -> JSON:
    """A row for each station, with its cells."""
    shown = ", ".join(_cell(n, cell, texts) for n, cell in enumerate(panel.cells))
    return rows(
        formula("age", "now() - datum.time.value"),
        formula("seen", _age(texts)),
        formula("day", "length(datum.today.buckets) ? datum.today.buckets[0] : {}"),
        formula("cells", f"[{shown}]"),
    )


def rows(*fields: JSON) -> JSON:
    """A numbered row for each station of `found` that there is room for."""
    number = {"type": "window", "ops": ["row_number"], "as": ["row"]}
    room = {"type": "filter", "expr": f"datum.row <= {queries.STATIONS}"}
    return {"name": "stations", "source": "found", "transform": [number, room, *fields]}


def layout(columns: int) -> list[JSON]:
    """How tall a row is and how wide a column, and the sizes of letters that follow from it."""
    return [
        {"name": "rows", "update": "max(1, length(data('stations')))"},
        {"name": "tall", "update": f"(height - {HEAD}) / rows"},
        {"name": "wide", "update": f"(width - {GUTTER}) / {columns}"},
        {"name": "large", "update": "min(tall * 0.44, wide * 0.27, 72)"},
        {"name": "small", "update": "max(10, min(16, tall * 0.2))"},
    ]


def marks(panel: Panel, texts: Catalogue) -> list[JSON]:
    """The rows of `stations`, their `cells`, and the `head` of the columns."""
    return [*_rows(), _more(texts), clickable(_station(), panel, texts), *_cells()]


def _more(texts: Catalogue) -> JSON:
    """Says that there are more stations than rows."""
    said = quoted(texts("words", "more").format(queries.STATIONS))
    text = f"length(data('found')) > {queries.STATIONS} ? {said} : ''"
    return _text("", "4", "12", text, size="12", align="left")


def _rows() -> list[JSON]:
    """The `head` of the columns, a line above each row, and when the station was heard of."""
    line = mark(
        "rule",
        "stations",
        x=0,
        x2="width",
        y=f"{HEAD} + (datum.row - 1) * tall",
        stroke=fixed(colours.PLAIN),
        strokeOpacity=0.25,
    )
    head = _text("head", f"{GUTTER} + (datum.n + 0.5) * wide", "12", "datum.label", size="12")
    old = f"datum.age > {OLD_MS} ? '{colours.BAD}' : '{colours.PLAIN}'"
    y = f"{MIDDLE} + min(small * 1.5, tall / 2 - 3)"  # above the next row's line, in a low row
    seen = _text("stations", "4", y, "datum.seen", size="small", align="left", fill=old)
    return [head, line, seen]


def _station() -> JSON:
    """The station, at the left of its row; a long id in smaller letters, and then cut short."""
    room = GUTTER - 10
    y, size = f"{MIDDLE} + small * 0.1", "min(20, max(13, tall * 0.3))"
    size = f"max(9, min({size}, {1.6 * room:g} / length(datum.key)))"
    name = _text("stations", "4", y, "datum.key", size=size, align="left", weight="bold")
    name["encode"]["update"] |= {"limit": {"value": room}, "tooltip": {"field": "key"}}
    return name


def _cells() -> list[JSON]:
    """The value, what stands below it, and the arrow that flies with the wind."""
    value = _text(
        "cells",
        f"{LEFT} + wide * (isValid(datum.cell.arrow) ? 0.42 : 0.5)",
        f"{MIDDLE} + (datum.cell.none ? 0 : large * 0.3) - small * 0.5",
        "datum.cell.text",
        size="datum.cell.none ? small : large",
        fill=f"datum.cell.none ? '{colours.PLAIN}' : datum.cell.colour",
        weight="bold",
    )
    y = f"{MIDDLE} + large * 0.3 + small * 0.9"
    below = _text("cells", f"{LEFT} + wide / 2", y, "datum.cell.below", size="small")
    arrow = mark(
        "symbol",
        "cells",
        x=f"{LEFT} + wide * 0.8",
        y=f"{MIDDLE} - small * 0.5",
        shape=fixed("arrow"),
        size="isValid(datum.cell.arrow) ? large * large * 0.6 : 0",
        angle="(datum.cell.arrow || 0) + 180",
        fill="datum.cell.colour",
    )
    return [value, below, arrow]


def _text(
    data: str, x: str, y: str, text: str, *, size: str, align: str = "center",
    fill: str = f"'{colours.PLAIN}'", weight: str = "normal",
) -> JSON:  # fmt: skip
    return mark(
        "text",
        data,
        x=x,
        y=y,
        align=fixed(align),
        text=text,
        fontSize=size,
        fontWeight=fixed(weight),
        fill=fill,
    )


def _head(n: int, cell: Cell, texts: Catalogue) -> JSON:
    name = texts("measures", cell.value.label) if cell.value.label else None
    name = name or texts.field(cell.value.field.name)
    return {"n": n, "label": f"{name} ({cell.value.field.unit})"}


def _cell(n: int, cell: Cell, texts: Catalogue) -> str:
    """An object of Vega's expressions: what the marks need."""
    value = _value(f"c{n}v", cell.value)
    shown = f"isValid({value}) ? {_number(value, cell.value)}"
    below = " + ".join(
        f"(isValid({found}) ? {quoted(_word(each, texts))} + {_number(found, each)} + '  ' : '')"
        for m, each in enumerate(cell.below)
        for found in [_value(f"c{n}b{m}", each)]
    )
    parts = {
        "n": str(n),
        "none": f"!isValid({value})",
        "text": f"{shown} : {quoted(texts('words', 'unmeasured'))}",
        "below": below or "''",
        "colour": quoted(colours.of(cell.value.field.name) or colours.PLAIN),
        "arrow": f"{value} >= {CALM} ? {_value(f'c{n}a', cell.arrow)} : null"
        if cell.arrow
        else "null",
    }
    return "{" + ", ".join(f"{name}: {expression}" for name, expression in parts.items()) + "}"


def _value(name: str, measure: Measure) -> str:
    """The number, or null; of the station's own day unless it is the newest."""
    if measure.function == "last":
        return f"({newest(name, measure.field)})"
    there = f"datum.day.{name} && isValid(datum.day.{name}.value)"
    if measure.function == "sum":
        there += f" && datum.day.{name}n.value"
    return f"({there} ? datum.day.{name}.value : null)"


def _number(value: str, measure: Measure) -> str:
    sign = "+" if measure.field is TENDENCY else "," if measure.field.unit == "lx" else ""
    return f"format({value}, '{sign}.{measure.field.decimals}f')"


def _word(measure: Measure, texts: Catalogue) -> str:
    return f"{texts('measures', measure.label)} " if measure.label else ""


def _age(texts: Catalogue) -> str:
    before, after = texts("words", "ago").split("{}")
    amount = (
        "datum.age < 5400000 ? format(datum.age / 60000, '.0f') + ' min'"
        " : datum.age < 172800000 ? format(datum.age / 3600000, '.0f') + ' h'"
        " : format(datum.age / 86400000, '.0f') + ' d'"
    )
    return f"{quoted(before)} + ({amount}) + {quoted(after)}"
