"""Options that come from environment variables, for `configuration`.

`CLIMA_AGENT_STATION__ID` is the option `station.id` of the prefix `CLIMA_AGENT`. Each value keeps
the name of its variable, so that a problem with it names what the user has to change.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from typing import Any, Self

import msgspec


class FromEnvironment(str):
    """The text of an environment variable, which knows the variable and the option it sets."""

    __slots__ = ("path", "variable")

    path: list[str]
    variable: str

    def __new__(cls, text: str, variable: str, path: list[str]) -> Self:
        self = super().__new__(cls, text)
        self.variable = variable
        self.path = path
        return self


def options(
    environ: Mapping[str, str], prefix: str, model: type[msgspec.Struct]
) -> Iterator[FromEnvironment]:
    """The variables that are options: `__` in the name, or that of one at the top of the model.

    What else begins with the prefix (`CLIMA_AGENT_CONFIG`) is somebody else's. An empty variable
    counts as not set: that is how Compose hands on what nobody has given.
    """
    top = {field.encode_name for field in msgspec.structs.fields(model)}
    for variable, text in sorted(environ.items()):
        if variable.startswith(prefix) and text:
            path = variable.removeprefix(prefix).lower().split("__")
            if len(path) > 1 or path[0] in top:
                yield FromEnvironment(text, variable, path)


def variables(value: Any) -> Iterator[str]:
    """The environment variables that a value came from, where all that is in it did."""
    if isinstance(value, FromEnvironment):
        yield value.variable
    elif isinstance(value, dict):
        found = [next(variables(each), None) for each in value.values()]
        if None not in found:
            yield from filter(None, found)


def as_toml(value: FromEnvironment) -> Any:
    """A list or table, as TOML writes it; anything else stays the text that it is."""
    try:
        return tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return str(value)
