"""What a panel reads: its buckets and measures, whatever kind of panel it is."""

from __future__ import annotations

from clima_dashboards.fields import Field, View
from clima_dashboards.model import (
    Band,
    Binary,
    Board,
    Bucket,
    Curves,
    Documents,
    Formula,
    HeatMap,
    Measure,
    Number,
    Panel,
    Records,
    Rose,
    StationMap,
    Table,
    Terms,
    Times,
)


def of_number(number: Number) -> list[Measure]:
    """The measures that a number is made of."""

    def walk(term: object) -> list[Measure]:
        if isinstance(term, Binary):
            return [*walk(term.left), *walk(term.right)]
        return [term] if isinstance(term, Measure) else []

    return walk(number.term) if isinstance(number, Formula) else [number]


def numbers(panel: Panel) -> list[Number]:
    """What it shows, but for single documents."""
    match panel:
        case Curves():
            return list(panel.measures)
        case Table():
            return list(panel.columns)
        case HeatMap():
            return [panel.value]
        case Board():
            found: list[Number] = []
            for cell in panel.cells:
                found += [cell.value, *cell.below, *([cell.arrow] if cell.arrow else [])]
            return found
        case StationMap():
            return [panel.centre, *panel.beside, panel.arrow, panel.speed]
        case Rose():
            return [Measure("average", panel.speed), Measure("average", panel.direction)]
        case Records():
            return [Measure("max", each.field) for each in panel.records]
        case Band():
            return [panel.low, panel.middle, panel.high]
    return []


def measures(panel: Panel) -> list[Measure]:
    """All measures, those in formulas too."""
    return [measure for number in numbers(panel) for measure in of_number(number)]


def buckets(panel: Panel) -> list[Bucket]:
    """By what it sorts documents."""
    match panel:
        case Curves():
            return [panel.over, *([panel.by] if panel.by else [])]
        case Table():
            return list(panel.rows)
        case HeatMap():
            return [panel.x, panel.y]
        case Band():
            return [panel.over]
        case Records():
            return [Terms(panel.station), Times(panel.date)]
        case Board() | StationMap():
            return [Terms(panel.station), Times(panel.time)]
    return []


def fields(panel: Panel) -> list[Field]:
    """All fields that it reads."""
    found = [each.field for each in (*measures(panel), *buckets(panel))]
    if isinstance(panel, Documents):
        found += panel.columns
    return found


def view_of(panel: Panel) -> View:
    """The one view that it reads; not of notes, which read nothing."""
    return fields(panel)[0].view
