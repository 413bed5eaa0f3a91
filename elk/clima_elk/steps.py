"""One step for each asset: what was found, and what is done about it.

A step is planned from what the server has, so that a dry run and the doing are one; `do` is None
where there is nothing to do. What a person has changed is kept, unless all is to be overwritten,
until a newer version comes; how long data is kept is a person's to say whatever comes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from clima_elk.elasticsearch import (
    RETENTION,
    Asset,
    Body,
    InstallError,
    Request,
    assets,
    put,
    put_if_known,
)
from clima_elk.installed import OWN, State, compared, installed, left_empty
from clima_elk.retention import Window, said, window, with_window
from clima_elk.server import Server

Do = Callable[[], Awaitable[str]]
"""Does it; returns what has been done, in a word or two. InstallError when the server refuses."""


class Step(NamedTuple):
    """One thing, by what it is and its name."""

    what: str
    name: str
    state: str
    do: Do | None = None
    note: str = ""

    @property
    def changes(self) -> bool:
        """Whether it does something that an earlier run has not tried already."""
        return self.do is not None and self.state != State.UNKNOWN


@dataclass(frozen=True)
class Order:
    """What is to be provisioned, and where."""

    request: Request
    server: Server
    retention: Mapping[str, Window] = field(default_factory=dict)  # what a person asks for now
    overwrite: bool = False
    roles: bool = True


async def call(order: Order, method: str, path: str, body: Body | None = None) -> bytes:
    """One request; InstallError for an answer that is no success."""
    data = None if body is None else msgspec.json.encode(body)
    status, answer = await order.request(method, path, data)
    if status not in (200, 201):
        raise InstallError(path, status, answer)
    return answer


async def pipelines(order: Order) -> list[Step]:
    """Only where there are processors for them."""
    return [
        await _step(order, "pipeline", each)
        if order.server.ingest
        else Step("pipeline", each.name, State.UNKNOWN)
        for each in assets("ingest_pipelines")
    ]


async def policies(order: Order, *, by_ilm: bool) -> list[Step]:
    """Where ILM is what deletes."""
    named = [(each, each.name.removeprefix("clima-")) for each in assets("ilm_policies")]
    return [await _retention(order, "policy", *each) for each in named] if by_ilm else []


async def templates(order: Order, *, by_ilm: bool) -> list[Step]:
    """Component templates, and the index templates that are composed of them."""
    other = {each.name: each for each in assets("component_templates_ilm")} if by_ilm else {}
    steps = []
    for asset in assets("component_templates"):
        each = other.get(asset.name, asset)
        if each.name.startswith(RETENTION):
            kept = each.name.removeprefix(RETENTION)
            steps.append(await _retention(order, "component template", each, kept))
        else:
            steps.append(await _step(order, "component template", _known(order.server, each)))
    return steps + [
        await _step(order, "index template", each) for each in assets("index_templates")
    ]


async def roles(order: Order) -> list[Step]:
    """Only where there are native ones."""
    if not order.roles:
        return []
    return [
        await _step(order, "role", each)
        if order.server.users
        else Step("role", each.name, State.UNKNOWN)
        for each in assets("roles")
    ]


def _known(server: Server, asset: Asset) -> Asset:
    """A template that names a pipeline is empty where there can be none."""
    named = {each.name for each in assets("ingest_pipelines")}
    if asset.name in named and not server.ingest:
        return asset._replace(body={**asset.body, "template": {}})
    return asset


async def _step(order: Order, what: str, asset: Asset) -> Step:
    """Put what is missing or older; keep what a person has changed, and what is newer."""
    there = await installed(order.request, asset)
    state = compared(there, asset.body)
    return _planned(order, what, asset, there, state)


async def _retention(order: Order, what: str, asset: Asset, name: str) -> Step:
    """The same for what says how long data is kept: what it says stays until somebody asks."""
    there = await installed(order.request, asset)
    now = asset.body if there is None or left_empty(there, asset.body) else there
    chosen = order.retention.get(name, window(now))
    ours = asset._replace(body=with_window(asset.body, chosen))
    state = compared(there, ours.body)
    if there and state is State.CHANGED and chosen != window(there):
        own = {key: value for key, value in there.items() if key not in OWN or key == "version"}
        asked = asset._replace(body=with_window(own, chosen))
        return Step(
            what, asset.name, f"says {said(window(there))}", _put(order, asked), said(chosen)
        )
    step = _planned(order, what, ours, there, state)
    acts = "policy" in ours.body or "lifecycle" in ours.body["template"]
    return step._replace(note=step.note or said(chosen)) if acts else step


def _planned(order: Order, what: str, asset: Asset, there: Body | None, state: State) -> Step:
    if there is not None and left_empty(there, asset.body):
        return Step(what, asset.name, State.UNKNOWN, _put(order, asset))
    wanted = state in (State.MISSING, State.OLDER)
    if state is State.CHANGED and not order.overwrite:
        return Step(what, asset.name, state, None, "kept (--overwrite puts Clima's own there)")
    if wanted or state is State.CHANGED:
        return Step(what, asset.name, state, _put(order, asset))
    return Step(what, asset.name, state)


def _put(order: Order, asset: Asset) -> Do:
    async def do() -> str:
        if await put_if_known(order.request, asset):
            return "installed"
        if "template" in asset.body:
            await put(order.request, asset.path, {**asset.body, "template": {}})
        return "left empty: not known by this server"

    return do
