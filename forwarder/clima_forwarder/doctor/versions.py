"""Are the versions ones that Clima works with, and that work with each other?"""

from __future__ import annotations

from typing import Any

import msgspec

from clima_elk.server import numbers
from clima_forwarder.doctor.finding import Finding, UncheckedError, broken, ok, together, warning
from clima_forwarder.doctor.site import Site
from clima_forwarder.outputs.elasticsearch.connection import OLDEST

NAME = "versions"


class _Node(msgspec.Struct, frozen=True):
    version: str


class _Nodes(msgspec.Struct, frozen=True):
    nodes: dict[str, _Node] = {}


async def look(site: Site) -> list[Finding]:
    """Elasticsearch first: the others are compared with it."""
    if site.elasticsearch is None:
        return []
    own = await _elasticsearch(site)
    return [_own(own), *await together(_logstash(site, own[0]), _kibana(site, own[0]))]


async def _elasticsearch(site: Site) -> list[str]:
    nodes = await site.ask("/_nodes", _Nodes, filter_path="nodes.*.version")
    return sorted({node.version for node in nodes.nodes.values()})


def _own(versions: list[str]) -> Finding:
    if numbers(versions[0]) < OLDEST:
        return broken(
            f"Elasticsearch is {versions[0]}: Clima needs 8.3 or newer",
            "upgrade it, one major version at a time (docs/operations.md, Upgrading)",
        )
    if len(versions) > 1:
        said = f"the nodes of Elasticsearch are of different versions: {', '.join(versions)}"
        return warning(said, "finish the upgrade: all of one version")
    return ok(f"Elasticsearch {versions[0]}")


def _beside(name: str, version: object, elasticsearch: str) -> Finding:
    if not isinstance(version, str):
        raise UncheckedError(f"{name} does not tell its version")
    theirs, own = numbers(version), numbers(elasticsearch)
    mend = "set one STACK_VERSION for all parts (docs/operations.md, Upgrading)"
    if theirs[0] != own[0]:
        return broken(f"{name} is {version}, and Elasticsearch {elasticsearch}", mend)
    if name == "Kibana" and theirs > own:  # which then refuses to start
        return broken(f"Kibana {version} is newer than Elasticsearch {elasticsearch}", mend)
    return ok(f"{name} {version}")


async def _logstash(site: Site, elasticsearch: str) -> list[Finding]:
    if site.logstash is None:
        return []
    url = f"{site.logstash.statistics_url}/_node/stats/pipelines"
    answer: Any = (await site.get(url, login=site.logstash_login)).json()
    return [_beside("Logstash", answer.get("version"), elasticsearch)]


async def _kibana(site: Site, elasticsearch: str) -> list[Finding]:
    """Kibana tells its version to those alone who have logged in."""
    if site.kibana is None:
        return []
    answer = await site.get(f"{site.kibana}/api/status", login=site.operator_login)
    if answer.status == 401:
        raise UncheckedError("Kibana does not tell its version without a login")
    version: Any = answer.json().get("version", {})
    return [_beside("Kibana", version.get("number"), elasticsearch)]
