"""On a real Kibana: what it takes in it gives back, draws without an error, and watches."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from clima_core.errors import ConfigurationError
from clima_core.identity import DATA_SETS
from clima_core.reading import rfc3339
from clima_dashboards import LANGUAGES
from clima_dashboards.alerting import push_rules, remove_rules
from clima_dashboards.catalogue import Catalogue, catalogue
from clima_dashboards.dashboards import DASHBOARDS
from clima_dashboards.dashboards.weather import WEATHER
from clima_dashboards.differences import differences, touched
from clima_dashboards.kibana import Identity, Kibana
from clima_dashboards.model import Dashboard
from clima_dashboards.push import identities, objects_for, push
from clima_dashboards.saved_objects import Reference, SavedObject
from clima_dashboards.saved_objects.build import build
from clima_dashboards.saved_objects.dashboard import dashboard_id
from clima_dashboards.saved_objects.ids import identity
from clima_dashboards.screenshot import HINTS, drawn, screenshot
from clima_elk.installed import State
from tests.dashboards import world
from tests.elasticsearch_server import Server

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("language", LANGUAGES)
def test_what_goes_in_comes_out(real_kibana: Kibana, language: str) -> None:
    """A push is no change by a person, however often, and an edit is one."""
    objects = build(catalogue(language))
    for _ in range(2):
        push(real_kibana, objects, force=True)
        theirs = real_kibana.export(identities(objects))
        assert (len(objects), set()) == (len(theirs), touched(theirs))
        if real_kibana.version()[:2] == (8, 3):  # later ones migrate what they take in
            assert [] == differences(objects, theirs)

    one = next(each for each in objects if each.type == "lens")
    edit(real_kibana, one)
    assert {Identity("lens", one.id)} == touched(real_kibana.export(identities(objects)))
    push(real_kibana, objects, force=True)


def edit(kibana: Kibana, one: SavedObject) -> None:
    """As somebody does who saves it under another title."""
    (found,) = kibana.export([Identity(one.type, one.id)])
    found["attributes"]["title"] = "mine"
    assert kibana.import_(json.dumps(found))["success"]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_later_version_takes_away_what_it_has_no_more(real_kibana: Kibana) -> None:
    """But what somebody changed is theirs, and what a dashboard of theirs shows stays."""
    objects = build(catalogue("en"))
    lens = next(each for each in objects if each.type == "lens")
    old, changed, shown = (
        lens._replace(id=identity("panel", "en", "of an earlier version", key))
        for key in ("old", "changed", "shown")
    )
    own = SavedObject(
        "dashboard",
        str(uuid4()),
        {"title": "Somebody's own", "panelsJSON": "[]"},
        (Reference("p:panel_p", "lens", shown.id),),
        "8.3.0",
    )
    left = [Identity(each.type, each.id) for each in (own, changed, shown)]
    try:
        push(real_kibana, [*objects, old, changed, shown], force=True)
        edit(real_kibana, changed)
        assert real_kibana.import_(own.line())["success"]

        made = push(real_kibana, objects)

        assert [Identity("lens", old.id)] == made.retired
        there = real_kibana.export([*left, Identity("lens", old.id)])
        assert set(left) == {Identity(each["type"], each["id"]) for each in there}
        assert State.SAME is push(real_kibana, objects).state
    finally:
        real_kibana.delete(left)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_each_space_has_its_own(real_kibana: Kibana) -> None:
    """Kibana takes them in under the ids that they have, so that a person's changes are seen."""
    texts, name = catalogue("en"), f"clima-{uuid4().hex[:8]}"
    real_kibana.request("POST", "/api/spaces/space", {"id": name, "name": name})
    space = real_kibana.of_space(name)
    objects = objects_for(space, texts)
    try:
        push(real_kibana, build(texts), force=True)
        assert State.MISSING is push(space, objects).state
        assert State.SAME is push(space, objects).state
        assert all(step.do for step in push_rules(space, texts))
        edit(space, next(each for each in objects if each.type == "lens"))
        with pytest.raises(ConfigurationError, match="somebody changed these"):
            push(space, objects)
        assert State.SAME is push(real_kibana, build(texts)).state
    finally:
        remove_rules(space)
        real_kibana.gone(f"/api/spaces/space/{name}")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda each: each.key)
def test_every_panel_is_drawn(
    real_kibana: Kibana, tmp_path: Path, language: str, dashboard: Dashboard
) -> None:
    """By a real browser, and none says that anything went wrong."""
    pytest.importorskip("playwright")
    texts = catalogue(language)
    push(real_kibana, build(texts), force=True)
    path = tmp_path / "wall.png"

    assert [] == screenshot(real_kibana, dashboard, texts, path)
    assert path.read_bytes().startswith(PNG)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_no_hint_of_kibanas_own_is_in_a_picture(real_kibana: Kibana) -> None:
    """It tells a new browser of search sessions, and goes slowly when it is sent away."""
    pytest.importorskip("playwright")
    push(real_kibana, build(catalogue("en")), force=True)
    with drawn(real_kibana, WEATHER, catalogue("en")) as page:
        assert not page.locator(HINTS).is_visible()


@pytest.fixture
def shown(full_elasticsearch: Server, station: str, journal: str) -> Iterator[str]:
    """A station that is the first in the order of names; its dew point is three hours old."""
    own, now = f"0-{station}", datetime.now(UTC)
    measured = [
        (now - timedelta(hours=3), {"dew_point_temperature": 33.3}),
        (now, {"air_temperature": 44.4}),
    ]
    written = [
        world.Written(
            DATA_SETS["w"].name,
            {
                "@timestamp": rfc3339(at),
                "data_stream": DATA_SETS["w"]._asdict(),
                "event": {"id": f"{own}:{journal}:w:{number}", "sequence": number},
                "station": {"id": own, "journal": journal, "location": {"lat": 40.7, "lon": -74}},
                "weather": weather,
            },
        )
        for number, (at, weather) in enumerate(measured, 1)
    ]
    answer = full_elasticsearch.request("POST", "/_bulk?refresh=true", world.bulk(written))
    assert not answer["errors"]
    yield own
    query = {"query": {"term": {"station.id": own}}}
    path = f"/{DATA_SETS['w'].name}/_delete_by_query?refresh=true"
    full_elasticsearch.request("POST", path, query)


def panel(page: Any, texts: Catalogue, key: str) -> Any:
    return page.locator(f'[data-shared-item][data-title="{texts("weather", key)}"]')


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("key", ["now", "map"])
def test_a_click_on_a_station_opens_its_dashboard(
    real_kibana: Kibana, shown: str, key: str
) -> None:
    """From the board and from the map alike: Kibana asks where to, and the filter goes along."""
    pytest.importorskip("playwright")
    texts = catalogue("en")
    push(real_kibana, build(texts), force=True)

    with drawn(real_kibana, WEATHER, texts) as page:
        panel(page, texts, key).locator("text", has_text=shown).first.click()
        page.get_by_text("→ Stations", exact=True).click()
        page.wait_for_url(f"**/view/{dashboard_id('stations', 'en')}**")
        page.get_by_text(shown).first.wait_for()


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("key", ["now", "map"])
@pytest.mark.usefixtures("shown")
def test_what_is_hours_old_is_not_the_present(real_kibana: Kibana, key: str) -> None:
    """The thermometer's value is shown, and no dew point of before."""
    pytest.importorskip("playwright")
    texts = catalogue("en")
    push(real_kibana, build(texts), force=True)

    with drawn(real_kibana, WEATHER, texts) as page:
        said = panel(page, texts, key).locator("text").all_text_contents()
    assert ("44.4" in said, "33.3" in said) == (True, False)
