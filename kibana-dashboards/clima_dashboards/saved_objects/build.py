"""All saved objects of a language."""

from __future__ import annotations

from collections.abc import Sequence

from clima_dashboards.catalogue import Catalogue
from clima_dashboards.dashboards import DASHBOARDS
from clima_dashboards.fields import VIEWS
from clima_dashboards.model import Dashboard
from clima_dashboards.saved_objects import SavedObject
from clima_dashboards.saved_objects.dashboard import dashboard_objects
from clima_dashboards.saved_objects.tag import tagged
from clima_dashboards.saved_objects.views import data_view


def build(texts: Catalogue, dashboards: Sequence[Dashboard] = DASHBOARDS) -> list[SavedObject]:
    """Data views, panels and dashboards, and the tag that they have."""
    views = [data_view(view, texts) for view in VIEWS]
    panels = [each for one in dashboards for each in dashboard_objects(one, texts)]
    return tagged([*views, *panels], texts)
