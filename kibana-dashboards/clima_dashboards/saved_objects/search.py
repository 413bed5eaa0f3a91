"""Saved searches: documents as a table, which Discover opens too."""

from __future__ import annotations

from clima_dashboards.catalogue import Catalogue
from clima_dashboards.fields import View
from clima_dashboards.model import Documents
from clima_dashboards.saved_objects import JSON, Reference, packed
from clima_dashboards.saved_objects.views import reference

SEARCH_SOURCE = "kibanaSavedObjectMeta.searchSourceJSON.index"


def search(panel: Documents) -> JSON:
    """The attributes, but for title and description."""
    view = panel.columns[0].view
    order = [[field.name, way] for field, way in panel.order] or [["@timestamp", "desc"]]
    return {
        "columns": [field.name for field in panel.columns if field.name != view.time],
        "sort": order,
        "grid": {},
        "hideChart": True,
        "rowHeight": 1,
        "kibanaSavedObjectMeta": {"searchSourceJSON": search_source(panel.where)},
    }


def search_source(where: str) -> str:
    """A search of the view that the reference of that name says."""
    return packed(
        {
            "query": {"query": where, "language": "kuery"},
            "filter": [],
            "indexRefName": SEARCH_SOURCE,
        }
    )


def references(panel: Documents, texts: Catalogue) -> tuple[Reference, ...]:
    """Its view."""
    view: View = panel.columns[0].view
    return (reference(view, texts.language, SEARCH_SOURCE),)
