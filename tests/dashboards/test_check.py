"""Whatever `clima dashboards check` is there to find, it finds; and there is nothing to find."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from clima_core.errors import ConfigurationError
from clima_dashboards import check as checks
from clima_dashboards import fields as f
from clima_dashboards.catalogue import Catalogue, catalogue
from clima_dashboards.check import (
    check,
    dashboard_problems,
    missing,
    object_problems,
    unused,
)
from clima_dashboards.dashboards import DASHBOARDS
from clima_dashboards.fields import DEAD_LETTERS
from clima_dashboards.layout import COLUMNS, Place, places
from clima_dashboards.model import (
    Curves,
    Dashboard,
    Measure,
    Panel,
    Row,
    Table,
    Terms,
    Times,
    average,
    count,
)
from clima_dashboards.saved_objects.build import build
from tests.test_layout import ROOT

BUILT = ROOT / "kibana-dashboards" / "ndjson"


def problems(*panels: Panel) -> list[str]:
    return list(dashboard_problems(Dashboard("trial", (Row(panels, "low"),))))


def curve(measure: Measure, key: str = "curve", **more: str) -> Curves:
    return Curves(key=key, over=Times(f.TIME), measures=(measure,), where=more.get("where", ""))


def test_nothing_is_wrong() -> None:
    """The files that are committed are what the code makes, byte for byte, and all else holds."""
    assert [] == check(BUILT)


def test_a_file_that_is_not_up_to_date_is_found(tmp_path: Path) -> None:
    """Who changes a dashboard and forgets to build is told so."""
    for path in BUILT.iterdir():
        (tmp_path / path.name).write_text(path.read_text("utf-8"), "utf-8")
    (tmp_path / "en.ndjson").write_text("{}\n", "utf-8")

    assert ["en.ndjson: is not what the code makes; run `clima dashboards build`"] == check(
        tmp_path
    )


@pytest.mark.parametrize(
    ("panel", "problem"),
    [
        (curve(average(f.STATION)), "station.id is keyword, which has no average"),
        (
            Table(
                key="curve",
                rows=(Terms(DEAD_LETTERS["station.id"]),),
                columns=(Measure("last", DEAD_LETTERS["error.message"]),),
            ),
            "error.message is text, which cannot be sorted or counted",
        ),
        (
            Curves(key="curve", over=Times(f.STATION), measures=(average(f.HUMIDITY),)),
            "station.id is keyword, and a time is asked for",
        ),
        (
            Table(key="curve", rows=(Terms(f.LOCATION),), columns=(average(f.HUMIDITY),)),
            "station.location is geo_point, which has no terms to count",
        ),
        (
            curve(average(f.HUMIDITY), where="quality.x: failed and station.nmae: roof"),
            'metrics-clima.weather-*: no field "station.nmae"; did you mean "station.name"?',
        ),
        (
            curve(replace(count(f.WEATHER, "readings"), where="weather.rain > 0")),
            'metrics-clima.weather-*: no field "weather.rain"',
        ),
    ],
)
def test_a_field_that_does_not_fit_is_found(panel: Panel, problem: str) -> None:
    """By the type that the index templates give it, wherever it is named."""
    (found,) = problems(panel)
    assert found.startswith(f"trial: curve: {problem}")


def test_a_panel_of_two_views_is_found() -> None:
    """A chart in Kibana has one data view per layer, and ours one layer."""
    panel = Table(key="mixed", rows=(Terms(f.STATION),), columns=(count(DEAD_LETTERS, "readings"),))
    assert ["trial: mixed: reads deadletters and weather; one panel has one data view"] == problems(
        panel
    )


def test_two_panels_of_one_name_are_found() -> None:
    """They would be one object."""
    panel = curve(average(f.HUMIDITY))
    assert "trial: 2 panels are called curve" in problems(panel, panel)


def test_overlapping_panels_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows cannot overlap; the check looks all the same, at the grid itself."""
    panel, other = curve(average(f.HUMIDITY), "one"), curve(average(f.HUMIDITY), "other")
    laid = [(panel, Place(0, 0, 24, 6)), (other, Place(23, 5, 24, 6))]
    monkeypatch.setattr(checks, "places", lambda _: laid)

    assert ["trial: one and other overlap"] == problems(panel, other)


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda each: each.key)
def test_rows_fill_the_width(dashboard: Dashboard) -> None:
    """No gaps at the right, whatever the shares."""
    ends: dict[int, int] = {}
    for _, place in places(dashboard):
        assert ends.get(place.y, 0) == place.x
        ends[place.y] = place.x + place.width
    assert {COLUMNS} == set(ends.values())


def test_a_missing_text_is_named() -> None:
    """With the file, the section and the key to add."""
    texts = Catalogue("pt-BR", {"views": {}})
    with pytest.raises(ConfigurationError) as caught:
        build(texts)
    assert 'catalogue/pt-BR.toml: [views] has no "weather"; add it' == str(caught.value)


def test_a_text_that_only_another_language_has_is_found() -> None:
    """Of fields and rules too, which a build does not ask for: a push would fail at them."""
    texts = Catalogue("pt-BR", {"rules": {"disk": "Disco"}, "parts": {}})
    other = Catalogue("en", {"rules": {"disk": "Disk", "frost": "Frost"}, "fields": {"a": "A"}})
    assert [
        'catalogue/pt-BR.toml: [fields] has no "a"; add it',
        'catalogue/pt-BR.toml: [rules] has no "frost"; add it',
    ] == list(missing(texts, texts, other))


def test_a_rule_s_text_that_no_rule_shows_is_found() -> None:
    """`check` builds the rules as well as the dashboards."""
    assert ['catalogue/en.toml: [rules] "storm" is not used; remove it'] == list(
        unused(Catalogue("en", {"rules": {"storm": "Storm"}}))
    )


def test_a_text_that_nobody_shows_is_found() -> None:
    """Else catalogues only ever grow."""
    texts = Catalogue("en", {"words": {"sun": "sun"}})
    assert ['catalogue/en.toml: [words] "sun" is not used; remove it'] == list(unused(texts))


def test_a_reference_that_leads_nowhere_and_a_double_id_are_found() -> None:
    """Kibana would refuse the one, and lose an object over the other."""
    objects = build(catalogue("en"))
    view = next(each for each in objects if each.type == "index-pattern")
    left = [each for each in objects if each is not view]

    assert any("which is not there" in found for found in object_problems(left))
    assert [f"index-pattern {view.id}: 2 objects have this id"] == list(
        object_problems([*objects, view])
    )
