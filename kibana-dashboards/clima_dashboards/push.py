"""Dashboards into a Kibana: all of them, or none.

Only objects whose ids are ours are ever written. Where a person has changed one of them, nothing
happens until somebody says `force`. When an import fails halfway, what was there before is put
back, and what was not there is taken away again. An import that nobody answered may still be under
way, and is left alone.

What an earlier version had and this one has not is found by its tag, and goes; but what a person
has changed, or uses in a dashboard of their own, stays, and loses the tag: from then on it is
theirs. A copy that a person made has the tag too, but an id of Kibana's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from clima_core.errors import ClimaError, ConfigurationError, UnavailableError
from clima_dashboards import LANGUAGES
from clima_dashboards.catalogue import Catalogue
from clima_dashboards.differences import Difference, differences, gone, touched
from clima_dashboards.kibana import Identity, Kibana
from clima_dashboards.saved_objects import SavedObject, ndjson
from clima_dashboards.saved_objects.build import build
from clima_dashboards.saved_objects.dashboard import dashboard_id
from clima_dashboards.saved_objects.ids import DEFAULT, derived, in_space
from clima_dashboards.saved_objects.spaces import of_space
from clima_elk.installed import State

HOME = "weather"
TAG = "tag"
TYPES = ("dashboard", "index-pattern", "lens", "map", "search", "visualization")
Found = Mapping[str, Any]
"""An object as Kibana gives it."""


@dataclass(frozen=True)
class Plan:
    """What a push would do; to make one changes nothing."""

    objects: Sequence[SavedObject]
    there: Sequence[Found]  # those of the objects that are there
    changed: Sequence[Difference]  # by a person
    retired: Sequence[Identity]  # an earlier version's, which are to go
    released: Sequence[Found]  # an earlier version's that a person changed or uses
    force: bool = False

    @property
    def state(self) -> State:
        """Of all of it together, for that is how it is written."""
        if not self.there:
            return State.MISSING
        if self.changed:
            return State.CHANGED
        whole = len(self.there) == len(self.objects) and not (self.retired or self.released)
        return State.SAME if whole and self._pushed() and not self.force else State.OLDER

    def _pushed(self) -> bool:
        """Whether the tag says that it was just these."""
        return _told(self.there) == _telling(self.objects)


def objects_for(kibana: Kibana, texts: Catalogue) -> list[SavedObject]:
    """All of a language, as the space of that Kibana is to have them."""
    return of_space(build(texts), kibana.space)


def plan(kibana: Kibana, objects: Sequence[SavedObject], *, force: bool = False) -> Plan:
    """From what is there; with `force`, what a person changed counts as unchanged."""
    kibana.version()
    there = kibana.export(identities(objects))
    earlier = _earlier(kibana, objects)
    imported = min((str(each.get("updated_at", "")) for each in there or earlier), default="")
    going = [
        _identity(each) for each in earlier if force or str(each.get("updated_at", "")) <= imported
    ]
    retired = _unused(kibana, going, identities(objects))
    return Plan(
        objects,
        there,
        [] if force else changes(objects, there),
        retired,
        [each for each in earlier if _identity(each) not in retired],
        force,
    )


def push(kibana: Kibana, objects: Sequence[SavedObject], *, force: bool = False) -> Plan:
    """What was done. ConfigurationError when a person's changes would be lost."""
    made = plan(kibana, objects, force=force)
    if made.changed:
        names = "\n".join(f"  {each.title}" for each in made.changed)
        raise ConfigurationError(
            f"somebody changed these in Kibana since they were put there:\n{names}\n"
            "nothing was written. See the changes with `clima dashboards diff`, take them over"
            " with `clima dashboards pull`, or give them up with --force"
        )
    if made.state is not State.SAME:
        carry_out(kibana, made)
    return made


def carry_out(kibana: Kibana, made: Plan) -> None:
    """Write the objects, then take away what has no place any more.

    What becomes a person's does so first: stopped anywhere, another push goes on from there.
    """
    _release(kibana, made)
    _write(kibana, made.objects, made.there)
    kibana.delete(made.retired)


def present(kibana: Kibana, objects: Sequence[SavedObject]) -> list[Identity]:
    """All that is ours there, of this version and of earlier ones, whoever has changed it."""
    kibana.version()
    there = [*kibana.export(identities(objects)), *_earlier(kibana, objects)]
    return [_identity(each) for each in there]


def remove(kibana: Kibana, objects: Sequence[SavedObject]) -> int:
    """Take it all away; how many objects there were."""
    there = present(kibana, objects)
    kibana.delete(there)
    return len(there)


def changes(objects: Sequence[SavedObject], theirs: Sequence[Found]) -> list[Difference]:
    """What a person changed; an older version of ours that nobody has touched is no change."""
    saved = touched(theirs)
    own = [each for each in objects if Identity(each.type, each.id) in saved]
    return differences(own, theirs)


def deletions(objects: Sequence[SavedObject], theirs: Sequence[Found]) -> list[Difference]:
    """What a person deleted; nothing where nothing is, or what is there is another version's."""
    if not theirs or _told(theirs) not in ([], _telling(objects)):
        return []
    there = {_identity(each) for each in theirs}
    return [gone(each) for each in objects if Identity(each.type, each.id) not in there]


def identities(objects: Sequence[SavedObject]) -> list[Identity]:
    """What they are called in Kibana."""
    return [Identity(each.type, each.id) for each in objects]


def home(language: str, space: str = DEFAULT) -> str:
    """The path of the dashboard that Kibana is to open on."""
    return f"/app/dashboards#/view/{in_space(dashboard_id(HOME, language), space)}"


def make_home(kibana: Kibana, texts: Catalogue) -> bool:
    """Kibana opens on the weather, and writes numbers as the language does.

    False where somebody has chosen something else, which stays. RefusedError from a Kibana that
    lets its settings be changed by hand alone.
    """
    chosen = kibana.settings()
    ours: Mapping[str, Callable[[str], str]] = {
        "defaultRoute": partial(home, space=kibana.space),
        "format:number:defaultLocale": str.lower,
    }
    free = {
        name: value(texts.language)
        for name, value in ours.items()
        if chosen.get(name) in (None, *map(value, LANGUAGES))
    }
    if free != {name: chosen.get(name) for name in free}:
        kibana.set_up(free)
    return "defaultRoute" in free


def _earlier(kibana: Kibana, objects: Sequence[SavedObject]) -> list[Found]:
    """Ours by tag and id, but none that this version has."""
    known = set(identities(objects))
    tags = [each for each in known if each.type == TAG]
    tagged = kibana.referring(tags, TYPES)
    return [each for each in tagged if derived(each["id"]) and _identity(each) not in known]


def _unused(kibana: Kibana, going: Sequence[Identity], ours: Sequence[Identity]) -> list[Identity]:
    """Those that nothing needs which stays; what one of them needs stays with it."""
    left = set(going)
    users = kibana.referring(going, TYPES) if going else []
    while True:
        needed = {
            Identity(reference["type"], reference["id"])
            for user in users
            if _identity(user) not in left and _identity(user) not in ours
            for reference in user["references"]
        }
        if not needed & left:
            return [each for each in going if each in left]
        left -= needed


def _release(kibana: Kibana, made: Plan) -> None:
    tags = {each.id for each in made.objects if each.type == TAG}
    own = [
        {**each, "references": [one for one in each["references"] if one["id"] not in tags]}
        for each in made.released
    ]
    if own:
        kibana.import_(_file(own))


def _telling(objects: Sequence[SavedObject]) -> list[object]:
    """What their tag says, by which a version is known."""
    return [each.attributes["description"] for each in objects if each.type == TAG]


def _told(theirs: Sequence[Found]) -> list[object]:
    return [each["attributes"].get("description") for each in theirs if each["type"] == TAG]


def _identity(found: Found) -> Identity:
    return Identity(found["type"], found["id"])


def title(found: Found) -> str:
    """What people know it by."""
    attributes = found["attributes"]
    return str(attributes.get("name") or attributes.get("title") or found["id"])


def _file(found: Sequence[Found]) -> str:
    return "".join(f"{json.dumps(each)}\n" for each in found)


def _write(kibana: Kibana, objects: Sequence[SavedObject], before: Sequence[Found]) -> None:
    failure: str | None = None
    try:
        answer = kibana.import_(ndjson(objects))
        if not answer.get("success"):
            failure = _said(answer)
    except UnavailableError as error:
        raise UnavailableError(
            f"{error}\nit is not known whether the dashboards were written: push again"
        ) from None
    except ClimaError as error:
        failure = str(error)
    if failure is None:
        return
    there = {_identity(each) for each in before}
    kibana.delete([each for each in identities(objects) if each not in there])
    if before:
        kibana.import_(_file(before))
    raise ConfigurationError(f"{failure}\nnothing was changed")


def _said(answer: Mapping[str, Any]) -> str:
    errors = answer.get("errors", [])
    lines = [
        f"  {each.get('title') or each.get('id')}: {each.get('error', {}).get('message')}"
        f" {each.get('error', {}).get('type', '')}".rstrip()
        for each in errors[:5]
    ]
    return "\n".join([f"Kibana refused {len(errors)} objects:", *lines])
