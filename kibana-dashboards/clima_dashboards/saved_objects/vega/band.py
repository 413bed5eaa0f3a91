"""From the least to the greatest value of each day, and a line for the middle."""

from __future__ import annotations

from clima_dashboards import colours, queries
from clima_dashboards.catalogue import Catalogue
from clima_dashboards.fields import Field
from clima_dashboards.model import Band
from clima_dashboards.saved_objects import JSON
from clima_dashboards.saved_objects.vega import (
    fixed,
    formula,
    mark,
    nothing,
    of,
    source,
    specification,
)

ISO = {
    "year": "%Y",
    "quarter": "%Y-%m",
    "month": "%Y-%m",
    "week": "%m-%d",
    "date": "%m-%d",
    "day": "%m-%d",
}


def band(panel: Band, texts: Catalogue) -> JSON:
    """The specification."""
    field = panel.middle.field
    data = source(
        "days",
        field.view,
        panel.over.field.name,
        queries.band(panel),
        "aggregations.times.buckets",
        _transform(),
    )
    measured = {
        "name": "measured",
        "source": "days",
        "transform": [{"type": "filter", "expr": "datum.there"}],
    }
    return specification(
        texts,
        data=[data, measured],
        scales=_scales(),
        axes=_axes(field),
        marks=[nothing("measured", texts, "not_then", "days", "no_days"), *_marks(field)],
    )


def _transform() -> list[JSON]:
    """A day without values stays, so that there is a gap; one between such days is `alone`."""
    beside = {
        "type": "window",
        "sort": {"field": "key"},
        "ops": ["lag", "lead"],
        "fields": ["there", "there"],
        "as": ["before", "after"],
    }
    there = formula("there", "isValid(datum.middle.value)")
    return [there, beside, formula("alone", "datum.there && !datum.before && !datum.after")]


def _scales() -> list[JSON]:
    extremes = {"data": "measured", "fields": ["low.value", "high.value"]}
    return [
        {
            "name": "x",
            "type": "time",
            "range": "width",
            "domain": {"data": "measured", "field": "key"},
        },
        {
            "name": "y",
            "type": "linear",
            "range": "height",
            "nice": True,
            "zero": False,
            "domain": extremes,
        },
    ]


def _axes(field: Field) -> list[JSON]:
    return [
        {"orient": "bottom", "scale": "x", "format": ISO, "labelOverlap": True},
        {
            "orient": "left",
            "scale": "y",
            "grid": True,
            "gridOpacity": 0.5,
            "domain": False,
            "title": field.unit,
        },
    ]


def _marks(field: Field) -> list[JSON]:
    """The band itself, and the line in it; a bar for a day alone, of which neither can be made."""
    colour = fixed(colours.of(field.name) or colours.PLAIN)
    tooltip = " + ' / ' + ".join(
        f"format(datum.{part}.value, '.{field.decimals}f')" for part in ("low", "middle", "high")
    )
    x, there = of("x", "key"), "datum.there"
    extent = {"y": of("y", "low.value"), "y2": of("y", "high.value")}
    middle = of("y", "middle.value")
    return [
        mark(
            "area",
            "days",
            x=x,
            **extent,
            fill=colour,
            fillOpacity=0.3,
            defined=there,
            tooltip=tooltip,
        ),
        mark("line", "days", x=x, y=middle, stroke=colour, strokeWidth=2, defined=there),
        mark(
            "rule",
            "measured",
            x=x,
            **extent,
            stroke=colour,
            strokeOpacity=0.3,
            strokeWidth="datum.alone ? 6 : 0",
            tooltip=tooltip,
        ),
        mark("symbol", "measured", x=x, y=middle, fill=colour, size="datum.alone ? 40 : 0"),
    ]
