"""What whoever provisions has to be allowed, and which of that these credentials lack.

`elasticsearch/provisioner.json` is a role, or an API key's role descriptor, with just that.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from typing import Any

import msgspec

from clima_elk.elasticsearch import InstallError, Request
from clima_elk.server import Server

_PATH = "/_security/user/_has_privileges"


class _Answer(msgspec.Struct, frozen=True):
    has_all_requested: bool
    cluster: dict[str, bool]
    index: dict[str, dict[str, bool]]


def needed(server: Server, *, roles: bool = True) -> dict[str, Any]:
    """The provisioner's role, without what this server has no use for."""
    file = resources.files("clima_elk").joinpath("elasticsearch", "provisioner.json")
    role: dict[str, Any] = msgspec.json.decode(file.read_bytes())
    useless = {
        "manage_ilm": not server.ilm,
        "manage_transform": not server.summaries,
        "manage_security": not (roles and server.users),
    }
    role["cluster"] = [name for name in role["cluster"] if not useless.get(name)]
    return role


async def lacking(request: Request, role: dict[str, Any]) -> list[str]:
    """Which privileges of this role the credentials do not have, in words."""
    asked = {"cluster": role["cluster"], "index": role["indices"]}
    status, answer = await request("POST", _PATH, msgspec.json.encode(asked))
    if status != 200:
        raise InstallError(_PATH, status, answer)
    found = msgspec.json.decode(answer, type=_Answer)
    return [] if found.has_all_requested else list(_said(found))


def _said(found: _Answer) -> Iterator[str]:
    if cluster := [name for name, granted in found.cluster.items() if not granted]:
        yield f"on the cluster: {', '.join(cluster)}"
    for index, privileges in found.index.items():
        if names := [name for name, granted in privileges.items() if not granted]:
            yield f"on {index}: {', '.join(names)}"
