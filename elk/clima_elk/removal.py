"""Takes all that was provisioned away again; data only where it is named.

What data that stays still needs (its templates, pipelines and policies) stays with it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import msgspec

from clima_elk import users
from clima_elk.elasticsearch import PATHS, Asset, InstallError, assets
from clima_elk.installed import installed
from clima_elk.steps import Do, Order, Step, call
from clima_elk.streams import existing
from clima_elk.transforms import stop
from clima_elk.users import FORWARDER_KEY, USERS, invalidate_api_keys

EVERYTHING = "all"
KINDS = {
    "index_templates": "index template",
    "component_templates": "component template",
    "ingest_pipelines": "pipeline",
    "ilm_policies": "policy",
}


class _Count(msgspec.Struct, frozen=True):
    count: int


async def plan(order: Order, delete: Collection[str] = ()) -> list[Step]:
    """Every step, in the order in which they can be done.

    `delete` are data streams and indices, or EVERYTHING; ValueError for one that is not there.
    """
    there = await existing(order)
    unknown = set(delete) - {*there, EVERYTHING}
    if unknown:
        raise ValueError(f"{', '.join(sorted(unknown))}: not there; there are {', '.join(there)}")
    doomed = [name for name in there if EVERYTHING in delete or name in delete]
    return [
        *await _transforms(order),
        *[await _data(order, name) for name in doomed],
        *await _assets(order, [name for name in there if name not in doomed]),
        *await _security(order),
    ]


async def _transforms(order: Order) -> list[Step]:
    if not order.server.transforms:
        return []
    return [
        Step("transform", each.name, "there", _transform_gone(order, each))
        for each in assets("transforms")
        if await installed(order.request, each)
    ]


async def _data(order: Order, name: str) -> Step:
    answer = await call(order, "GET", f"/{name}/_count")
    count = msgspec.json.decode(answer, type=_Count).count
    is_index = name.startswith("clima-")
    path = f"/{name}" if is_index else f"/_data_stream/{name}"
    what = "index" if is_index else "data stream"
    return Step(what, name, f"{count:,} documents", _gone(order, path, "deleted, with its data"))


async def _assets(order: Order, staying: Collection[str]) -> list[Step]:
    """Templates, pipelines and policies; those that what stays needs are kept."""
    kept = set(_needed(staying))
    steps = []
    for folder, what in KINDS.items():
        if folder == "ilm_policies" and not order.server.ilm:
            continue
        for asset in assets(folder):
            if await installed(order.request, asset):
                mine = asset.path in kept
                note = "kept: data that stays needs it" if mine else ""
                do = None if mine else _gone(order, asset.path)
                steps.append(Step(what, asset.name, "there", do, note))
    return steps


def _needed(staying: Collection[str]) -> Iterator[str]:
    """The paths of what data streams need to be written to, and to be kept as long as chosen."""
    for template in assets("index_templates"):
        patterns = [pattern.rstrip("*") for pattern in template.body["index_patterns"]]
        if any(name.startswith(pattern) for name in staying for pattern in patterns):
            yield template.path
            for component in template.body["composed_of"]:
                yield PATHS["component_templates"] + component
                yield PATHS["ingest_pipelines"] + component
                yield f"{PATHS['ilm_policies']}{component.replace('-retention', '')}"


async def _security(order: Order) -> list[Step]:
    if not (order.roles and order.server.users):
        return []
    steps = [
        Step("role", each.name, "there", _gone(order, each.path))
        for each in assets("roles")
        if await installed(order.request, each)
    ]
    steps += [
        Step("user", user.name, "there", _gone(order, f"/_security/user/{user.name}"))
        for user in USERS
        if user.roles is not None and await users.exists(order.request, user.name)
    ]
    return [*steps, Step("API key", FORWARDER_KEY, "perhaps there", _keys_gone(order))]


def _transform_gone(order: Order, asset: Asset) -> Do:
    async def do() -> str:
        await stop(order, asset.name)
        return await _gone(order, f"{asset.path}?force=true")()

    return do


def _keys_gone(order: Order) -> Do:
    async def do() -> str:
        return f"{len(await invalidate_api_keys(order.request))} put out"

    return do


def _gone(order: Order, path: str, said: str = "removed") -> Do:
    async def do() -> str:
        try:
            await call(order, "DELETE", path)
        except InstallError as error:
            if error.status == 404:
                return "was gone already"
            if error.status in (400, 409) and "in use" in error.reason:
                return f"kept: {error.reason}"
            raise
        return said

    return do
