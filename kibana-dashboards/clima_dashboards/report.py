"""What a person changed in Kibana, as a list of what to change in the code for it to last."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from clima_dashboards.catalogue import Catalogue
from clima_dashboards.dashboards import DASHBOARDS
from clima_dashboards.differences import Change, Difference
from clima_dashboards.fields import VIEWS
from clima_dashboards.saved_objects.dashboard import dashboard_id
from clima_dashboards.saved_objects.ids import DEFAULT, identity, in_space
from clima_dashboards.saved_objects.views import view_id

_PANEL = re.compile(r"panelsJSON\.(\w+)\.(.*)")


def report(found: Sequence[Difference], texts: Catalogue, space: str = DEFAULT) -> str:
    """Markdown: a section for each object, a line for each change."""
    if not found:
        return "Nobody has changed anything.\n"
    return "\n".join(line for each in found for line in _section(each, texts, space))


def _section(difference: Difference, texts: Catalogue, space: str) -> Iterator[str]:
    module, key, panel = _home(difference, texts.language, space)
    yield f"## {difference.title}\n"
    yield f"In `{module}`{f', panel `{panel}`' if panel else ''}:\n"
    for change in difference.changes:
        yield f"- {_advice(change, texts.language, key)}{change}"
    yield ""


def _home(difference: Difference, language: str, space: str) -> tuple[str, str, str]:
    """The module that the object comes from, the dashboard's key, and the panel's."""
    for dashboard in DASHBOARDS:
        module = f"dashboards/{dashboard.key}.py"
        if difference.id == in_space(dashboard_id(dashboard.key, language), space):
            return module, dashboard.key, ""
        for panel in dashboard.panels():
            own = identity("panel", language, dashboard.key, panel.key)
            if difference.id == in_space(own, space):
                return module, dashboard.key, panel.key
    if any(difference.id == in_space(view_id(view, language), space) for view in VIEWS):
        return "fields.py", "", ""
    return "saved_objects/", "", ""


def _advice(change: Change, language: str, dashboard: str) -> str:
    """Where such a change belongs, as far as the path tells."""
    found = _PANEL.match(change.path)
    if found and found[2].startswith("gridData"):
        return f"rows, heights and widths of panel `{found[1]}`: "
    if found and found[2] == "title":
        return f'`catalogue/{language}.toml`, [{dashboard}] "{found[1]}": '
    if change.path in {"title", "name"} or change.path.endswith("customLabel"):
        return f"`catalogue/{language}.toml`: "
    if change.path.startswith(("timeFrom", "refreshInterval")):
        return "the dashboard's `start` and `refresh_s`: "
    return ""
