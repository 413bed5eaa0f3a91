"""The writer: dashboards as saved objects in the form of Kibana 8.3, which later ones migrate.

    ids.py        names that never change
    views.py      data views
    lens.py       columns and charts of Lens
    vega/         what Lens has no picture for
    search.py     saved searches
    dashboard.py  dashboards and their controls
    tag.py        what marks them all as ours
    build.py      all of a language
    spaces.py     the same for another space

Everything is plain data; `ndjson` is the file that Kibana imports, byte for byte the same for the
same dashboards.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

JSON = dict[str, Any]
CORE = "8.3.0"  # the form that all of this is written in


class Reference(NamedTuple):
    """What an object needs: by which name, of which type and id."""

    name: str
    type: str
    id: str


class SavedObject(NamedTuple):
    """One object of Kibana's; `form` is the version of Kibana that its type last changed in."""

    type: str
    id: str
    attributes: JSON
    references: tuple[Reference, ...] = ()
    form: str = CORE

    def line(self) -> str:
        """As a line of the file."""
        body = {
            "id": self.id,
            "type": self.type,
            "attributes": self.attributes,
            "references": [reference._asdict() for reference in self.references],
            "migrationVersion": {self.type: self.form},
            "coreMigrationVersion": CORE,
        }
        return json.dumps(body, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def packed(value: object) -> str:
    """JSON within JSON, as Kibana keeps much of its state; always in the same order."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def ndjson(objects: Iterable[SavedObject]) -> str:
    """The file to import; ordered, so that the same objects give the same bytes."""
    ordered = sorted(objects, key=lambda each: (each.type, each.id))
    return "".join(f"{each.line()}\n" for each in ordered)
