"""What Clima wants in Elasticsearch, in its own format, and how it gets there.

Each JSON file is the complete body of the PUT that its folder stands for (`PATHS`): read them,
or apply them by hand. `install` applies the templates that are missing or older, and never
replaces a newer version; `clima_elk.provision` does all the rest besides. A template takes effect
where a data stream gets its next backing index; nothing that is stored changes. What a server may
not know (a processor, an index mode) is `_meta.optional`, alone in its file, and installed empty
there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any, NamedTuple

import msgspec

Request = Callable[[str, str, bytes | None], Awaitable[tuple[int, bytes]]]
"""`await request(method, path, body)` -> HTTP status and body of the answer."""

Body = dict[str, Any]

PATHS: Mapping[str, str] = {
    "ingest_pipelines": "/_ingest/pipeline/",
    "ilm_policies": "/_ilm/policy/",
    "component_templates": "/_component_template/",
    "component_templates_ilm": "/_component_template/",  # of the same names, for before 8.14
    "index_templates": "/_index_template/",
    "transforms": "/_transform/",
    "roles": "/_security/role/",
}
TEMPLATES = ("component_templates", "index_templates")
RETENTION = "clima-retention-"  # and what it is the retention of


class Asset(NamedTuple):
    """One thing to install: where it goes, and what."""

    path: str
    body: Body

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


class InstallError(Exception):
    """The server refused an asset: HTTP status and body of its answer."""

    def __init__(self, path: str, status: int, answer: bytes) -> None:
        super().__init__(f"{path}: {status} {answer[:500].decode(errors='replace')}")
        self.path, self.status, self.answer = path, status, answer

    @property
    def reason(self) -> str:
        """What the server says of it, down to the first cause."""
        return reason(self.answer)


class Cause(msgspec.Struct, frozen=True):
    """Why the server refused something, in its own words."""

    type: str = ""
    reason: str | None = None
    caused_by: Cause | None = None

    def __str__(self) -> str:
        said = f"{self.type}: {(self.reason or '')[:300]}"  # it may quote the whole document
        return f"{said}; {self.caused_by}" if self.caused_by else said


class _Refusal(msgspec.Struct, frozen=True):
    error: Cause | str


def reason(answer: bytes) -> str:
    """Why, from the body of an answer that is no success."""
    try:
        return str(msgspec.json.decode(answer, type=_Refusal).error)
    except msgspec.MsgspecError:  # a proxy's page, perhaps
        return answer[:200].decode(errors="replace")


def assets(*folders: str) -> list[Asset]:
    """What is in the folders (by default the templates), in the order it can be installed in."""
    return [
        Asset(PATHS[folder] + file.name.removesuffix(".json"), _read(file))
        for folder in folders or TEMPLATES
        for file in sorted(resources.files(__package__).joinpath(folder).iterdir(), key=str)
    ]


async def install(request: Request) -> list[str]:
    """Install what is missing or older of templates and pipelines; returns the templates' paths.

    How long data is kept is only said where nobody has said it yet.
    Raises InstallError when the server refuses something.
    """
    known = {each.name: await put_if_known(request, each) for each in assets("ingest_pipelines")}
    installed = []
    for asset in assets():
        version = await _version(request, asset.path)
        if version < asset.body["version"] and not (version and asset.name.startswith(RETENTION)):
            if not (known.get(asset.name, True) and await put_if_known(request, asset)):
                await put(request, asset.path, {**asset.body, "template": {}})
            installed.append(asset.path)
    return installed


async def missing(request: Request) -> list[str]:
    """The data streams' templates that are missing or older, as far as credentials let see.

    Who may not look at templates still sees which one a data stream was made by.
    """
    found = []
    for asset in assets("index_templates"):
        if "data_stream" not in asset.body:
            continue
        try:
            if await _version(request, asset.path) < asset.body["version"]:
                found.append(asset.name)
        except InstallError as error:
            if error.status != 403:
                raise
            if not await _made_by(request, asset):
                found.append(asset.name)
    return found


async def put_if_known(request: Request, asset: Asset) -> bool:
    """False when the asset is optional and the server does not know what it needs."""
    try:
        await put(request, *asset)
    except InstallError as error:
        if error.status == 400 and asset.body["_meta"].get("optional"):
            return False
        raise
    return True


async def put(request: Request, path: str, body: Body) -> None:
    """Put a body; InstallError when the server refuses it."""
    status, answer = await request("PUT", path, msgspec.json.encode(body))
    if status not in (200, 201):
        raise InstallError(path, status, answer)


async def _version(request: Request, path: str) -> int:
    """The version that is installed; 0 when it is missing or carries none."""
    status, answer = await request("GET", path, None)
    if status == 404:
        return 0
    if status != 200:
        raise InstallError(path, status, answer)
    (entries,) = msgspec.json.decode(answer).values()
    template = entries[0].get("component_template") or entries[0]["index_template"]
    return int(template.get("version", 0))


class _DataStream(msgspec.Struct, frozen=True):
    template: str = ""


class _DataStreams(msgspec.Struct, frozen=True):
    data_streams: list[_DataStream] = []


async def _made_by(request: Request, asset: Asset) -> bool:
    """False when the data stream is not there, or was made by another template."""
    name = asset.body["index_patterns"][0].replace("*", "default")
    status, answer = await request("GET", f"/_data_stream/{name}", None)
    if status != 200:
        return status != 404
    found = msgspec.json.decode(answer, type=_DataStreams).data_streams
    return any(each.template == asset.name for each in found)


def _read(file: Traversable) -> Body:
    body: Body = msgspec.json.decode(file.read_bytes())
    return body
