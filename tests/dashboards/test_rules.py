"""Alert rules: each version brings them up to date, and leaves to their owner what they chose."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clima_dashboards import LANGUAGES
from clima_dashboards.alerting import Step, push_rules, remove_rules
from clima_dashboards.catalogue import catalogue
from clima_dashboards.kibana import Kibana
from clima_dashboards.rules import (
    RULES,
    Below,
    Connectors,
    Matching,
    Rule,
    rule_body,
    rule_id,
)
from clima_dashboards.saved_objects.ids import identity
from clima_forwarder.cli import main
from tests.dashboards.kibana_standin import Standin, standin

TEXTS = catalogue("en")
IDS = {rule.key: rule_id(rule) for rule in RULES}
FROST, SILENT = IDS["frost"], IDS["silent"]
# what Kibana 9 lets one say of a rule, and of an action of it
UPDATED = {
    "name", "tags", "schedule", "throttle", "params", "actions", "notify_when", "alert_delay",
    "flapping", "artifacts",
}  # fmt: skip
ACTION = {
    "group", "id", "params", "frequency", "uuid", "alerts_filter", "use_alert_data_for_template",
}  # fmt: skip


@pytest.fixture
def kibana() -> Iterator[Standin]:
    with standin() as running:
        yield running


def pushed(kibana: Standin, *, force: bool = False) -> dict[str, Step]:
    return {each.key: each for each in push_rules(Kibana(kibana.url), TEXTS, force=force)}


def written(steps: dict[str, Step]) -> set[str]:
    return {key for key, step in steps.items() if step.do}


def make_older(rule: dict[str, Any]) -> None:
    """As an earlier version may have put it there: another window, another field to group by."""
    rule["params"] |= {"timeWindowSize": 5, "termField": "station.name"}
    rule["tags"] = [each.replace("within 70 m", "within 5 m") for each in rule["tags"]]


def test_a_second_push_makes_nothing_twice(kibana: Standin) -> None:
    """Neither rules nor connectors, of which Kibana would keep as many as one asks for."""
    assert {rule.key for rule in RULES} == written(pushed(kibana))
    assert set() == written(pushed(kibana))
    assert {rule_id(rule) for rule in RULES} == kibana.rules.keys()
    assert [".index", ".server-log"] == [each["connector_type_id"] for each in kibana.connectors]


def test_what_somebody_chose_stays(kibana: Standin) -> None:
    """Until they ask for ours again."""
    pushed(kibana)
    rule = kibana.rules[FROST]
    rule["params"]["threshold"], rule["enabled"] = [3], False

    steps = pushed(kibana)
    assert (set(), "keeps what somebody chose: limit") == (written(steps), steps["frost"].note)
    assert ([3], False) == (kibana.rules[FROST]["params"]["threshold"], rule["enabled"])

    assert len(RULES) == len(written(pushed(kibana, force=True)))
    assert ([0], True) == (kibana.rules[FROST]["params"]["threshold"], rule["enabled"])


def test_a_new_version_changes_all_but_what_somebody_chose(kibana: Standin) -> None:
    """The limit, how often, a mail and a tag of theirs stay; the rest is ours, and is new."""
    pushed(kibana)
    rule = kibana.rules[FROST]
    make_older(rule)
    mail = {"group": "threshold met", "id": "mail", "params": {"to": ["me"]}}
    kibana.connectors.append({"id": "mail", "name": "mail", "connector_type_id": ".email"})
    rule["actions"] = [rule["actions"][0], {**mail, "connector_type_id": ".email"}]
    rule["params"]["threshold"], rule["schedule"] = [3], {"interval": "5m"}
    rule["tags"].append("balcony")
    rule["enabled"] = False

    steps = pushed(kibana)

    assert {"frost"} == written(steps)
    assert "keeps what somebody chose: every, limit" == steps["frost"].note
    rule = kibana.rules[FROST]
    assert ([3], 70, "station.id", "5m", False) == (
        rule["params"]["threshold"],
        rule["params"]["timeWindowSize"],
        rule["params"]["termField"],
        rule["schedule"]["interval"],
        rule["enabled"],
    )
    assert [".index", mail] == [
        next(each for each in kibana.connectors if each["id"] == index["id"])["connector_type_id"]
        if index["id"] != "mail"
        else index
        for index in rule["actions"]
    ]
    assert {"clima", "balcony"} < set(rule["tags"])
    assert set() == written(pushed(kibana))


def test_a_query_that_somebody_wrote_stays(kibana: Standin) -> None:
    """It is where the ten minutes of silence are said; the time that it asks of stays with it."""
    pushed(kibana)
    longer = '{"query": {"range": {"@timestamp": {"lt": "now-1h"}}}}'
    rule = kibana.rules[SILENT]
    rule["params"]["esQuery"] = longer
    rule["params"]["timeField"] = "@timestamp"
    rule["tags"] = ["clima"]  # and of before there were records

    steps = pushed(kibana)

    assert ({"silent"}, "keeps what somebody chose: query") == (
        written(steps),
        steps["silent"].note,
    )
    params = kibana.rules[SILENT]["params"]
    assert (longer, "@timestamp") == (params["esQuery"], params["timeField"])
    assert set() == written(pushed(kibana))


def test_a_filter_that_somebody_wrote_stays(kibana: Standin) -> None:
    """Also where ours say none, which 8.3 would refuse."""
    pushed(kibana)
    rule = kibana.rules[FROST]
    assert "filterKuery" not in rule["params"]
    own = "not quality.air_temperature: (spike or range)"
    make_older(rule)
    rule["params"]["filterKuery"] = own

    steps = pushed(kibana)

    assert ({"frost"}, "keeps what somebody chose: filter") == (
        written(steps),
        steps["frost"].note,
    )
    assert own == kibana.rules[FROST]["params"]["filterKuery"]
    assert set() == written(pushed(kibana))

    pushed(kibana, force=True)
    assert "filterKuery" not in kibana.rules[FROST]["params"]


def test_a_newer_kibana_leaves_out_what_is_flagged(kibana: Standin) -> None:
    """One spike is no frost; after an upgrade of Kibana the rule is brought up to date."""
    pushed(kibana)
    kibana.version = "9.5.1"

    assert {"frost", "pressure_fall"} == written(pushed(kibana))
    filters = {
        key: kibana.rules[IDS[key]]["params"].get("filterKuery")
        for key in ("frost", "pressure_fall", "disk")
    }
    assert {
        "frost": "not quality.air_temperature: (spike or range)",
        "pressure_fall": "not quality.tendency_of_air_pressure: (spike or range)",
        "disk": None,
    } == filters
    assert set() == written(pushed(kibana))


def test_how_often_may_be_said_at_each_action(kibana: Standin) -> None:
    """As a newer Kibana does when somebody saves the rule; then not of all of it too."""
    pushed(kibana)
    rule = kibana.rules[FROST]
    make_older(rule)
    often = {"summary": False, "notify_when": "onThrottleInterval", "throttle": "1d"}
    rule["notify_when"] = None
    rule["actions"] = [{**each, "frequency": often, "uuid": "u"} for each in rule["actions"]]

    pushed(kibana)

    sent = kibana.put[FROST]
    assert "notify_when" not in sent
    assert [often, often] == [each["frequency"] for each in sent["actions"]]


def test_nothing_is_sent_that_a_newer_kibana_forbids(kibana: Standin) -> None:
    """It gives back more of a rule than it takes in; a delay that somebody chose stays."""
    pushed(kibana)
    rule = kibana.rules[FROST]
    make_older(rule)
    rule |= {"alert_delay": {"active": 3}, "throttle": None, "revision": 2, "next_run": "soon"}
    rule["actions"] = [{**each, "connector_type_id": ".index"} for each in rule["actions"]]

    pushed(kibana)

    sent = kibana.put[FROST]
    assert {"active": 3} == sent["alert_delay"]
    assert set() == sent.keys() - UPDATED
    assert set() == {name for each in sent["actions"] for name in each} - ACTION


def test_a_connector_that_was_deleted_is_made_anew(kibana: Standin) -> None:
    """And its rules tell by it again."""
    pushed(kibana)
    kibana.connectors = kibana.connectors[1:]
    pushed(kibana)
    alive = {each["id"] for each in kibana.connectors}
    assert all(alive == {each["id"] for each in rule["actions"]} for rule in kibana.rules.values())


def test_a_connector_by_which_somebody_s_own_rule_tells_stays(kibana: Standin) -> None:
    """That rule would fail from then on; once it is gone too, so is the connector."""
    pushed(kibana)
    clone = "c41ab9f0-2f5d-11ed-a261-0242ac120002"
    _, log = kibana.rules[FROST]["actions"]
    kibana.rules[clone] = {**kibana.rules[FROST], "id": clone, "actions": [log]}

    assert len(RULES) == remove_rules(Kibana(kibana.url))
    assert [log["id"]] == [each["id"] for each in kibana.connectors]

    del kibana.rules[clone]
    assert 0 == remove_rules(Kibana(kibana.url))
    assert [] == kibana.connectors


def test_a_rule_of_an_earlier_version_goes(kibana: Standin) -> None:
    """But not one that somebody made theirs, nor a clone."""
    pushed(kibana)
    frost = kibana.rules[FROST]
    old, own = (identity("rule", key) for key in ("storm", "hail"))
    clone = "c41ab9f0-2f5d-11ed-a261-0242ac120002"
    for each in (old, own, clone):
        kibana.rules[each] = {**copy.deepcopy(frost), "id": each}
    kibana.rules[own]["params"]["threshold"] = [3]

    pushed(kibana)

    assert {own, clone, *map(rule_id, RULES)} == kibana.rules.keys()


def test_a_key_makes_no_rules_where_kibana_cannot(
    kibana: Standin, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The mend is said; from 8.8 on they are made, and it is said with whose rights they run."""
    (tmp_path / "key").write_text("a2V5")
    push = ["dashboards", "push", "--kibana", kibana.url, "--api-key-file", str(tmp_path / "key")]
    kibana.version = "8.7.1"
    assert 0 == main(push)
    assert "push once more with --username" in capsys.readouterr().out
    assert ({}, []) == (kibana.rules, kibana.connectors)

    kibana.version = "8.8.0"
    assert 0 == main(push)
    assert "with the rights of this API key" in capsys.readouterr().out
    assert len(RULES) == len(kibana.rules)


def test_a_kibana_that_cannot_keep_keys_gets_no_rules(
    kibana: Standin, capsys: pytest.CaptureFixture[str]
) -> None:
    """The dashboards are there all the same, and what is missing is said."""
    kibana.keeps_keys = False
    assert 0 == main(["dashboards", "push", "--kibana", kibana.url, "--language", "en"])
    assert "xpack.encryptedSavedObjects.encryptionKey" in capsys.readouterr().out
    assert {} == kibana.rules
    assert kibana.objects


def test_who_wants_no_rules_gets_none(kibana: Standin) -> None:
    """`--no-rules` leaves alerting alone altogether."""
    assert 0 == main(["dashboards", "push", "--kibana", kibana.url, "--no-rules"])
    assert ({}, []) == (kibana.rules, kibana.connectors)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.key)
@pytest.mark.parametrize("language", LANGUAGES)
def test_every_rule_tells_which_station_in_both_places(rule: Rule, language: str) -> None:
    """In the index that the dashboard shows, and in Kibana's log; in the language's own words."""
    texts = catalogue(language)
    body = rule_body(rule, Connectors("index", "log"), texts)
    index, log = body["actions"]
    (document,) = index["params"]["documents"]

    assert f"Clima: {texts('rules', rule.key)}" == body["name"]
    assert rule.key == document["rule"]["id"]
    assert document["station"]["id"] in log["params"]["message"]
    assert ("index", "log") == (index["id"], log["id"])


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("frost", "{{context.group}}, {{context.value}} °C"),
        ("pressure_fall", "{{context.group}}, {{context.value}} hPa"),
        ("disk", "{{context.group}}"),
    ],
)
def test_a_message_is_written_as_people_write(key: str, told: str) -> None:
    """No bytes by the hundred million, and no unit that says again what the name says."""
    (rule,) = (each for each in RULES if each.key == key)
    _, log = rule_body(rule, Connectors("", ""), TEXTS)["actions"]
    assert f"{TEXTS('rules', key)}: {told}" == log["params"]["message"]


def test_silence_is_asked_of_the_last_reading_of_each_station() -> None:
    """A count of readings by station never fires for one that has vanished: it has no group."""
    (silent,) = (rule for rule in RULES if rule.key == "silent")
    assert isinstance(silent, Matching)
    params = rule_body(silent, Connectors("", ""), TEXTS)["params"]
    assert ["clima-stations"] == params["index"]
    came_in = {"event.ingested": {"lt": "now-10m"}}
    assert {"query": {"range": came_in}} == json.loads(params["esQuery"])


@pytest.mark.parametrize("rule", [rule for rule in RULES if isinstance(rule, Matching)])
def test_a_rule_asks_of_the_time_that_kibana_tells_by(rule: Matching) -> None:
    """By another, who matches later could be older than what was told, and is passed over."""
    params = rule_body(rule, Connectors("", ""), TEXTS)["params"]
    asked = json.loads(params["esQuery"])["query"].get("range", {params["timeField"]: {}})
    assert [params["timeField"]] == list(asked)
    assert rule.time.type == "date"


def test_the_fall_of_pressure_is_the_field_of_that_name() -> None:
    """In hPa per three hours, as the station worked it out."""
    (fall,) = (rule for rule in RULES if rule.key == "pressure_fall")
    assert isinstance(fall, Below)
    assert ("weather.tendency_of_air_pressure", "hPa/3h", -3) == (
        fall.field.name,
        fall.field.unit,
        fall.limit,
    )
