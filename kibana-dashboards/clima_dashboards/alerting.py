"""Alert rules into a Kibana, and out of it again; what their owner chose stays (choices.py)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from clima_dashboards import fields as f
from clima_dashboards.catalogue import Catalogue
from clima_dashboards.choices import Body, chosen, merged, recorded, recording, untouched
from clima_dashboards.kibana import Kibana, RefusedError
from clima_dashboards.rules import RULES, TAG, Connectors, Rule, rule_body, rule_id
from clima_dashboards.saved_objects.ids import derived, in_space
from clima_elk.installed import State

INDEX = ("Clima: index of alerts", ".index")  # connectors, by name and kind
LOG = ("Clima: Kibana's log", ".server-log")
KEYS_SINCE = (8, 8)  # the Kibana that makes rules for who logs in by API key
FILTERS_SINCE = (8, 10)  # one that is known to have filters in rules with a limit
EARLIER = "of an earlier version"
_ANY = Connectors("index", "log")
_RULES = "/api/alerting/rule"


@dataclass(frozen=True)
class Step:
    """What there is to do about one rule; `do` is None where there is nothing."""

    key: str
    state: str
    do: Callable[[], None] | None = None
    note: str = ""  # what somebody chose, and stays
    said: str = "written"  # once it is done


def why_none(kibana: Kibana) -> str | None:
    """Why this Kibana can have no rules of ours, with the mend; None when it can."""
    if kibana.by_key and kibana.version() < KEYS_SINCE:
        return (
            "this Kibana makes no rules for who logs in by API key (8.8 and newer do): push once"
            " more with --username and --password-file"
        )
    health = kibana.request("GET", "/api/alerting/_health")
    if not health.get("has_permanent_encryption_key"):
        return (
            "Kibana can keep none without xpack.encryptedSavedObjects.encryptionKey in its"
            " kibana.yml"
        )
    return None


def plan_rules(kibana: Kibana, texts: Catalogue, *, force: bool = False) -> list[Step]:
    """A step for each rule, and for each that an earlier version had; nothing is written yet."""
    steps = [_planned(kibana, texts, rule, force=force) for rule in RULES]
    return [*steps, *(_retirement(kibana, each, force=force) for each in _earlier(kibana))]


def push_rules(kibana: Kibana, texts: Catalogue, *, force: bool = False) -> list[Step]:
    """What was done."""
    steps = plan_rules(kibana, texts, force=force)
    for step in steps:
        if step.do:
            step.do()
    return steps


def present_rules(kibana: Kibana) -> list[str]:
    """The ids of all rules of ours that are there, of this version and of earlier ones."""
    there = [_id(kibana, rule) for rule in RULES if _there(kibana, rule)]
    return [*there, *(each["id"] for each in _earlier(kibana))]


def unused_connectors(kibana: Kibana) -> list[str]:
    """The ids of ours by which no rule tells, nor one of somebody's own."""
    return [each["id"] for each in _own_connectors(kibana) if not each.get("referenced_by_count")]


def remove_rules(kibana: Kibana) -> int:
    """Take our rules away, and our connectors unless a rule of somebody's own tells by them.

    How many rules there were.
    """
    gone = sum(kibana.gone(f"{_RULES}/{each}") for each in present_rules(kibana))
    for each in unused_connectors(kibana):
        kibana.gone(f"/api/actions/connector/{each}")
    return gone


def _planned(kibana: Kibana, texts: Catalogue, rule: Rule, *, force: bool) -> Step:
    theirs = _there(kibana, rule)
    if theirs is None:
        return Step(rule.key, State.MISSING, lambda: _create(kibana, rule, texts))
    if force:
        return Step(rule.key, State.OLDER, lambda: _replace(kibana, rule, texts))
    ours = _recorded_body(kibana, rule, texts, _ANY)
    kept = chosen(ours, theirs)
    note = f"keeps what somebody chose: {', '.join(kept)}" if kept else ""
    alive = {each["id"] for each in kibana.list("/api/actions/connectors")}
    whole = all(each["id"] in alive for each in theirs["actions"])
    if whole and recorded(theirs) == recorded(ours):
        return Step(rule.key, State.SAME, None, note)
    return Step(rule.key, State.OLDER, lambda: _update(kibana, rule, texts, theirs, alive), note)


def _body(kibana: Kibana, rule: Rule, texts: Catalogue) -> Body:
    return _recorded_body(kibana, rule, texts, _connectors(kibana))


def _recorded_body(kibana: Kibana, rule: Rule, texts: Catalogue, connectors: Connectors) -> Body:
    filters = kibana.version() >= FILTERS_SINCE
    return recording(rule_body(rule, connectors, texts, filters=filters))


def _create(kibana: Kibana, rule: Rule, texts: Catalogue) -> None:
    kibana.request("POST", _path(kibana, rule), _body(kibana, rule, texts))


def _replace(kibana: Kibana, rule: Rule, texts: Catalogue) -> None:
    """Whatever somebody chose."""
    _put(kibana, rule, _body(kibana, rule, texts))
    kibana.request("POST", f"{_path(kibana, rule)}/_enable")


def _update(kibana: Kibana, rule: Rule, texts: Catalogue, theirs: Body, alive: set[str]) -> None:
    """All but what somebody chose."""
    _put(kibana, rule, merged(_body(kibana, rule, texts), theirs, alive))


def _put(kibana: Kibana, rule: Rule, body: Body) -> None:
    fixed = {"rule_type_id", "consumer", "enabled"}
    sent = {name: each for name, each in body.items() if name not in fixed and each is not None}
    kibana.request("PUT", _path(kibana, rule), sent)


def _retirement(kibana: Kibana, rule: Body, *, force: bool) -> Step:
    """It goes, unless somebody has made it theirs."""
    if not (force or untouched(rule)):
        return Step(rule["name"], EARLIER, None, "stays: somebody changed it (--force removes it)")
    do = partial(_remove, kibana, rule["id"])
    return Step(rule["name"], EARLIER, do, said="removed")


def _remove(kibana: Kibana, own: str) -> None:
    kibana.gone(f"{_RULES}/{own}")


def _earlier(kibana: Kibana) -> list[Body]:
    """Ours by tag and id, but none that this version has; a clone has an id of Kibana's."""
    known = {_id(kibana, rule) for rule in RULES}
    path = f"{_RULES}s/_find?per_page=500&filter=alert.attributes.tags:{TAG}"
    found: Sequence[Body] = kibana.request("GET", path)["data"]
    return [each for each in found if derived(each["id"]) and each["id"] not in known]


def _id(kibana: Kibana, rule: Rule) -> str:
    return in_space(rule_id(rule), kibana.space)


def _path(kibana: Kibana, rule: Rule) -> str:
    return f"{_RULES}/{_id(kibana, rule)}"


def _connectors(kibana: Kibana) -> Connectors:
    index = {"index": f.ALERTS.pattern, "executionTimeField": "@timestamp", "refresh": False}
    return Connectors(
        _connector(kibana, *INDEX, index),
        _connector(kibana, *LOG, {}),
    )


def _connector(kibana: Kibana, name: str, kind: str, config: Mapping[str, object]) -> str:
    """The one of that name and kind, made where there is none: they have no ids of ours in 8.3."""
    for each in _own_connectors(kibana):
        if (each["name"], each["connector_type_id"]) == (name, kind):
            return str(each["id"])
    body = {"name": name, "connector_type_id": kind, "config": config, "secrets": {}}
    if not config:
        del body["config"], body["secrets"]
    return str(kibana.request("POST", "/api/actions/connector", body)["id"])


def _own_connectors(kibana: Kibana) -> list[Body]:
    connectors = kibana.list("/api/actions/connectors")
    return [
        each for each in connectors if (each["name"], each["connector_type_id"]) in (INDEX, LOG)
    ]


def _there(kibana: Kibana, rule: Rule) -> Body | None:
    try:
        return kibana.request("GET", _path(kibana, rule))
    except RefusedError as error:
        if error.status == 404:
            return None
        raise
