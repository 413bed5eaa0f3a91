"""The data streams' templates in Elasticsearch's own format, and how they get there.

The JSON files are complete bodies of `PUT /_component_template/{name}` and its like: read them,
or apply them by hand. `install` applies what is missing or older, and never replaces a newer
version. A template takes effect where a data stream gets its next backing index; nothing that
is stored changes. What a server may not know (a processor, an index mode) is `_meta.optional`,
alone in its file, and installed empty there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any, NamedTuple

import msgspec

Request = Callable[[str, str, bytes | None], Awaitable[tuple[int, bytes]]]
"""`await request(method, path, body)` -> HTTP status and body of the answer."""

INGESTED = "clima-ingested"


class Asset(NamedTuple):
    """One thing to install: where it goes, and what."""

    path: str
    body: dict[str, Any]


class InstallError(Exception):
    """The server refused an asset: HTTP status and body of its answer."""

    def __init__(self, path: str, status: int, answer: bytes) -> None:
        super().__init__(f"{path}: {status} {answer[:500].decode(errors='replace')}")
        self.path, self.status, self.answer = path, status, answer


def assets() -> list[Asset]:
    """Everything, in the order in which it can be installed."""
    return [
        Asset(f"/_{kind.removesuffix('s')}/{file.name.removesuffix('.json')}", _read(file))
        for kind in ("component_templates", "index_templates")
        for file in sorted(resources.files(__package__).joinpath(kind).iterdir(), key=str)
    ]


def pipeline() -> Asset:
    """Sets `event.ingested`; only for servers that have the `set` processor."""
    folder = resources.files(__package__).joinpath("ingest_pipelines")
    return Asset(f"/_ingest/pipeline/{INGESTED}", _read(folder.joinpath(f"{INGESTED}.json")))


async def install(request: Request) -> list[str]:
    """Install what is missing or older; returns the paths of what was.

    Raises InstallError when the server refuses something.
    """
    known = {INGESTED: await _put_if_known(request, *pipeline())}
    installed = []
    for path, body in assets():
        if await _version(request, path) < body["version"]:
            name = path.rpartition("/")[2]
            if not (known.get(name, True) and await _put_if_known(request, path, body)):
                await _put(request, path, {**body, "template": {}})
            installed.append(path)
    return installed


async def _put_if_known(request: Request, path: str, body: dict[str, Any]) -> bool:
    """False when the asset is optional and the server does not know what it needs."""
    try:
        await _put(request, path, body)
    except InstallError as error:
        if error.status == 400 and body["_meta"].get("optional"):
            return False
        raise
    return True


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


async def _put(request: Request, path: str, body: dict[str, Any]) -> None:
    status, answer = await request("PUT", path, msgspec.json.encode(body))
    if status != 200:
        raise InstallError(path, status, answer)


def _read(file: Traversable) -> dict[str, Any]:
    body: dict[str, Any] = msgspec.json.decode(file.read_bytes())
    return body
