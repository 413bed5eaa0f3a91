"""How long records are kept: the defaults, what a person chose, and what the server holds to.

Weather is what all of this is for, and dead letters are data that somebody has still to look at:
both are kept for ever. Health and logs are of use while something is being mended. Each choice is
remembered by the server itself, in the template and the policy that act on it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import msgspec

from clima_core.identity import DATA_SETS, DEAD_LETTERS, FORWARDER_LOGS, Stream
from clima_elk.elasticsearch import Body, Request

Window = timedelta | None
"""How long records are kept at least; None: for ever."""

RETENTION: Mapping[str, Window] = {
    "weather": None,
    "station": timedelta(days=90),
    "log": timedelta(days=30),
    "deadletter": None,
}
KEPT: Mapping[str, tuple[str, ...]] = {
    "weather": (DATA_SETS["w"].name,),
    "station": (DATA_SETS["s"].name,),
    "log": (DATA_SETS["l"].name, FORWARDER_LOGS.name),
    "deadletter": (DEAD_LETTERS.name,),
}
OF_STREAM: Mapping[Stream, str] = {"w": "weather", "s": "station", "l": "log"}
FOREVER = "forever"


def parsed(text: str) -> tuple[str, Window]:
    """`station=90d`, `log=30` or `weather=forever`; ValueError for anything else."""
    name, _, said = text.partition("=")
    found = re.fullmatch(r"(\d{1,6})d?", said)
    if name not in RETENTION or not (found or said == FOREVER):
        raise ValueError(
            f'"{text}": expected {", ".join(RETENTION)}, = and days (station=90d) or forever'
        )
    days = int(found[1]) if found else 0
    return name, timedelta(days=days) if days else None


def said(window: Window) -> str:
    """As a person would write it."""
    return f"{window.days}d" if window else FOREVER


def window(body: Body) -> Window:
    """What a retention template or a policy says."""
    if "policy" in body:
        text = body["policy"]["phases"].get("delete", {}).get("min_age")
    else:
        text = body["template"].get("lifecycle", {}).get("data_retention")
    return duration(text)


def with_window(body: Body, chosen: Window) -> Body:
    """The same template or policy, saying this."""
    if "policy" in body:
        policy = body["policy"]
        phases = {name: phase for name, phase in policy["phases"].items() if name != "delete"}
        if chosen:
            phases["delete"] = {
                "min_age": said(chosen),
                "actions": {"delete": {"delete_searchable_snapshot": True}},
            }
        return {**body, "policy": {**policy, "phases": phases}}
    if "lifecycle" in body["template"]:
        return {**body, "template": {**body["template"], "lifecycle": lifecycle(chosen)}}
    return body  # a template that names a policy: the policy says it


def lifecycle(chosen: Window) -> dict[str, Any]:
    """The data stream lifecycle that keeps records so long."""
    return {"enabled": True} | ({"data_retention": said(chosen)} if chosen else {})


_UNITS = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds", "ms": "milliseconds"}


def duration(text: str | None) -> Window:
    """Elasticsearch's own way of writing durations: `90d`, `36h`."""
    found = re.fullmatch(r"(\d+)(d|h|m|s|ms)", text or "")
    return timedelta(**{_UNITS[found[2]]: int(found[1])}) if found else None


class _Lifecycle(msgspec.Struct, frozen=True):
    enabled: bool = True
    data_retention: str | None = None
    effective_retention: str | None = None


class DataStream(msgspec.Struct, frozen=True):
    """What the server says of a data stream."""

    name: str
    template: str = ""
    ilm_policy: str | None = None
    lifecycle: _Lifecycle | None = None


class _DataStreams(msgspec.Struct, frozen=True):
    data_streams: list[DataStream] = []


async def data_streams(request: Request) -> dict[str, DataStream]:
    """Those of Clima that there are; none where the server or the credentials will not say."""
    status, answer = await request("GET", "/_data_stream/*-clima.*?expand_wildcards=all", None)
    if status != 200:
        return {}
    found = msgspec.json.decode(answer, type=_DataStreams).data_streams
    return {each.name: each for each in found}


async def windows(request: Request) -> dict[str, Window]:
    """How long the server keeps the records of each kind, as far as it will say.

    What it will not say, or does not know, is RETENTION's default.
    """
    found = dict(RETENTION)
    streams = await data_streams(request)
    for name, kept in KEPT.items():
        known = [await _window(request, streams[each], name) for each in kept if each in streams]
        if known:
            finite = [each for each in known if each]
            found[name] = min(finite) if finite else None
    return found


async def _window(request: Request, stream: DataStream, name: str) -> Window:
    if stream.ilm_policy:
        path = f"/_ilm/policy/{stream.ilm_policy}"
        status, answer = await request("GET", path, None)
        if status != 200:  # most often 403
            return RETENTION[name]
        return window(msgspec.json.decode(answer)[stream.ilm_policy])
    if stream.lifecycle and stream.lifecycle.enabled:
        acting = stream.lifecycle.effective_retention or stream.lifecycle.data_retention
        return duration(acting)
    return None
