"""All dashboards or none, and never anything of a person's: against a Kibana's stand-in."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from clima_core.errors import (
    EXIT_CONFIGURATION,
    EXIT_FINDING,
    EXIT_UNAVAILABLE,
    ConfigurationError,
)
from clima_dashboards.catalogue import catalogue
from clima_dashboards.check import object_problems
from clima_dashboards.dashboards import DASHBOARDS
from clima_dashboards.kibana import Kibana
from clima_dashboards.push import identities, make_home, objects_for, push
from clima_dashboards.rules import RULES, rule_id
from clima_dashboards.saved_objects import Reference
from clima_dashboards.saved_objects.build import build
from clima_dashboards.saved_objects.dashboard import dashboard_id
from clima_dashboards.saved_objects.ids import identity, in_space
from clima_elk.installed import State
from clima_forwarder.cli import main
from tests.dashboards.kibana_standin import Standin, standin
from tests.elasticsearch_server import free_port

OBJECTS = build(catalogue("en"))
WEATHER = ("dashboard", dashboard_id("weather", "en"))
TEMPERATURE = next(
    (each.type, each.id)
    for each in OBJECTS
    if str(each.attributes["title"]).startswith("Weather: Temperature and dew")
)
FOREIGN = ("dashboard", "somebody-s-own")
COPY = ("lens", "c41ab9f0-2f5d-11ed-a261-0242ac120002")  # as Kibana makes them
_VIEW = next(each for each in OBJECTS if each.type == "index-pattern")
_LENS = next(each for each in OBJECTS if each.type == "lens")
RETIRED = _LENS._replace(
    id=identity("panel", "en", "of", "an earlier version"), references=_LENS.references[-2:]
)
OLD_VIEW = _VIEW._replace(id=identity("view", "en", "of an earlier version"))
OLD, VIEW = ("lens", RETIRED.id), ("index-pattern", OLD_VIEW.id)


@pytest.fixture
def kibana() -> Iterator[Standin]:
    with standin() as running:
        running.objects[FOREIGN] = {
            "type": FOREIGN[0],
            "id": FOREIGN[1],
            "attributes": {"title": "Mine"},
            "updated_at": "long ago",
        }
        yield running


def clima(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(["dashboards", *arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_a_first_push_writes_everything_and_a_second_the_same(kibana: Standin) -> None:
    """Again and again, with no question asked, as long as nobody changed anything."""
    for state in (State.MISSING, State.SAME):
        assert state is push(Kibana(kibana.url), OBJECTS).state
    assert (len(OBJECTS) + 1, 1) == (len(kibana.objects), kibana.imports)
    assert "Mine" == kibana.objects[FOREIGN]["attributes"]["title"]


def test_what_a_person_changed_is_not_written_over(kibana: Standin) -> None:
    """The message names the panel and the ways on; not one object is written."""
    push(Kibana(kibana.url), OBJECTS)
    kibana.edit(*TEMPERATURE, title="Temperature, my way")
    before = copy.deepcopy(kibana.objects)

    with pytest.raises(ConfigurationError, match="somebody changed these") as caught:
        push(Kibana(kibana.url), OBJECTS)

    assert "Weather: Temperature and dew point" in str(caught.value)
    assert "nothing was written" in str(caught.value)
    assert before == kibana.objects

    push(Kibana(kibana.url), OBJECTS, force=True)
    assert "Temperature, my way" != kibana.objects[TEMPERATURE]["attributes"]["title"]


def test_an_older_version_of_ours_is_no_change_of_a_person(kibana: Standin) -> None:
    """An upgrade replaces what nobody touched, whatever was in it."""
    push(Kibana(kibana.url), OBJECTS)
    for each in kibana.objects.values():
        each["attributes"] = {"title": "of an older Clima"}

    assert State.OLDER is push(Kibana(kibana.url), OBJECTS).state


def test_how_often_a_field_was_chosen_in_discover_is_no_change(kibana: Standin) -> None:
    """Kibana counts that in the data view, and saves it; newer ones say what is off, too."""
    push(Kibana(kibana.url), OBJECTS)
    view = next(each for each in OBJECTS if each.type == "index-pattern")
    labels = json.loads(view.attributes["fieldAttrs"])
    labels["station.id"]["count"] = 3
    kibana.edit(view.type, view.id, fieldAttrs=json.dumps(labels), allowHidden=False)

    assert State.SAME is push(Kibana(kibana.url), OBJECTS).state


def test_what_a_later_version_has_no_more_goes(kibana: Standin) -> None:
    """But not a person's copy of it, which Kibana gave the same tag and an id of its own."""
    push(Kibana(kibana.url), [*OBJECTS, RETIRED])
    copied = {**kibana.objects[OLD], "id": COPY[1]}
    kibana.objects[COPY] = copied

    made = push(Kibana(kibana.url), OBJECTS)

    assert [OLD] == made.retired
    assert {COPY, FOREIGN, *identities(OBJECTS)} == kibana.objects.keys()
    assert copied == kibana.objects[COPY]


def test_what_a_person_changed_of_it_is_theirs_from_then_on(kibana: Standin) -> None:
    """It loses our tag alone, and no later push looks at it again, not even by force."""
    push(Kibana(kibana.url), [*OBJECTS, RETIRED])
    kibana.edit(*OLD, title="The old panel, my way")

    (released,) = push(Kibana(kibana.url), OBJECTS).released
    assert OLD == (released["type"], released["id"])
    push(Kibana(kibana.url), OBJECTS, force=True)

    assert "The old panel, my way" == kibana.objects[OLD]["attributes"]["title"]
    view = next(each for each in RETIRED.references if each.type == "index-pattern")
    assert [view._asdict()] == kibana.objects[OLD]["references"]


def test_force_gives_up_what_was_changed_of_it(kibana: Standin) -> None:
    """As it does with everything else of ours."""
    push(Kibana(kibana.url), [*OBJECTS, RETIRED])
    kibana.edit(*OLD, title="The old panel, my way")
    assert [OLD] == push(Kibana(kibana.url), OBJECTS, force=True).retired
    assert OLD not in kibana.objects


@pytest.mark.parametrize("force", [False, True])
def test_what_a_person_s_own_dashboard_shows_stays(kibana: Standin, force: bool) -> None:
    """With the data view that it needs: a dashboard of theirs never breaks."""
    push(Kibana(kibana.url), [*OBJECTS, RETIRED, OLD_VIEW])
    kibana.objects[OLD]["references"].append(Reference("v", *VIEW)._asdict())
    kibana.objects[FOREIGN]["references"] = [Reference("p", *OLD)._asdict()]

    made = push(Kibana(kibana.url), OBJECTS, force=force)

    assert ([], {OLD, VIEW}) == (
        list(made.retired),
        {(each["type"], each["id"]) for each in made.released},
    )
    assert {OLD, VIEW} < kibana.objects.keys()


@pytest.mark.parametrize("pushed", [False, True])
def test_an_import_that_fails_halfway_leaves_nothing_behind(kibana: Standin, pushed: bool) -> None:
    """What was there is there again, and what was not is not."""
    if pushed:
        push(Kibana(kibana.url), OBJECTS)
        for each in kibana.objects.values():
            each["attributes"] = {"title": "of an older Clima"}
    before = {name: each["attributes"] for name, each in kibana.objects.items()}
    kibana.refuses = "dashboard"

    with pytest.raises(ConfigurationError, match=f"Kibana refused {len(DASHBOARDS)} objects"):
        push(Kibana(kibana.url), OBJECTS)

    assert before == {name: each["attributes"] for name, each in kibana.objects.items()}


def test_an_import_that_nobody_answered_is_left_alone(
    kibana: Standin, capsys: pytest.CaptureFixture[str]
) -> None:
    """It may be done, or still under way: nothing is said of it that is not known."""
    kibana.hangs_up = True
    given = ("--kibana", kibana.url, "--language", "en")
    code, _, error = clima(capsys, "push", *given)

    assert EXIT_UNAVAILABLE == code
    assert "it is not known whether the dashboards were written: push again" in error
    assert "nothing was changed" not in error
    assert len(OBJECTS) + 1 == len(kibana.objects)

    kibana.hangs_up = False
    code, said, _ = clima(capsys, "push", *given)
    assert (0, f"{len(OBJECTS)} objects are in {kibana.url} and the same") == (
        code,
        said.splitlines()[0],
    )


def test_a_kibana_that_is_too_old_is_left_alone(kibana: Standin) -> None:
    """8.3 is the oldest that takes these forms."""
    kibana.version = "8.2.3"
    with pytest.raises(ConfigurationError, match=r"is Kibana 8\.2\.3, .* 8\.3 or newer"):
        push(Kibana(kibana.url), OBJECTS)
    assert [FOREIGN] == list(kibana.objects)


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (401, EXIT_CONFIGURATION, "the credentials are wrong"),
        (403, EXIT_CONFIGURATION, "the role clima_dashboards"),
        (404, EXIT_CONFIGURATION, "there is no Kibana at this address"),
        (503, EXIT_UNAVAILABLE, "not ready yet"),
    ],
)
def test_who_is_not_let_in_is_told_the_mend(
    kibana: Standin, capsys: pytest.CaptureFixture[str], status: int, code: int, said: str
) -> None:
    """One line, no traceback, and nothing is written."""
    kibana.status = status
    found, _, error = clima(capsys, "push", "--kibana", kibana.url, "--language", "en")
    assert (code, True, 1) == (found, said in error, error.count("\n"))
    assert [FOREIGN] == list(kibana.objects)


def test_a_kibana_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """With its address, and what to look at."""
    url = f"http://127.0.0.1:{free_port()}"
    code, _, error = clima(capsys, "push", "--kibana", url)
    assert EXIT_UNAVAILABLE == code
    assert error.startswith(f"{url}: Kibana cannot be reached")


def test_only_a_home_of_our_own_is_changed(kibana: Standin) -> None:
    """On somebody else's cluster no setting is touched, unless they say so."""
    push(Kibana(kibana.url), OBJECTS)
    assert {} == kibana.settings

    for old in (True, False):
        kibana.old_settings = old
        make_home(Kibana(kibana.url), catalogue("pt-BR"))
        route = f"/app/dashboards#/view/{dashboard_id('weather', 'pt-BR')}"
        assert {"defaultRoute": route, "format:number:defaultLocale": "pt-br"} == kibana.settings
        kibana.settings = {}


def test_where_settings_are_closed_the_rest_is_done(
    kibana: Standin, capsys: pytest.CaptureFixture[str]
) -> None:
    """And what to set by hand is said."""
    kibana.closed_settings = True
    code, said, _ = clima(capsys, "push", "--kibana", kibana.url, "--language", "en", "--home")
    assert (0, len(OBJECTS) + 1) == (code, len(kibana.objects))
    assert f"set Default route to /app/dashboards#/view/{WEATHER[1]}" in said


def test_another_home_that_somebody_chose_stays(kibana: Standin) -> None:
    """But from one language of ours to the other it changes."""
    make_home(Kibana(kibana.url), catalogue("en"))
    assert make_home(Kibana(kibana.url), catalogue("pt-BR"))
    assert "pt-br" == kibana.settings["format:number:defaultLocale"]

    kibana.settings["defaultRoute"] = "/app/discover"
    assert not make_home(Kibana(kibana.url), catalogue("en"))
    assert {"defaultRoute": "/app/discover", "format:number:defaultLocale": "en"} == kibana.settings


def test_diff_and_pull_say_what_a_person_changed(
    kibana: Standin, capsys: pytest.CaptureFixture[str]
) -> None:
    """By panel and path; pull adds where in the code it belongs. Exit code 1: it is something."""
    given = ("--kibana", kibana.url, "--language", "en")
    assert 0 == clima(capsys, "push", *given)[0]
    assert (0, "", "") == clima(capsys, "diff", *given)
    assert (0, "Nobody has changed anything.\n", "") == clima(capsys, "pull", *given)

    panels = json.loads(kibana.objects[WEATHER]["attributes"]["panelsJSON"])
    (map_,) = (each for each in panels if each["panelIndex"] == "map")
    before = map_["gridData"]["w"]
    map_["gridData"]["w"], map_["title"] = 7, "Where they are"
    kibana.edit(*WEATHER, panelsJSON=json.dumps(panels))

    code, said, _ = clima(capsys, "diff", *given)
    assert EXIT_FINDING == code
    assert [
        "Weather (dashboard)",
        f"  panelsJSON.map.gridData.w: {before} → 7",
        '  panelsJSON.map.title: "Stations" → "Where they are"',
    ] == said.splitlines()

    code, said, _ = clima(capsys, "pull", *given)
    assert EXIT_FINDING == code
    assert "In `dashboards/weather.py`:" in said
    assert "- rows, heights and widths of panel `map`: panelsJSON.map.gridData.w" in said
    assert '- `catalogue/en.toml`, [weather] "map": panelsJSON.map.title' in said


def test_diff_and_pull_say_what_a_person_deleted(
    kibana: Standin, capsys: pytest.CaptureFixture[str]
) -> None:
    """The next push brings it back. Where there is nothing at all, nothing was deleted."""
    given = ("--kibana", kibana.url, "--language", "en")
    assert (0, "", "") == clima(capsys, "diff", *given)
    assert 0 == clima(capsys, "push", *given)[0]
    del kibana.objects[WEATHER]

    said = 'Weather (dashboard)\n  object: "there" → (absent)\n'
    assert (EXIT_FINDING, said, "") == clima(capsys, "diff", *given)
    code, said, _ = clima(capsys, "pull", *given)
    assert EXIT_FINDING == code
    assert "In `dashboards/weather.py`:" in said

    assert 0 == clima(capsys, "push", *given)[0]
    assert WEATHER in kibana.objects


def test_what_an_earlier_version_did_not_have_was_deleted_by_nobody(
    kibana: Standin, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its tag says which version it is."""
    push(Kibana(kibana.url), OBJECTS)
    (tag,) = (each for (kind, _), each in kibana.objects.items() if kind == "tag")
    tag["attributes"]["description"] = "of an older Clima"
    del kibana.objects[WEATHER]

    given = ("--kibana", kibana.url, "--language", "en")
    assert (0, "", "") == clima(capsys, "diff", *given)


def test_no_secret_is_shown(kibana: Standin) -> None:
    """Not even to who looks at the object."""
    assert "hunter2" not in repr(Kibana(kibana.url, username="me", password="hunter2"))


def test_remove_takes_away_what_is_ours_and_nothing_else(
    kibana: Standin, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both languages, rules and connectors; twice is no error."""
    foreign = {"id": "theirs", "name": "mail", "connector_type_id": ".server-log"}
    kibana.connectors.append(foreign)
    for language in ("en", "pt-BR"):
        assert 0 == clima(capsys, "push", "--kibana", kibana.url, "--language", language)[0]
    Kibana(kibana.url).import_(RETIRED.line())

    code, said, _ = clima(capsys, "remove", "--kibana", kibana.url)
    assert (0, f"{2 * len(OBJECTS) + 1} objects and {len(RULES)} alert rules removed") == (
        code,
        said.partition(" from ")[0],
    )
    assert ([FOREIGN], {}, [foreign]) == (list(kibana.objects), kibana.rules, kibana.connectors)
    assert 0 == clima(capsys, "remove", "--kibana", kibana.url)[0]


def test_another_space_has_ids_of_its_own(kibana: Standin) -> None:
    """Kibana would give it others by itself, and nobody would know them again."""
    school = Kibana(kibana.url, space="school")
    objects = objects_for(school, catalogue("en"))
    ids = {each.id for each in OBJECTS}

    assert [] == list(object_problems(objects))
    assert [] == [each.line() for each in objects if any(own in each.line() for own in ids)]
    for space, own in ((Kibana(kibana.url), OBJECTS), (school, objects)):
        assert State.MISSING is push(space, own).state
        assert State.SAME is push(space, own).state
    assert 2 * len(OBJECTS) + 1 == len(kibana.objects)


def test_what_a_person_changed_in_another_space_stays_too(
    kibana: Standin, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is found by the space's own id, and pull says where it belongs all the same."""
    given = ("--kibana", kibana.url, "--language", "en", "--space", "school")
    assert 0 == clima(capsys, "push", *given)[0]
    assert {in_space(rule_id(rule), "school") for rule in RULES} == kibana.rules.keys()
    kibana.edit("dashboard", in_space(WEATHER[1], "school"), title="Mine")

    code, _, said = clima(capsys, "push", *given)
    assert (EXIT_CONFIGURATION, True) == (code, "somebody changed these" in said)
    assert "In `dashboards/weather.py`:" in clima(capsys, "pull", *given)[1]


def test_build_writes_what_is_committed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And check finds nothing wrong with it."""
    assert 0 == clima(capsys, "build", "--directory", str(tmp_path))[0]
    assert {"en.ndjson", "pt-BR.ndjson"} == {path.name for path in tmp_path.iterdir()}
    assert (0, "", "") == clima(capsys, "check", "--directory", str(tmp_path))
