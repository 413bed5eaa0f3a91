"""Pictures that Lens does not have, in Vega: plain specifications, filled with a panel's search.

What they share: the dashboard's filters and time, fonts, numbers as the language writes them, and
a text where there is nothing to draw.
"""

from __future__ import annotations

from clima_dashboards import colours
from clima_dashboards.catalogue import Catalogue
from clima_dashboards.fields import Field, View
from clima_dashboards.model import Panel
from clima_dashboards.saved_objects import JSON

SCHEMA = "https://vega.github.io/schema/vega/v5.json"
FONT = "Inter, 'Helvetica Neue', sans-serif"
PRESENT_MS = 3600 * 1000
LETTERS: JSON = {
    "labelFont": FONT,
    "titleFont": FONT,
    "labelColor": colours.PLAIN,
    "titleColor": colours.PLAIN,
    "titleFontWeight": "normal",
}
LOCALES: dict[str, JSON] = {
    "en": {"decimal": ".", "thousands": ",", "grouping": [3], "currency": ["", ""]},
    "pt-BR": {"decimal": ",", "thousands": ".", "grouping": [3], "currency": ["R$", ""]},
}


def source(
    name: str, view: View, time: str, aggs: JSON, path: str, transform: list[JSON], days: int = 0
) -> JSON:
    """A data set from a search over the chosen time, or the `days` before the end of it."""
    start: JSON = {"%timefilter%": "min"}
    if days:
        start = {"%timefilter%": "max", "shift": -days, "unit": "day"}
    query = {
        "bool": {
            "must": ["%dashboard_context-must_clause%"],
            "filter": [
                "%dashboard_context-filter_clause%",
                {"range": {time: {"gte": start, "lte": {"%timefilter%": "max"}}}},
            ],
            "must_not": ["%dashboard_context-must_not_clause%"],
        }
    }
    body: JSON = {"size": 0, "query": query, "aggs": aggs}
    if view.runtime:
        body["runtime_mappings"] = {
            name: {"type": each.type, "script": {"source": each.script}}
            for name, each in view.runtime.items()
            if name in str(aggs) or name == time
        }
        if not body["runtime_mappings"]:
            del body["runtime_mappings"]
    return {
        "name": name,
        "url": {"index": view.pattern, "body": body},
        "format": {"property": path},
        "transform": transform,
    }


def specification(texts: Catalogue, **parts: object) -> JSON:
    """A whole specification; it fills its panel."""
    return {
        "$schema": SCHEMA,
        "autosize": {"type": "fit", "contains": "padding"},
        "padding": 4,
        "config": {
            "kibana": {"renderer": "svg"},
            "locale": {"number": LOCALES[texts.language]},
            "text": {"font": FONT, "fill": colours.PLAIN},
            "axis": LETTERS,
            "legend": LETTERS,
        },
        **parts,
    }


def mark(kind: str, data: str = "", **channels: str | float | JSON) -> JSON:
    """A mark, one for each row of `data`; a channel's text is an expression, a number itself."""
    encoded = {
        name: each if isinstance(each, dict) else _channel(each) for name, each in channels.items()
    }
    rows = {"from": {"data": data}} if data else {}
    return {"type": kind, **rows, "encode": {"update": encoded}}


def _channel(value: str | float) -> JSON:
    return {"signal": value} if isinstance(value, str) else {"value": value}


CLICKED = "station"  # the name of the marks that lead to a station


def clicks(panel: Panel, station: Field) -> list[JSON]:
    """The signal by which a click on a station filters by it, and so leads where the panel does."""
    if not panel.opens:
        return []
    query = f"{{match_phrase: {{{quoted(station.name)}: datum.key}}}}"
    act = f"kibanaAddFilter({query}, {quoted(station.view.pattern)}, datum.key)"
    on = [{"events": {"type": "click", "markname": CLICKED}, "update": act}]
    return [{"name": "clicked", "on": on}]


def clickable(drawn: JSON, panel: Panel, texts: Catalogue) -> JSON:
    """The mark of a station, as one that can be clicked where its panel leads anywhere."""
    if not panel.opens:
        return drawn
    leads = quoted(f" → {texts('dashboards', panel.opens)}")
    update = {
        **drawn["encode"]["update"],
        "cursor": fixed("pointer"),
        "fill": fixed(colours.LINK),
        "tooltip": {"signal": f"datum.key + {leads}"},
    }
    return {**drawn, "name": CLICKED, "encode": {"update": update}}


def fixed(text: str) -> JSON:
    """A channel that is just this text, and no expression."""
    return {"value": text}


def of(scale: str, field: str) -> JSON:
    """A channel that is a field on a scale."""
    return {"scale": scale, "field": field}


def formula(name: str, expression: str) -> JSON:
    """A transform that works out a field."""
    return {"type": "formula", "as": name, "expr": expression}


def nothing(
    data: str, texts: Catalogue, word: str = "nothing", rows: str = "", none: str = "nothing"
) -> JSON:
    """Says that there is nothing to draw, where a data set is empty; by another `word` where
    there are `rows` of which nothing can be drawn, and else by the word `none`."""
    said = quoted(texts("words", word))
    if rows:
        said = f"(length(data('{rows}')) ? {said} : {quoted(texts('words', none))})"
    return mark(
        "text",
        x="width / 2",
        y="height / 2",
        align=fixed("center"),
        fontSize=14,
        text=f"length(data('{data}')) ? '' : {said}",
    )


def newest(name: str, field: Field) -> str:
    """The expression for a value of `queries.newest`; null where there is none.

    What was measured an hour before the station's newest reading, and not since, is not the
    present: gusts of a wind that has died down, or a sensor that fails.
    """
    hits = f"datum.{name}.newest.hits.hits"
    fresh = f"length({hits}) && {hits}[0].sort[0] > datum.time.value - {PRESENT_MS}"
    return f"{fresh} ? {hits}[0].fields[{quoted(field.name)}][0] : null"


def quoted(text: str) -> str:
    """A text as Vega's expressions have it."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
