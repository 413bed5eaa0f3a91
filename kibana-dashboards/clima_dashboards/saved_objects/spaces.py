"""The objects of another space than the default one: the same, with ids of their own."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from clima_dashboards.saved_objects import Reference, SavedObject
from clima_dashboards.saved_objects.ids import DEFAULT, in_space


def of_space(objects: Sequence[SavedObject], space: str) -> list[SavedObject]:
    """Wherever one of them names itself or another, in links too, it is by the space's id."""
    if space == DEFAULT:
        return list(objects)
    ids = {each.id: in_space(each.id, space) for each in objects}
    return [_renamed(each, ids) for each in objects]


def _renamed(each: SavedObject, ids: Mapping[str, str]) -> SavedObject:
    text = json.dumps([each.attributes, each.references])
    known = re.compile("|".join(map(re.escape, ids)))
    attributes, references = json.loads(known.sub(lambda found: ids[found[0]], text))
    return each._replace(
        id=ids[each.id],
        attributes=attributes,
        references=tuple(Reference(*reference) for reference in references),
    )
