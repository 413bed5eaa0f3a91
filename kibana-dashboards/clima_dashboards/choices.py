"""What the owner of an alert rule chose, apart from what Clima put there.

A tag of the rule records the latter: the values that are its owner's to choose, and a fingerprint
of the rest. A value that is not as recorded was chosen by somebody and is kept, as are actions and
tags of theirs. The rest follows each new version.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from clima_dashboards.rules import TAG

CHOICES: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "every": (("schedule", "interval"),),
    "limit": (("params", "thresholdComparator"), ("params", "threshold")),
    "within": (("params", "timeWindowSize"), ("params", "timeWindowUnit")),
    "tell": (("notify_when",),),
    "name": (("name",),),
    "query": (("params", "esQuery"),),
    "filter": (("params", "filterKuery"),),
}
"""What is for the owner to choose, and where in a rule it lies."""
_ALONG: Mapping[str, tuple[tuple[str, ...], ...]] = {"query": (("params", "timeField"),)}
"""What is kept with a choice: the time that a query asks of is the one that Kibana tells by."""
_LONG = {"name", "query", "filter"}  # of which the record has a fingerprint
_RECORD = f"{TAG}:"
_OF_ACTION = (
    "id", "group", "params", "frequency", "uuid", "alerts_filter", "use_alert_data_for_template",
)  # fmt: skip
_THEIRS = ("throttle", "alert_delay", "flapping", "artifacts")  # of which we say nothing
Body = dict[str, Any]


def recording(body: Body) -> Body:
    """The rule with a record of what it is; connectors are everywhere others."""
    rest = json.loads(json.dumps({**body, "tags": None, "actions": None}))
    for way in (way for ways in CHOICES.values() for way in ways):
        _set(rest, way, None)
    told = [{**each, "id": str(n)} for n, each in enumerate(body["actions"])]
    record = {name: _text(body, name) for name in CHOICES} | {"made": _digest([rest, told])}
    text = "; ".join(f"{name} {value}" for name, value in record.items())
    return {**body, "tags": [*body["tags"], f"{_RECORD} {text}"]}


def recorded(rule: Body) -> dict[str, str]:
    """What the record says; nothing where there is none."""
    (record,) = [each for each in rule["tags"] if each.startswith(_RECORD)][:1] or [""]
    parts = (each.partition(" ") for each in record.removeprefix(_RECORD).strip().split("; "))
    return {name: value for name, _, value in parts if name}


def chosen(ours: Body, theirs: Body) -> tuple[str, ...]:
    """What somebody chose: it is not as recorded or, where there is no record, not as ours."""
    record = recorded(theirs)
    return tuple(
        name for name in CHOICES if _text(theirs, name) != record.get(name, _text(ours, name))
    )


def untouched(rule: Body) -> bool:
    """Whether nobody has made anything of it theirs."""
    own = all(each == TAG or each.startswith(_RECORD) for each in rule["tags"])
    return bool(own and rule["enabled"] and recorded(rule) and not chosen(rule, rule))


def merged(ours: Body, theirs: Body, alive: set[str]) -> Body:
    """Ours, with what somebody chose; `alive` are the connectors that there are."""
    body: Body = json.loads(json.dumps(ours))
    for name in chosen(ours, theirs):
        for way in (*CHOICES[name], *_ALONG.get(name, ())):
            _set(body, way, _get(theirs, way))
    foreign = [each for each in theirs["tags"] if not each.startswith(_RECORD) and each != TAG]
    return {
        **body,
        **{name: theirs[name] for name in _THEIRS if theirs.get(name) is not None},
        "tags": [*ours["tags"], *foreign],
        "actions": _actions(ours, theirs, alive),
    }


def _actions(ours: Body, theirs: Body, alive: set[str]) -> list[Body]:
    """Theirs, and ours anew; but one of ours that somebody took out stays out.

    Kibana says at each action how often it tells, where that is not said of the whole rule.
    """
    new = {each["id"]: each for each in ours["actions"]}
    found = [
        {name: each[name] for name in _OF_ACTION if name in each} | new.get(each["id"], {})
        for each in theirs["actions"]
        if each["id"] in alive
    ]
    if len(found) < len(theirs["actions"]):  # a connector was deleted, and is made anew
        there = {each["id"] for each in found}
        found += [each for own, each in new.items() if own not in there]
    if theirs.get("notify_when") is None:
        often = {"summary": False, "notify_when": ours["notify_when"], "throttle": None}
        found = [{"frequency": often, **each} for each in found]
    return found


def _text(rule: Body, name: str) -> str:
    values = [_get(rule, way) for way in CHOICES[name]]
    return _digest(values) if name in _LONG else " ".join(map(_written, values))


def _written(value: object) -> str:
    if isinstance(value, list):
        return " ".join(map(_written, value))
    return f"{value:.10g}" if isinstance(value, int | float) else str(value)


def _digest(value: object) -> str:
    text = json.dumps(value, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _get(rule: Any, way: tuple[str, ...]) -> Any:
    for name in way:
        rule = rule.get(name)
    return rule


def _set(rule: Any, way: tuple[str, ...], value: object) -> None:
    for name in way[:-1]:
        rule = rule[name]
    rule[way[-1]] = value
