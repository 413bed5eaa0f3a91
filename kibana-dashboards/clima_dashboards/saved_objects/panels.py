"""One panel, as the saved object that Kibana keeps in its library."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from clima_dashboards.catalogue import Catalogue
from clima_dashboards.model import (
    Band,
    Board,
    Curves,
    Dashboard,
    Documents,
    HeatMap,
    Note,
    Panel,
    Records,
    Rose,
    StationMap,
    Table,
)
from clima_dashboards.reading import view_of
from clima_dashboards.saved_objects import JSON, Reference, SavedObject, lens, packed
from clima_dashboards.saved_objects import search as searches
from clima_dashboards.saved_objects.ids import identity
from clima_dashboards.saved_objects.vega.band import band
from clima_dashboards.saved_objects.vega.board import board
from clima_dashboards.saved_objects.vega.map import station_map
from clima_dashboards.saved_objects.vega.records import records
from clima_dashboards.saved_objects.vega.rose import rose

Make = Callable[[Any, Catalogue], JSON]
LENS: Mapping[type[Panel], Make] = {
    Curves: lens.curves,
    Table: lens.table,
    HeatMap: lens.heat_map,
}
VEGA: Mapping[type[Panel], Make] = {
    Band: band,
    Board: board,
    Records: records,
    Rose: rose,
    StationMap: station_map,
}


def panel_object(dashboard: Dashboard, panel: Panel, texts: Catalogue) -> SavedObject:
    """The object; its title says where it belongs, for those who look through the library."""
    kind, attributes = _attributes(dashboard, panel, texts)
    title = f"{texts('dashboards', dashboard.key)}: {texts(dashboard.key, panel.key)}"
    attributes |= {"title": title, "description": ""}
    found: tuple[Reference, ...] = ()
    own = identity("panel", texts.language, dashboard.key, panel.key)
    if isinstance(panel, tuple(LENS)):
        found = lens.references(attributes, view_of(panel), texts.language)
    elif isinstance(panel, Documents):
        found = searches.references(panel, texts)
    form = {"lens": "8.3.0", "visualization": "8.3.0", "search": "8.0.0"}[kind]
    return SavedObject(kind, own, attributes, found, form)


def _attributes(dashboard: Dashboard, panel: Panel, texts: Catalogue) -> tuple[str, JSON]:
    for kind, make in LENS.items():
        if isinstance(panel, kind):
            return "lens", make(panel, texts)
    for kind, make in VEGA.items():
        if isinstance(panel, kind):
            return "visualization", _vega(make(panel, texts), panel)
    if isinstance(panel, Documents):
        return "search", searches.search(panel)
    if isinstance(panel, Note):
        return "visualization", _note(dashboard, panel, texts)
    raise TypeError(panel)


def _note(dashboard: Dashboard, note: Note, texts: Catalogue) -> JSON:
    text = texts(dashboard.key, f"{note.key}_text")
    target = identity("panel", texts.language, dashboard.key, note.links)
    markdown = f"[{text}](discover#/view/{target})"
    params = {"markdown": markdown, "fontSize": 12, "openLinksInNewTab": False}
    return _visualization("markdown", params)


def _vega(specification: JSON, panel: Panel) -> JSON:
    spec = packed(specification)
    return _visualization("vega", {"spec": spec}, panel.where)


def _visualization(kind: str, params: JSON, where: str = "") -> JSON:
    source = packed({"query": {"query": where, "language": "kuery"}, "filter": []})
    return {
        "visState": packed({"title": "", "type": kind, "params": params, "aggs": []}),
        "uiStateJSON": "{}",
        "version": 1,
        "kibanaSavedObjectMeta": {"searchSourceJSON": source},
    }
