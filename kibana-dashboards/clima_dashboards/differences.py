"""What a person changed in Kibana, by comparing its objects with what the code makes.

Texts that are JSON are taken apart first, so that a change has a name that a person understands:
the path to it, by panels' keys instead of numbers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clima_dashboards.kibana import Identity
from clima_dashboards.saved_objects import SavedObject

ABSENT = "(absent)"
_COUNTED = {"count"}  # how often a field was chosen in Discover; nobody's decision


@dataclass(frozen=True)
class Change:
    """At `path` of an object: what the code makes, and what Kibana has."""

    path: str
    ours: object
    theirs: object

    def __str__(self) -> str:
        return f"{self.path}: {_short(self.ours)} → {_short(self.theirs)}"


@dataclass(frozen=True)
class Difference:
    """All changes of one object."""

    type: str
    id: str
    title: str
    changes: tuple[Change, ...]


def differences(
    ours: Sequence[SavedObject], theirs: Sequence[Mapping[str, Any]]
) -> list[Difference]:
    """Of those objects that are in Kibana; for what is not there, see `gone`."""
    known = {Identity(each["type"], each["id"]): each for each in theirs}
    found = []
    for each in ours:
        other = known.get(Identity(each.type, each.id))
        if other is None:
            continue
        references = sorted((r.name, r.id) for r in each.references)
        others = sorted((r["name"], r["id"]) for r in other.get("references", []))
        changes = [
            *_compare("", _plain(each.attributes), _plain(other["attributes"])),
            *_compare("references", dict(references), dict(others)),
        ]
        if changes:
            found.append(Difference(each.type, each.id, _title(each), tuple(changes)))
    return found


def gone(ours: SavedObject) -> Difference:
    """Of an object that is not there any more."""
    return Difference(ours.type, ours.id, _title(ours), (Change("object", "there", ABSENT),))


def touched(theirs: Sequence[Mapping[str, Any]]) -> set[Identity]:
    """Objects that were saved after the import.

    One import writes all objects with one and the same `updated_at`, so the oldest is its time.
    """
    times = [str(each.get("updated_at", "")) for each in theirs]
    imported = min(times, default="")
    return {
        Identity(each["type"], each["id"])
        for each, time in zip(theirs, times, strict=True)
        if time != imported
    }


def _title(each: SavedObject) -> str:
    return str(each.attributes.get("name") or each.attributes["title"])


def _plain(value: object) -> object:
    """JSON in texts taken apart; lists of things with keys as mappings of these keys."""
    if isinstance(value, str) and value[:1] in {"{", "["}:
        try:
            return _plain(json.loads(value))
        except ValueError:
            return value
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items() if name not in _COUNTED}
    if isinstance(value, list):
        if value and all(isinstance(each, dict) and "panelIndex" in each for each in value):
            return {each["panelIndex"]: _plain(each) for each in value}
        return [_plain(each) for each in value]
    return value


def _compare(path: str, ours: object, theirs: object) -> Iterator[Change]:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for name in sorted(ours.keys() | theirs.keys()):
            inner = f"{path}.{name}" if path else name
            yield from _compare(inner, ours.get(name, ABSENT), theirs.get(name, ABSENT))
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for number, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            yield from _compare(f"{path}[{number}]", one, other)
    elif ours != theirs and not (_empty(ours) and _empty(theirs)):
        yield Change(path, ours, theirs)


def _empty(value: object) -> bool:
    """Kibana leaves out what is empty, or adds it."""
    return value == ABSENT or value in ("", [], {}, None, False)


def _short(value: object) -> str:
    if value == ABSENT:
        return ABSENT
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 120 else f"{text[:117]}…"
