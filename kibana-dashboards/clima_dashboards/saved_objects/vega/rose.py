"""A wind rose: how often from where, and how hard; north is up."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from clima_dashboards import colours, queries
from clima_dashboards.catalogue import Catalogue
from clima_dashboards.model import Rose
from clima_dashboards.saved_objects import JSON
from clima_dashboards.saved_objects.vega import (
    fixed,
    formula,
    mark,
    nothing,
    of,
    quoted,
    source,
    specification,
)

POINTS = ("north", "northeast", "east", "southeast", "south", "southwest", "west", "northwest")


def rose(panel: Rose, texts: Catalogue) -> JSON:
    """The specification. Shares are of all readings with a wind speed, calm ones included."""
    width = 360 / panel.sectors
    data = [_whole(panel), _sectors(width, panel.sectors)]
    data += [{"name": "points", "values": _points(texts)}, RINGS]
    return specification(
        texts,
        signals=[
            {"name": "wide", "update": "width - 90"},
            {"name": "radius", "update": "max(10, min(wide, height) / 2 - 22)"},
            {"name": "calm", "update": _calm(texts)},
        ],
        data=data,
        scales=_scales(_classes(panel, texts)),
        legends=[LEGEND],
        marks=[nothing("whole", texts, "not_then"), *_marks(width)],
    )


def _whole(panel: Rose) -> JSON:
    """One row: the whole answer; none where nobody has said from where the wind came."""
    calm = "datum.calm.doc_count >= datum.all.value"
    known = f"datum.all.value > 0 && (length(datum.sectors.buckets) || {calm})"
    transform = [
        {"type": "filter", "expr": known},
        formula("total", "datum.all.value"),
    ]
    aggs = queries.rose(panel)
    return source("whole", panel.speed.view, "@timestamp", aggs, "aggregations", transform)


def _sectors(width: float, sectors: int) -> JSON:
    """A row for each sector and class of speed: its share, and from where to where it reaches."""
    place = f"round((datum.sector.key + {width / 2}) / {width}) % {sectors}"
    return {
        "name": "sectors",
        "source": "whole",
        "transform": [
            {"type": "flatten", "fields": ["sectors.buckets"], "as": ["sector"]},
            {"type": "flatten", "fields": ["sector.speeds.buckets"], "as": ["speed"]},
            formula("place", place),
            formula("class", "toNumber(datum.speed.key)"),
            {
                "type": "aggregate",
                "groupby": ["place", "class"],
                "ops": ["sum", "max"],
                "fields": ["speed.doc_count", "total"],
                "as": ["count", "total"],
            },
            formula("share", "datum.count / datum.total"),
            {"type": "stack", "groupby": ["place"], "sort": {"field": "class"}, "field": "share"},
        ],
    }


RINGS: JSON = {
    "name": "rings",
    "source": "sectors",
    "transform": [
        {"type": "aggregate", "ops": ["max"], "fields": ["y1"], "as": ["most"]},
        formula("ring", "sequence(1, 4)"),
        {"type": "flatten", "fields": ["ring"]},
        formula("share", "datum.most * datum.ring / 3"),
    ],
}
LEGEND: JSON = {
    "fill": "named",
    "title": "m/s",
    "orient": "none",
    "symbolType": "square",
    "encode": {"legend": {"update": {"x": {"signal": "width - 70"}, "y": {"value": 8}}}},
}


def _classes(panel: Rose, texts: Catalogue) -> list[str]:
    """What the classes of speed are called."""
    edges = panel.classes
    labels = [f"{low:g}–{high:g}" for low, high in pairwise(edges)]
    labels.append(f"≥ {edges[-1]:g}")
    return [each.replace(".", ",") for each in labels] if texts.language == "pt-BR" else labels


def _scales(labels: Sequence[str]) -> list[JSON]:
    shades = list(colours.RISING[1 : 1 + len(labels)])
    numbers = list(range(len(labels)))
    return [
        {
            "name": "far",
            "type": "linear",
            "domain": {"data": "sectors", "field": "y1"},
            "range": [0, {"signal": "radius"}],
            "zero": True,
            "nice": False,
        },
        {"name": "class", "type": "ordinal", "domain": numbers, "range": shades},
        {"name": "named", "type": "ordinal", "domain": list(labels), "range": shades},
    ]


def _calm(texts: Catalogue) -> str:
    share = "data('whole')[0].calm.doc_count / data('whole')[0].total"
    text = f"{quoted(texts('words', 'calm') + ' ')} + format({share}, '.0%')"
    return f"length(data('whole')) ? {text} : ''"


def _points(texts: Catalogue) -> list[JSON]:
    return [{"angle": n * 45, "name": texts("words", point)} for n, point in enumerate(POINTS)]


def _marks(width: float) -> list[JSON]:
    """Rings, sectors, the points of the compass, how much a ring is, and how often it was calm."""
    centre: dict[str, str] = {"x": "wide / 2", "y": "height / 2"}
    ring, share = of("far", "share"), "scale('far', datum.share)"
    return [
        mark(
            "arc", "rings", **centre, startAngle=0, endAngle="2 * PI", innerRadius=ring,
            outerRadius=ring, stroke=fixed(colours.PLAIN), strokeOpacity=0.3,
        ),
        mark(
            "arc", "sectors", **centre,
            startAngle=f"(datum.place - 0.45) * {width} * PI / 180",
            endAngle=f"(datum.place + 0.45) * {width} * PI / 180",
            innerRadius=of("far", "y0"), outerRadius=of("far", "y1"), fill=of("class", "class"),
            tooltip="format(datum.share, '.1%')",
        ),
        mark(
            "text", "points",
            x="wide / 2 + (radius + 11) * sin(datum.angle * PI / 180)",
            y="height / 2 - (radius + 11) * cos(datum.angle * PI / 180)",
            align=fixed("center"), baseline=fixed("middle"), fontWeight=fixed("bold"),
            text={"field": "name"}, fillOpacity="length(data('whole')) ? 1 : 0",
        ),
        mark(
            "text", "rings",
            x=f"wide / 2 + {share} * sin(PI / 8) + 3", y=f"height / 2 - {share} * cos(PI / 8)",
            fontSize=10, text="format(datum.share, '.0%')",
        ),
        mark("text", x="width - 70", y="height - 8", text="calm"),
    ]  # fmt: skip
