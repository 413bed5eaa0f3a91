"""Who may do what: the role definitions, for servers with native roles and for those without.

The JSON files are complete bodies of `PUT /_security/role/{name}`. A server without native roles
reads the same definitions from its file `roles.yml`.
"""

from __future__ import annotations

import json
import textwrap
from importlib import resources
from typing import Any

import msgspec

Role = dict[str, Any]


def roles() -> dict[str, Role]:
    """Every role by its name."""
    folder = resources.files("clima_elk").joinpath("elasticsearch", "roles")
    return {
        file.name.removesuffix(".json"): msgspec.json.decode(file.read_bytes())
        for file in sorted(folder.iterdir(), key=str)
    }


def descriptors(*names: str) -> dict[str, Role]:
    """What an API key may do that is to have these roles: `role_descriptors`."""
    known = roles()
    return {
        name: {key: value for key, value in known[name].items() if key != "metadata"}
        for name in names
    }


def roles_yml() -> str:
    """The text of the file `roles.yml`.

    Elasticsearch cuts that file into roles by their indentation, so each begins at the margin
    and the rest of it is indented; JSON is YAML.
    """
    return "".join(
        f"{name}:\n{textwrap.indent(json.dumps(role, indent=2), '  ')}\n"
        for name, role in roles().items()
    )
