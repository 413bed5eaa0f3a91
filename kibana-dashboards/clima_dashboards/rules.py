"""Alert rules of Kibana's basic licence, which tell in an index and in Kibana's own log.

Ids are the same in each language: nobody wants two alarms.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clima_dashboards import fields as f
from clima_dashboards.catalogue import Catalogue
from clima_dashboards.fields import Field
from clima_dashboards.saved_objects.ids import identity

TAG = "clima"
EVERY = "1m"
MOST = 100  # stations, or documents, that one run tells of
# how people write a unit; none of a number that nobody reads, which Kibana 8.3 cannot divide
_UNITS = {"hPa/3h": "hPa", "byte": None}


@dataclass(frozen=True)
class Matching:
    """Documents that match: each is told once, in the run that finds it first.

    Kibana remembers the newest `time` that it has told of, and looks at what is newer alone: what
    matches later must never be older, so a query about time asks of that very field.
    """

    key: str
    time: Field
    query: Mapping[str, Any]
    within: tuple[int, str]


@dataclass(frozen=True)
class Below:
    """The least value of a station fell below the limit: told once, until it has risen again."""

    key: str
    field: Field
    limit: float
    within: tuple[int, str]
    flagged: str | None = None  # by whose flags a value is none to tell of

    @property
    def trusted(self) -> str | None:
        """KQL for the documents whose value is believed."""
        return f"not quality.{self.flagged}: (spike or range)" if self.flagged else None


Rule = Matching | Below

RULES: tuple[Rule, ...] = (
    # the latest reading of each station: a count of readings never fires for one that has vanished;
    # and when it came in: a station that is late with its readings is not silent
    Matching("silent", f.HEARD, {"range": {f.HEARD.name: {"lt": "now-10m"}}}, within=(30, "d")),
    Below("frost", f.AIR_TEMPERATURE, 0, within=(70, "m"), flagged="air_temperature"),
    Below("pressure_fall", f.TENDENCY, -3, within=(70, "m"), flagged="tendency_of_air_pressure"),
    Below("disk", f.DISK_FREE, 500e6, within=(30, "m")),
    Matching("dead_letters", f.LETTER_TIME, {"match_all": {}}, within=(1, "h")),
)


@dataclass(frozen=True)
class Connectors:
    """Ids of the two that our rules tell by."""

    index: str
    log: str


def rule_id(rule: Rule) -> str:
    """The id of a rule."""
    return identity("rule", rule.key)


def rule_body(
    rule: Rule, connectors: Connectors, texts: Catalogue, *, filters: bool = False
) -> dict[str, Any]:
    """What creates the rule; `filters`: this Kibana knows such in rules with a limit."""
    name = texts("rules", rule.key)
    if isinstance(rule, Matching):
        kind, group, params = ".es-query", "query matched", _matching(rule)
        stations = "{{#context.hits}}{{_source.station.id}} {{/context.hits}}"
        message = f"{name}: {stations}"
    else:
        kind, group, params = ".index-threshold", "threshold met", _below(rule)
        if filters and rule.trusted:
            params["filterKuery"] = rule.trusted
        stations = "{{context.group}}"
        unit = _UNITS.get(rule.field.unit or "", rule.field.unit)
        message = f"{name}: {stations}" + (f", {{{{context.value}}}} {unit}" if unit else "")
    document = {
        "rule": {"id": rule.key, "name": name},
        "station": {"id": stations},
        "message": message,
    }
    return {
        "name": f"Clima: {name}",
        "rule_type_id": kind,
        "consumer": "stackAlerts",
        "enabled": True,
        "schedule": {"interval": EVERY},
        "notify_when": "onActiveAlert" if isinstance(rule, Matching) else "onActionGroupChange",
        "tags": [TAG],
        "params": params,
        "actions": [
            {"group": group, "id": connectors.index, "params": {"documents": [document]}},
            {
                "group": group,
                "id": connectors.log,
                "params": {"level": "warn", "message": message},
            },
        ],
    }


def _matching(rule: Matching) -> dict[str, Any]:
    size, unit = rule.within
    return {
        "index": [rule.time.view.pattern],
        "timeField": rule.time.name,
        "esQuery": json.dumps({"query": rule.query}, sort_keys=True),
        "size": MOST,
        "timeWindowSize": size,
        "timeWindowUnit": unit,
        "thresholdComparator": ">",
        "threshold": [0],
    }


def _below(rule: Below) -> dict[str, Any]:
    size, unit = rule.within
    return {
        "index": [rule.field.view.pattern],
        "timeField": "@timestamp",
        "aggType": "min",
        "aggField": rule.field.name,
        "groupBy": "top",
        "termField": f.STATION.name,
        "termSize": MOST,
        "timeWindowSize": size,
        "timeWindowUnit": unit,
        "thresholdComparator": "<",
        "threshold": [rule.limit],
    }
