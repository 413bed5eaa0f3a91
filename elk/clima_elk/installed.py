"""What is installed already, and how it compares with what Clima brings.

A server gives back what it was given with its own defaults spelt out, settings as text, and dates
of its own; `canonical` takes that off both sides before they are compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

from clima_elk.elasticsearch import Asset, Body, InstallError, Request

OWN = {  # what servers add by themselves
    "authorization",
    "create_time",
    "created_date",
    "created_date_millis",
    "id",
    "modified_date",
    "modified_date_millis",
    "transient_metadata",
    "version",
}


class State(StrEnum):
    """How what is installed compares with what Clima brings."""

    MISSING = "missing"
    OLDER = "older"
    SAME = "same"
    CHANGED = "changed by a person"
    NEWER = "newer"
    UNKNOWN = "not known by this server"


async def installed(request: Request, asset: Asset) -> Body | None:
    """The body as the server has it, in the form of the asset's own; None when it has none."""
    status, answer = await request("GET", asset.path, None)
    if status == 404:
        return None
    if status != 200:
        raise InstallError(asset.path, status, answer)
    return _body(msgspec.json.decode(answer), asset)


def compared(there: Body | None, ours: Body) -> State:
    """The state of an asset."""
    if there is None or left_empty(there, ours):
        return State.MISSING
    if version(there) != version(ours):
        return State.OLDER if version(there) < version(ours) else State.NEWER
    return State.SAME if canonical(there) == canonical(ours) else State.CHANGED


def version(body: Body) -> int:
    """The version of an asset; 0 when it says none."""
    meta = body.get("_meta") or body.get("metadata") or body.get("policy", {}).get("_meta") or {}
    found = meta.get("version") or body.get("version")
    return found if isinstance(found, int) else 0  # a transform's `version` is the server's


def canonical(body: Body) -> Body:
    """Without what says nothing: defaults, what the server adds, and how settings are nested."""
    kept: Body = _plain({name: each for name, each in body.items() if name not in OWN})
    return kept


def left_empty(there: Body, ours: Body) -> bool:
    """What an earlier server did not know, or before it had a policy to name."""
    return not there.get("template", True) and bool(ours["template"])


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        kept = {
            name: _flat(each) if name == "settings" else _plain(each)
            for name, each in value.items()
        }
        return {name: each for name, each in kept.items() if each not in (None, {}, [], False)}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        elif value is not False:
            flat[prefix + name] = str(value).lower()
    return flat


def _body(answer: dict[str, Any], asset: Asset) -> Body:
    kind = asset.path.split("/")[1]
    if kind in ("_component_template", "_index_template"):
        entry: Body = answer[f"{kind[1:]}s"][0][kind[1:]]
        return entry
    if kind == "_transform":
        return dict(answer["transforms"][0])
    found: Body = answer[asset.name]
    return {"policy": found["policy"]} if kind == "_ilm" else found
