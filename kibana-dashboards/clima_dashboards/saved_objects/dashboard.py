"""A dashboard: where its panels lie, its controls, its time, and what clicks lead to."""

from __future__ import annotations

from clima_dashboards.catalogue import Catalogue
from clima_dashboards.layout import Place, places
from clima_dashboards.model import Control, Dashboard, Note, Panel
from clima_dashboards.saved_objects import JSON, Reference, SavedObject, packed
from clima_dashboards.saved_objects.ids import identity
from clima_dashboards.saved_objects.panels import panel_object
from clima_dashboards.saved_objects.views import view_id

VERSION = "8.3.0"


def dashboard_id(key: str, language: str) -> str:
    """The id of a dashboard."""
    return identity("dashboard", language, key)


def dashboard_objects(dashboard: Dashboard, texts: Catalogue) -> list[SavedObject]:
    """The dashboard and its panels."""
    panels, references, objects = [], [], []
    for panel, place in places(dashboard):
        found = panel_object(dashboard, panel, texts)
        panels.append(_panel(panel, place, found, texts, dashboard))
        objects.append(found)
        references.append(Reference(f"{panel.key}:panel_{panel.key}", found.type, found.id))
        references += _drilldown_references(panel, texts)
    references += [_control_reference(each, texts) for each in dashboard.controls]
    own = dashboard_id(dashboard.key, texts.language)
    attributes = _attributes(dashboard, panels, texts)
    return [SavedObject("dashboard", own, attributes, tuple(references), VERSION), *objects]


def _attributes(dashboard: Dashboard, panels: list[JSON], texts: Catalogue) -> JSON:
    options = {"useMargins": True, "syncColors": True, "hidePanelTitles": False}
    everything = {"query": {"query": "", "language": "kuery"}, "filter": []}
    return {
        "title": texts("dashboards", dashboard.key),
        "description": texts("descriptions", dashboard.key),
        "hits": 0,
        "version": 1,
        "panelsJSON": packed(panels),
        "optionsJSON": packed(options),
        "timeRestore": True,
        "timeFrom": dashboard.start,
        "timeTo": dashboard.end,
        "refreshInterval": {"pause": False, "value": dashboard.refresh_s * 1000},
        "kibanaSavedObjectMeta": {"searchSourceJSON": packed(everything)},
        "controlGroupInput": _controls(dashboard.controls, texts),
    }


def _panel(
    panel: Panel, place: Place, found: SavedObject, texts: Catalogue, dashboard: Dashboard
) -> JSON:
    config: JSON = {"enhancements": _enhancements(panel, texts)}
    if panel.period:
        config["timeRange"] = {"from": panel.period[0], "to": panel.period[1]}
    if isinstance(panel, Note):
        config["hidePanelTitles"] = True
    return {
        "version": VERSION,
        "type": found.type,
        "panelIndex": panel.key,
        "gridData": {
            "x": place.x,
            "y": place.y,
            "w": place.width,
            "h": place.height,
            "i": panel.key,
        },
        "title": texts(dashboard.key, panel.key),
        "embeddableConfig": config,
        "panelRefName": f"panel_{panel.key}",
    }


def _enhancements(panel: Panel, texts: Catalogue) -> JSON:
    if not panel.opens:
        return {}
    event = identity("drilldown", texts.language, panel.key, panel.opens)
    action = {
        "factoryId": "DASHBOARD_TO_DASHBOARD_DRILLDOWN",
        "name": f"→ {texts('dashboards', panel.opens)}",
        "config": {"useCurrentDateRange": True, "useCurrentFilters": True},
    }
    return {
        "dynamicActions": {
            "events": [{"eventId": event, "triggers": ["FILTER_TRIGGER"], "action": action}]
        }
    }


def _drilldown_references(panel: Panel, texts: Catalogue) -> list[Reference]:
    if not panel.opens:
        return []
    event = identity("drilldown", texts.language, panel.key, panel.opens)
    name = f"{panel.key}:drilldown:DASHBOARD_TO_DASHBOARD_DRILLDOWN:{event}:dashboardId"
    return [Reference(name, "dashboard", dashboard_id(panel.opens, texts.language))]


def _control_reference(control: Control, texts: Catalogue) -> Reference:
    view = view_id(control.field.view, texts.language)
    return Reference(f"controlGroup_{control.key}:optionsListDataView", "index-pattern", view)


def _controls(controls: tuple[Control, ...], texts: Catalogue) -> JSON:
    panels = {
        each.key: {
            "order": order,
            "width": "medium",
            "grow": True,
            "type": "optionsListControl",
            "explicitInput": {
                "id": each.key,
                "title": texts("controls", each.key),
                "fieldName": each.field.name,
                "enhancements": {},
            },
        }
        for order, each in enumerate(controls)
    }
    ignore = dict.fromkeys(IGNORED, False)
    return {
        "controlStyle": "oneLine",
        "chainingSystem": "HIERARCHICAL",
        "panelsJSON": packed(panels),
        "ignoreParentSettingsJSON": packed(ignore),
    }


IGNORED = ("ignoreFilters", "ignoreQuery", "ignoreTimerange", "ignoreValidations")
