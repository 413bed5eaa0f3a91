"""The forms of saved objects: which paths they have, and of which types the values are.

`python -m tests.dashboards.forms` writes forms.json anew, from what the Kibana at
CLIMA_TEST_KIBANA_URL gives back after it has taken in and shown the dashboards: run it after
looking at them, when a test says that a form is new.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from clima_dashboards.catalogue import catalogue
from clima_dashboards.push import identities
from clima_dashboards.saved_objects import SavedObject
from clima_dashboards.saved_objects.build import build
from tests.dashboards.kibana_server import given

FILE = Path(__file__).with_name("forms.json")
_COLUMN = re.compile(r"^([xy]|by|[bml]\d+(X\d+)?)$")
_NAMED = {"panelsJSON", "columns", "fieldAttrs", "fieldFormatMap", "runtimeFieldMap", "layers"}

Accepted = dict[str, dict[str, list[str]]]


def accepted() -> Accepted:
    """What the file holds: kind -> path -> types."""
    found: Accepted = json.loads(FILE.read_text("utf-8"))
    return found


def paths(each: SavedObject) -> Iterator[tuple[str, str, str]]:
    """Kind of object, path and type of all its values; a specification of Vega counts as one."""
    attributes = each.attributes
    kind = each.type
    if kind == "lens":
        kind = f"lens {attributes['visualizationType']}"
    if kind == "visualization":
        kind = f"visualization {json.loads(attributes['visState'])['type']}"
    yield from ((kind, path, types) for path, types in _walk("", attributes))


def _walk(path: str, value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, str) and value[:1] in {"{", "["} and not path.endswith(".spec"):
        with suppress(ValueError):
            value = json.loads(value)
    if isinstance(value, Mapping):
        named = path.rpartition(".")[2] in _NAMED
        for name, inner in value.items():
            step = "*" if named or _COLUMN.match(name) else name
            yield from _walk(f"{path}.{step}", inner)
        yield path, "object"
    elif isinstance(value, list):
        for inner in value:
            yield from _walk(f"{path}[]", inner)
        yield path, "list"
    else:
        yield path, "number" if isinstance(value, float | int) else type(value).__name__


def record(objects: list[SavedObject]) -> Accepted:
    """The forms of objects, to be kept."""
    found: dict[str, dict[str, set[str]]] = {}
    for each in objects:
        for kind, path, types in paths(each):
            found.setdefault(kind, {}).setdefault(path, set()).add(types)
    return {
        kind: {path: sorted(types) for path, types in sorted(by.items())}
        for kind, by in sorted(found.items())
    }


def main() -> None:
    """Write the file from a Kibana that has the dashboards."""
    kibana = given()
    if kibana is None:
        raise SystemExit("CLIMA_TEST_KIBANA_URL names no Kibana")
    objects: list[SavedObject] = []
    for language in ("en", "pt-BR"):
        ours = build(catalogue(language))
        answer = kibana.import_("".join(f"{each.line()}\n" for each in ours))
        if not answer["success"]:
            raise SystemExit(str(answer["errors"]))
        objects += [
            SavedObject(each["type"], each["id"], each["attributes"])
            for each in kibana.export(identities(ours))
        ]
    FILE.write_text(json.dumps(record(objects), indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
