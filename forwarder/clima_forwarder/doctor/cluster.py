"""Is Elasticsearch's cluster well, and is any of our indices closed for writing?"""

from __future__ import annotations

import msgspec

from clima_elk.streams import OURS
from clima_forwarder.doctor.finding import Finding, broken, ok, warning
from clima_forwarder.doctor.site import Site

NAME = "cluster"

_BLOCKS = {
    "read_only_allow_delete": "the disk was full (flood stage)",
    "read_only": "somebody made it read-only",
    "write": "somebody closed it for writing",
}


class _Index(msgspec.Struct, frozen=True):
    status: str


class _Health(msgspec.Struct, frozen=True):
    status: str
    number_of_nodes: int = 1
    unassigned_shards: int = 0
    number_of_pending_tasks: int = 0
    indices: dict[str, _Index] = {}


async def look(site: Site) -> list[Finding]:
    """The cluster's colour, and blocks on indices of ours."""
    if site.elasticsearch is None:
        return []
    # What a restarting node answers before it has a master waits here for as long as we allow.
    health = await site.ask(
        "/_cluster/health", _Health, level="indices", master_timeout="2s", timeout="2s"
    )
    settings = await site.ask(
        f"/{OURS}/_settings/index.blocks.*",
        dict[str, dict[str, dict[str, dict[str, dict[str, str]]]]],
        expand_wildcards="all",
        ignore_unavailable="true",
    )
    return [_colour(site, health), *_blocked(settings)]


def _colour(site: Site, health: _Health) -> Finding:
    of = {
        colour: sorted(name for name, each in health.indices.items() if each.status == colour)
        for colour in ("red", "yellow")
    }
    nodes = f"{health.number_of_nodes} node" + "s" * (health.number_of_nodes > 1)
    if health.status == "red":
        return broken(
            f"the cluster is red: no copy to be had of {_listed(of['red'])}",
            "GET /_cluster/allocation/explain says why; what is lost comes back by "
            + site.command("restore"),
        )
    if health.status == "yellow":
        return warning(
            f"the cluster is yellow: no second copy of {_listed(of['yellow'])}",
            'one node alone: PUT /INDEX/_settings {"index.number_of_replicas": 0}',
        )
    return ok(f"the cluster is {health.status}, {nodes}")


def _blocked(settings: dict[str, dict[str, dict[str, dict[str, dict[str, str]]]]]) -> list[Finding]:
    found = []
    for block, why in _BLOCKS.items():
        names = sorted(
            name
            for name, body in settings.items()
            if body["settings"]["index"].get("blocks", {}).get(block) == "true"
        )
        if names:
            found.append(
                broken(
                    f"no writing to {_listed(names)}: {why}",
                    "make room on the disk first, then "
                    f'PUT /{OURS}/_settings {{"index.blocks.{block}": null}}',
                )
            )
    return found


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
