"""The tag that all objects of a language have, by which a later version finds an earlier one's.

Its description ends in a fingerprint of all the others: what was put there last.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from clima_dashboards.catalogue import Catalogue
from clima_dashboards.colours import PLAIN
from clima_dashboards.saved_objects import Reference, SavedObject, ndjson
from clima_dashboards.saved_objects.ids import identity

FORM = "8.0.0"


def tag_id(language: str) -> str:
    """The id of the tag."""
    return identity("tag", language)


def tagged(objects: Iterable[SavedObject], texts: Catalogue) -> list[SavedObject]:
    """The objects with the tag, and the tag itself."""
    own = tag_id(texts.language)
    reference = Reference(f"tag-ref-{own}", "tag", own)
    found = [each._replace(references=(*each.references, reference)) for each in objects]
    attributes = {
        "name": texts("tag", "name"),
        "description": f"{texts('tag', 'description')} {_fingerprint(found)}",
        "color": PLAIN,
    }
    return [*found, SavedObject("tag", own, attributes, (), FORM)]


def _fingerprint(objects: Iterable[SavedObject]) -> str:
    return hashlib.sha256(ndjson(objects).encode()).hexdigest()[:12]
