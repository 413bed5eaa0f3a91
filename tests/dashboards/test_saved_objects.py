"""The files: the same bytes for the same dashboards, in forms that a real Kibana accepted."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from clima_dashboards import LANGUAGES
from clima_dashboards.catalogue import catalogue
from clima_dashboards.saved_objects import ndjson
from clima_dashboards.saved_objects.build import build
from clima_dashboards.saved_objects.dashboard import dashboard_id
from tests.dashboards import forms

BUILD = (
    "import sys; from clima_dashboards.catalogue import catalogue;"
    "from clima_dashboards.saved_objects import ndjson;"
    "from clima_dashboards.saved_objects.build import build;"
    "sys.stdout.buffer.write(ndjson(build(catalogue('pt-BR'))).encode())"
)
# the attributes that Kibana 8.9 to 9.x allows in an object of that age
KNOWN = {
    "dashboard": {
        "title", "description", "kibanaSavedObjectMeta", "timeRestore", "timeFrom", "timeTo",
        "refreshInterval", "controlGroupInput", "panelsJSON", "optionsJSON", "hits", "version",
    },
    "search": {
        "title", "description", "columns", "sort", "grid", "rowHeight", "rowsPerPage",
        "hideChart", "breakdownField", "kibanaSavedObjectMeta", "isTextBasedQuery",
        "usesAdHocDataView", "timeRestore", "timeRange", "refreshInterval", "viewMode",
        "hideAggregatedPreview", "hits", "version",
    },
    "visualization": {
        "title", "description", "version", "kibanaSavedObjectMeta", "uiStateJSON", "visState",
        "savedSearchRefName",
    },
}  # fmt: skip


def test_the_same_dashboards_give_the_same_bytes() -> None:
    """In another process, whose sets and dictionaries are hashed differently."""
    outputs = {
        subprocess.run(
            [sys.executable, "-c", BUILD],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert {ndjson(build(catalogue("pt-BR"))).encode()} == outputs


def test_ids_are_for_ever() -> None:
    """Links, bookmarks and drill-downs of people lead to them: a changed id breaks these."""
    assert "9d89d672-fdbf-51ae-8d9e-a0c9a1e5c275" == dashboard_id("weather", "en")
    assert "7a878dea-9f42-55cb-91fb-8628e4d330d8" == dashboard_id("weather", "pt-BR")


def test_today_is_in_the_climates_time() -> None:
    """A day's own time is in the middle of it: up to now, this morning would leave today out."""
    end = {
        each.id: each.attributes["timeTo"]
        for each in build(catalogue("en"))
        if each.type == "dashboard"
    }
    assert "now/d" == end.pop(dashboard_id("climate", "en"))  # Kibana rounds an end up
    assert {"now"} == set(end.values())


def test_the_climates_first_month_is_whole() -> None:
    """Sums of months begin with that of the first one, and a part of it would look dry."""
    own = dashboard_id("climate", "en")
    (start,) = (each.attributes["timeFrom"] for each in build(catalogue("en")) if each.id == own)
    assert "now-1y/M" == start  # Kibana rounds a start down


def test_the_coldest_hour_has_a_colour() -> None:
    """Kibana leaves the very least value white, as if it were missing, unless the scale is open."""
    (heat,) = (
        each.attributes["state"]["visualization"]["palette"]["params"]
        for each in build(catalogue("en"))
        if each.attributes.get("visualizationType") == "lnsHeatmap"
    )
    assert ("all", None, None) == (heat["continuity"], heat["rangeMin"], heat["rangeMax"])


def test_languages_live_side_by_side() -> None:
    """No object of one language replaces one of another."""
    ids = [{each.id for each in build(catalogue(language))} for language in LANGUAGES]
    assert set() == set.intersection(*ids)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_form_was_accepted_by_a_real_kibana(language: str) -> None:
    """forms.json holds what Kibana 8.3.3 took in, showed without an error, and gave back."""
    accepted = forms.accepted()
    unknown = {
        f"{kind}: {path} ({types})"
        for each in build(catalogue(language))
        for kind, path, types in forms.paths(each)
        if types not in accepted.get(kind, {}).get(path, [])
    }
    assert set() == unknown


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_newer_kibana_forbids_none_of_it(language: str) -> None:
    """From 8.8 on it knows which attributes there are, and refuses an object with others."""
    objects = [each for each in build(catalogue(language)) if each.type in KNOWN]
    assert KNOWN.keys() == {each.type for each in objects}
    assert set() == {
        f"{each.type}: {name}"
        for each in objects
        for name in each.attributes.keys() - KNOWN[each.type]
    }


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_text_is_left_untranslated_by_accident(language: str) -> None:
    """Every title comes from the catalogue: what it shows is in the language's own file."""
    texts = catalogue(language)
    objects = build(texts)
    titles = [str(each.attributes["title"]) for each in objects if each.type == "dashboard"]
    assert sorted(titles) == sorted(text for text in _texts(language, "dashboards"))


def test_each_line_is_one_object() -> None:
    """So that a change of one panel is a change of one line."""
    objects = build(catalogue("en"))
    lines = ndjson(objects).splitlines()
    assert len(objects) == len(lines)
    assert {(each.type, each.id) for each in objects} == {
        (found["type"], found["id"]) for found in map(json.loads, lines)
    }


def _texts(language: str, section: str) -> list[str]:
    texts = catalogue(language)
    return [texts(found, key) for found, key in texts if found == section]
