"""What a type allows, in words a person knows: `a number at least 0.1 and at most 86400`.

For configuration messages. A description in the type's `msgspec.Meta` wins over what is made here.
"""

from __future__ import annotations

import json
import types
from collections.abc import Iterable
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

_WORDS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    str: "a text",
    bool: "true or false",
    date: "a date",
    datetime: "a date and time",
    Path: "a path",
    list: "a list",
    tuple: "a list",
    dict: "a table",
}


def unwrapped(annotation: Any) -> tuple[tuple[Any, ...], tuple[msgspec.Meta, ...]]:
    """The types that a value may have, None left out, and the limits upon it."""
    if get_origin(annotation) is Annotated:
        inner, *metas = get_args(annotation)
        kinds, more = unwrapped(inner)
        return kinds, (*metas, *more)
    if get_origin(annotation) in (Union, types.UnionType):
        members = [kind for kind in get_args(annotation) if kind is not types.NoneType]
        return unwrapped(members[0]) if len(members) == 1 else (tuple(members), ())
    return (annotation,), ()


def allowed(annotation: Any) -> str:
    """What a type allows, in words: `a number at least 0.1 and at most 86400`."""
    kinds, metas = unwrapped(annotation)
    for meta in metas:
        if meta.description:
            return meta.description
    words = " or ".join(_words(kind) for kind in kinds)
    limits = " and ".join(limit for meta in metas for limit in _limits(meta))
    return f"{words} {limits}".rstrip()


def _words(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return one_of(get_args(kind))
    if get_origin(kind) is Annotated:
        return allowed(kind)
    return _WORDS.get(get_origin(kind) or kind, "a table")


def _limits(meta: msgspec.Meta) -> list[str]:
    bounds = (
        ("at least", meta.ge),
        ("above", meta.gt),
        ("at most", meta.le),
        ("below", meta.lt),
        ("no shorter than", meta.min_length),
        ("no longer than", meta.max_length),
        ("matching", meta.pattern),
    )
    limits = [f"{words} {limit}" for words, limit in bounds if limit is not None]
    return [*limits, "with its offset from UTC"] if meta.tz else limits


def literals(annotation: Any) -> list[str]:
    """The names that a type allows, for the nearest right one."""
    kinds = unwrapped(annotation)[0]
    return [str(name) for kind in kinds if get_origin(kind) is Literal for name in get_args(kind)]


def one_of(names: Iterable[Any]) -> str:
    """The names allowed, as a person would list them."""
    listed = [shown(name) for name in names]
    return listed[0] if len(listed) == 1 else "one of " + ", ".join(listed)


def shown(value: Any) -> str:
    """What was found, as TOML would write it and not too long."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:59] + "…"
