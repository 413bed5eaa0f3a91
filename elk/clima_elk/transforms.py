"""The transforms that sum up days and months and know each station's newest reading.

A transform's definition cannot be changed, so a newer one takes the place of the older: that one
is stopped and taken away, what it has written stays, and is written over from the beginning. What
it may read can be changed: where readings are deleted after a time, days are counted anew only as
long as they are whole, and stay as they are from then on.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import msgspec

from clima_elk.elasticsearch import PATHS, Asset, Body, assets, put
from clima_elk.installed import State, compared, installed
from clima_elk.retention import Window, windows
from clima_elk.steps import Do, Order, Step, call

UNATTENDED = (8, 5)  # since when a transform can be told to try for ever
STARTED = ("started", "indexing")
DAYS = "clima-daily"
_DATE = "station.local_date"
_MARGIN = timedelta(days=2)  # a station's day begins before UTC's, and `now` may be late in it


class _Stats(msgspec.Struct, frozen=True):
    state: str
    reason: str = ""


class _All(msgspec.Struct, frozen=True):
    transforms: list[_Stats]


async def transforms(order: Order) -> list[Step]:
    """What there is to do with each; nothing where the server has none."""
    named = sorted(assets("transforms"), key=_of_days_first)
    if not order.server.summaries:
        return [Step("transform", each.name, State.UNKNOWN) for each in named]
    kept = order.retention if "weather" in order.retention else await windows(order.request)
    return [await _step(order, each, _fitted(order, each, kept["weather"])) for each in named]


async def stop(order: Order, name: str) -> None:
    """Also one that has failed."""
    how = "force=true&wait_for_completion=true&timeout=30s&allow_no_match=true"
    await call(order, "POST", f"{PATHS['transforms']}{name}/_stop?{how}")


def within(source: Mapping[str, Any], kept: timedelta) -> Body:
    """The same source without days of which a reading may have been deleted."""
    days = max((kept - _MARGIN).days, 0)
    bound = {"range": {_DATE: {"gte": f"now-{days}d/d"}}}
    return {**source, "query": {"bool": {"filter": [source["query"], bound]}}}


def _unbound(body: Body) -> Body:
    """What `within` was made of."""
    match body["source"].get("query"):
        case {"bool": {"filter": [query, {"range": {"station.local_date": {"gte": str()}}}]}}:
            return {**body, "source": {**body["source"], "query": query}}
    return body


def _of_days_first(asset: Asset) -> bool:
    return DAYS in asset.body["source"]["index"]


def _fitted(order: Order, asset: Asset, kept: Window) -> Asset:
    """For readings that are kept so long, and with what this server can do besides."""
    if kept and asset.name == DAYS:
        source = within(asset.body["source"], kept)
        asset = asset._replace(body={**asset.body, "source": source})
    if order.server.version is None or order.server.version < UNATTENDED:
        return asset
    settings = {**asset.body.get("settings", {}), "unattended": True}
    return asset._replace(body={**asset.body, "settings": settings})


async def _step(order: Order, plain: Asset, asset: Asset) -> Step:
    there = await installed(order.request, asset)
    state = compared(there, asset.body)
    if there and state is State.CHANGED and _can_be_updated(there, plain, asset):
        return Step("transform", asset.name, State.OLDER, _update(order, there, asset))
    if state is State.MISSING:
        return Step("transform", asset.name, state, _begin(order, asset))
    if state is State.OLDER or (state is State.CHANGED and order.overwrite):
        return Step("transform", asset.name, state, _replace(order, asset))
    answer = await call(order, "GET", f"{asset.path}/_stats")
    (stats,) = msgspec.json.decode(answer, type=_All).transforms
    if stats.state in STARTED:
        note = "kept (--overwrite puts Clima's own there)" if state is State.CHANGED else ""
        return Step("transform", asset.name, state, None, note)
    return Step("transform", asset.name, stats.state, _start_again(order, asset), stats.reason)


def _begin(order: Order, asset: Asset) -> Do:
    async def do() -> str:
        await _put(order, asset)
        return "started"

    return do


def _can_be_updated(there: Body, plain: Asset, asset: Asset) -> bool:
    """Whether it is ours, but for how long readings are kept and what the server can do now."""
    bare = _unbound(there)
    return any(compared(bare, _unbound(each.body)) is State.SAME for each in (plain, asset))


def _update(order: Order, there: Body, asset: Asset) -> Do:
    """What a transform can be told while it runs."""
    told: Body = {
        name: asset.body[name]
        for name in ("source", "settings")
        if name in asset.body and asset.body[name] != there.get(name)
    }

    async def do() -> str:
        await call(order, "POST", f"{asset.path}/_update", told)
        return "has new settings"

    return do


def _replace(order: Order, asset: Asset) -> Do:
    async def do() -> str:
        await stop(order, asset.name)
        await call(order, "DELETE", f"{asset.path}?force=true")
        await _put(order, asset)
        return "replaced; it begins anew"

    return do


def _start_again(order: Order, asset: Asset) -> Do:
    async def do() -> str:
        await stop(order, asset.name)
        await call(order, "POST", f"{asset.path}/_start")
        return "started again"

    return do


async def _put(order: Order, asset: Asset) -> None:
    body: Body = asset.body
    await put(order.request, asset.path, body)
    await call(order, "POST", f"{asset.path}/_start")
