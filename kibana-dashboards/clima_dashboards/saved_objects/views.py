"""Data views, with labels and formats of the fields."""

from __future__ import annotations

from clima_dashboards.catalogue import Catalogue
from clima_dashboards.fields import STATIONS, Field, View
from clima_dashboards.saved_objects import JSON, Reference, SavedObject, packed
from clima_dashboards.saved_objects.ids import identity

FORM = "8.0.0"
TIMES = {"en": "YYYY-MM-DD HH:mm", "pt-BR": "DD/MM/YYYY HH:mm"}  # Kibana's own has English months


def view_id(view: View, language: str) -> str:
    """The id of a view."""
    return identity("view", language, view.key)


def reference(view: View, language: str, name: str) -> Reference:
    """To the view, by the name that the object knows it by."""
    return Reference(name, "index-pattern", view_id(view, language))


def data_view(view: View, texts: Catalogue) -> SavedObject:
    """The view as an object; fields that no dashboard shows may do without a label."""
    named = [field for field in view if texts.names(field.name)]
    labels = {field.name: {"customLabel": label(field, texts)} for field in named}
    formats = {field.name: found for field in named if (found := _format(field, texts))}
    runtime = {
        name: {"type": each.type, "script": {"source": each.script}}
        for name, each in view.runtime.items()
    }
    attributes: JSON = {
        "title": view.pattern,
        "name": texts("views", view.key),
        "fieldAttrs": packed(labels),
        "fieldFormatMap": packed(formats),
        "runtimeFieldMap": packed(runtime),
        "sourceFilters": "[]",
        "fields": "[]",
        "typeMeta": "{}",
    }
    if view.time:
        attributes["timeFieldName"] = view.time
    return SavedObject("index-pattern", view_id(view, texts.language), attributes, (), FORM)


def label(field: Field, texts: Catalogue) -> str:
    """What people call the field, with its unit where it has one."""
    name = texts.field(field.name)
    return f"{name} ({field.unit})" if field.unit and field.unit not in {"s", "byte"} else name


def _format(field: Field, texts: Catalogue) -> JSON | None:
    if field.name == "@timestamp":
        seconds = "" if field.view is STATIONS else ":ss"  # there it stands in a narrow column
        return {"id": "date", "params": {"pattern": TIMES[texts.language] + seconds}}
    if field.unit == "s":
        params = {
            "inputFormat": "seconds",
            "outputFormat": "humanizePrecise",
            "outputPrecision": 1,
            "useShortSuffix": True,
            "showSuffix": True,
            "includeSpaceWithSuffix": True,
        }
        return {"id": "duration", "params": params}
    if field.unit == "byte":
        return {"id": "bytes"}
    if field.type == "double":
        point = f".{'0' * field.decimals}" if field.decimals else ""
        return {"id": "number", "params": {"pattern": f"0,0{point}"}}
    return None
