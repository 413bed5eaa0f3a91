"""What the server at hand has, of what Clima uses.

Elasticsearch has had what Clima uses since 8.3, but for the data stream lifecycle (8.14). A
distribution without some modules has less; it works as a store all the same.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from clima_elk.elasticsearch import InstallError, Request

LIFECYCLE = (8, 14)
_PROCESSORS = {"set", "script"}
_ANALYSIS = {"analysis-common"}  # the index that native users are kept in needs its analysers


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """The version, as far as these credentials may know it, and what the server has."""

    version: tuple[int, ...] | None
    ingest: bool  # processors of ingest pipelines
    data_streams: bool  # the API to manage them: they exist everywhere
    ilm: bool
    transforms: bool
    security: bool
    users: bool  # native roles and users, and API keys

    @property
    def lifecycle(self) -> bool:
        """Data stream lifecycle, out of its technical preview."""
        return self.data_streams and self.version is not None and self.version >= LIFECYCLE

    @property
    def summaries(self) -> bool:
        """Transforms, and `event.ingested` for them to go by."""
        return self.transforms and self.ingest and self.data_streams

    def lacking(self) -> Iterator[str]:
        """What is not there, in words, and what that means."""
        if not self.ingest:
            yield "no ingest processors: records do not say when they came in (event.ingested)"
        if not (self.lifecycle or self.ilm):
            yield "no data stream lifecycle and no ILM: nothing is ever deleted"
        if not self.summaries:
            yield "no transforms: no daily and monthly summaries, and no list of stations"
        if not self.security:
            yield (
                "security is off: no roles and users are needed, and whoever reaches the server"
                " may read, change and delete everything"
            )
        elif not self.users:
            yield "no native roles, users and API keys: give them by its files (roles.yml, users)"


async def detect(request: Request) -> Server:
    """Ask; InstallError where it will not say."""
    security = await _knows(request, "/_security/_authenticate")
    return Server(
        version=await _version(request),
        ingest=await _processors(request) >= _PROCESSORS,
        data_streams=await _knows(request, "/_data_stream/clima-none"),
        ilm=await _knows(request, "/_ilm/policy/clima-none"),
        transforms=await _knows(request, "/_transform/clima-none"),
        security=security,
        users=security and await _modules(request) >= _ANALYSIS,
    )


class _Type(msgspec.Struct, frozen=True):
    type: str


class _Module(msgspec.Struct, frozen=True):
    name: str


class _Ingest(msgspec.Struct, frozen=True):
    processors: list[_Type] = []


class _Node(msgspec.Struct, frozen=True):
    version: str = ""
    ingest: _Ingest = _Ingest()
    modules: list[_Module] = []


class _Nodes(msgspec.Struct, frozen=True):
    nodes: dict[str, _Node] = {}


async def _version(request: Request) -> tuple[int, ...] | None:
    nodes = await _nodes(request, "/_nodes?filter_path=nodes.*.version")
    return min((numbers(node.version) for node in nodes), default=None)


async def _processors(request: Request) -> set[str]:
    """Those that every node has."""
    nodes = await _nodes(request, "/_nodes/ingest?filter_path=nodes.*.ingest.processors.type")
    return _common([{each.type for each in node.ingest.processors} for node in nodes])


async def _modules(request: Request) -> set[str]:
    """Those that every node has."""
    nodes = await _nodes(request, "/_nodes/plugins?filter_path=nodes.*.modules.name")
    return _common([{each.name for each in node.modules} for node in nodes])


async def _nodes(request: Request, path: str) -> list[_Node]:
    status, answer = await request("GET", path, None)
    if status != 200:
        raise InstallError(path, status, answer)
    return list(msgspec.json.decode(answer, type=_Nodes).nodes.values())


async def _knows(request: Request, path: str) -> bool:
    """Whether there is anybody behind this path at all."""
    status, answer = await request("GET", path, None)
    if status in (401, 429, 503):
        raise InstallError(path, status, answer)
    return status in (200, 403, 404)


def _common(sets: list[set[str]]) -> set[str]:
    return set.intersection(*sets) if sets else set()


def numbers(version: str) -> tuple[int, ...]:
    """Major and minor, to compare."""
    return tuple(int(part) for part in version.split("-", maxsplit=1)[0].split(".")[:2])
