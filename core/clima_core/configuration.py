"""Configuration: TOML and the environment into frozen msgspec Structs, and every mistake said.

The model is the only place that knows names, types, limits and defaults. What always holds:
an unknown option is refused with the nearest right name; all problems are said at once, one line
each with file, option, what was found and what is allowed; and nothing comes back unless all of
it is right. A problem that involves several options is a ValueError from `__post_init__`.

    agent.toml: sensors[1].adress: unknown option; did you mean "address"?

A file that the disk does not give (an old card, once, after a power cut) is not wrong: that is an
UnavailableError, after which it is worth to try again.

The environment wins over the file: with the prefix `CLIMA_AGENT`, `CLIMA_AGENT_STATION__ID` is
`station.id`; a list or a table is given whole, as TOML; an empty variable counts as not set.
Paths are relative to the file that names them. A `Secret` is given as it is or as `{ file = "…" }`.
"""

from __future__ import annotations

import difflib
import errno
import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar, get_args, get_origin

import msgspec
from msgspec.structs import FieldInfo

from clima_core.allowed import allowed, literals, one_of, shown, unwrapped
from clima_core.environment import FromEnvironment, as_toml, options, variables
from clima_core.errors import ClimaError, ConfigurationError, UnavailableError

_FOR_A_PERSON = {  # what keeps a file from being read until somebody mends its name or its mode
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EACCES,
    errno.EPERM,
    errno.ELOOP,
    errno.ENAMETOOLONG,
}

Model = TypeVar("Model", bound=msgspec.Struct)


class Secret:
    """A text that shows in no message, log or repr: only `reveal()` gives it away."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself, for the one call that needs it."""
        return self._text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return "Secret(…)"


def load(
    path: Path | None,
    model: type[Model],
    environ: Mapping[str, str],
    prefix: str,
) -> Model:
    """Read the file (none: the environment and the defaults alone) into the model."""
    table = {} if path is None else _parsed(path)
    reader = _Reader(str(path or "configuration"), path.parent if path else Path())
    reader.override(table, options(environ, prefix + "_", model))
    return reader.finished(table, model)


def convert(table: Mapping[str, Any], model: type[Model], source: str) -> Model:
    """Read a table that has been parsed already; `source` begins each problem's line."""
    return _Reader(source, Path()).finished(dict(table), model)


def unreadable(path: Path, error: OSError) -> ClimaError:
    """What to raise when a file that is needed cannot be read: which kind says who can mend it."""
    text = f"{path}: cannot be read: {_reason(error)}"
    if error.errno in _FOR_A_PERSON:
        return ConfigurationError(text)
    return UnavailableError(f"{text}; if it lasts, look at the disk (`dmesg`)")


def nearest(found: str, right: Iterable[str]) -> str:
    """What to add to "this name is wrong": the nearest right one, or all of them."""
    names = sorted(right)
    close = difflib.get_close_matches(found, names, n=1)
    if close:
        return f'; did you mean "{close[0]}"?'
    return f"; allowed: {', '.join(names)}" if names else ""


class _Reader:
    """One reading of one source: walks values beside their types and collects the problems.

    A method that has found a problem returns None; `finished` lets nothing out after that.
    """

    def __init__(self, source: str, folder: Path, problems: list[str] | None = None) -> None:
        self.source = source
        self.folder = folder
        self.problems = [] if problems is None else problems

    def finished(self, table: dict[str, Any], model: type[Model]) -> Model:
        result = self.struct(table, model, "")
        if self.problems or not isinstance(result, model):
            raise ConfigurationError(self.problems)
        return result

    def override(self, table: dict[str, Any], overrides: Iterable[FromEnvironment]) -> None:
        for option in overrides:
            node: Any = table
            for parent in option.path[:-1]:
                node = node.setdefault(parent, {}) if isinstance(node, dict) else None
            if isinstance(node, dict):
                node[option.path[-1]] = option
            else:
                self.problems.append(f"{option.variable}: is not in a table; a list is given whole")

    def value(self, value: Any, annotation: Any, at: str) -> Any:
        (kind, *others), _ = unwrapped(annotation)
        origin = get_origin(kind) or kind
        if isinstance(value, FromEnvironment) and (_is_struct(kind) or origin in _CONTAINERS):
            inner = _Reader(value.variable, Path(), self.problems)
            return inner.value(as_toml(value), annotation, "")
        if _is_struct(kind):
            return self.tagged(value, (kind, *others), at)
        if origin in (list, tuple) and isinstance(value, list):
            return self.sequence(value, annotation, at)
        if origin in (list, tuple) and isinstance(value, dict) and _of_tables(kind):
            return self.wrong(value, f"a list of tables, each begun by [[{at}]]", at)
        if origin is dict and isinstance(value, dict):
            keys, item = get_args(kind)
            return {
                self.leaf(key, keys, at): self.value(each, item, _joined(at, key))
                for key, each in value.items()
            }
        if kind is Secret:
            return self.secret(value, at)
        if kind is Path:
            return self.path(value, at)
        return self.leaf(value, annotation, at)

    def tagged(self, value: Any, structs: tuple[type[msgspec.Struct], ...], at: str) -> Any:
        """One of several tables, told apart by their tag; or the only one there is."""
        if not isinstance(value, dict):
            return self.wrong(value, "a table", at)
        if len(structs) == 1:
            return self.struct(value, structs[0], at)
        field = str(structs[0].__struct_config__.tag_field)
        by_tag = {str(struct.__struct_config__.tag): struct for struct in structs}
        tag = value.get(field)
        if tag is None:
            return self.problem(f"missing; expected {one_of(by_tag)}", _joined(at, field))
        if tag not in by_tag:
            return self.wrong(tag, one_of(by_tag), _joined(at, field), by_tag)
        others = {
            field.encode_name: name
            for name, struct in by_tag.items()
            for field in msgspec.structs.fields(struct)
        }
        return self.struct(value, by_tag[tag], at, others)

    def struct(
        self,
        table: dict[str, Any],
        struct: type[msgspec.Struct],
        at: str,
        others: Mapping[str, str] = MappingProxyType({}),
    ) -> Any:
        """`others`: options of the tables that it might have been, and the tag of such a table."""
        before = len(self.problems)
        fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
        for key, value in table.items():
            if key not in fields and key != struct.__struct_config__.tag_field:
                tag = struct.__struct_config__.tag
                hint = f' of "{tag}"; "{others[key]}" has it' if key in others else ""
                self.problem(
                    "unknown option" + (hint or nearest(key, fields)), _joined(at, key), value
                )
        values = {
            field.name: self.option(table, field, _joined(at, key))
            for key, field in fields.items()
            if key in table or not _stands(field)
        }
        if len(self.problems) > before:
            return None
        try:
            return struct(**values)
        except (ValueError, ConfigurationError) as error:
            return self.problem(str(error), at)

    def option(self, table: dict[str, Any], field: FieldInfo, at: str) -> Any:
        if field.encode_name in table:
            return self.value(table[field.encode_name], field.type, at)
        if isinstance(field.default, Path):
            return self.folder / field.default
        if _is_struct(field.type):
            return self.struct({}, field.type, at)
        return self.problem(f"missing; expected {allowed(field.type)}", at)

    def sequence(self, values: list[Any], annotation: Any, at: str) -> Any:
        (kind, *_), limits = unwrapped(annotation)
        kinds = get_args(kind)
        if get_origin(kind) is list or kinds[-1] is Ellipsis:
            kinds = kinds[:1] * len(values)
        shortest = max((limit.min_length or 0 for limit in limits), default=0)
        if len(values) != len(kinds) or len(values) < shortest:
            return self.wrong(values, f"a list of {max(len(kinds), shortest)}", at)
        pairs = enumerate(zip(values, kinds, strict=True))
        return get_origin(kind)(self.value(each, item, f"{at}[{i}]") for i, (each, item) in pairs)

    def path(self, value: Any, at: str) -> Any:
        if not isinstance(value, str) or not value or "\0" in value:
            return self.wrong(value, "a path", at)
        folder = Path() if isinstance(value, FromEnvironment) else self.folder
        return folder / Path(value).expanduser()

    def secret(self, value: Any, at: str) -> Any:
        if isinstance(value, str):
            return Secret(str(value))
        if not (isinstance(value, dict) and value.keys() == {"file"}):
            return self.problem('expected a text or { file = "…" }', at)
        path = self.path(value["file"], at)
        try:
            return Secret(path.read_text("utf-8").rstrip("\r\n")) if path else None
        except (OSError, UnicodeDecodeError) as error:
            if isinstance(error, OSError) and error.errno not in _FOR_A_PERSON:
                raise unreadable(path, error) from error
            return self.problem(f"cannot read {path}: {_reason(error)}", at, value)

    def leaf(self, value: Any, annotation: Any, at: str) -> Any:
        lax = isinstance(value, FromEnvironment)
        try:
            return msgspec.convert(str(value) if lax else value, annotation, strict=not lax)
        except msgspec.ValidationError:
            return self.wrong(value, allowed(annotation), at, literals(annotation))

    def wrong(self, value: Any, expected: str, at: str, names: Iterable[str] = ()) -> Any:
        close = difflib.get_close_matches(str(value), names, n=1)
        hint = f'; did you mean "{close[0]}"?' if close else ""
        return self.problem(f"expected {expected}, found {shown(value)}{hint}", at, value)

    def problem(self, what: str, at: str, value: Any = None) -> Any:
        variable = next(variables(value), None)
        parts = (variable, what) if variable else (self.source, at, what)
        self.problems.append(": ".join(part for part in parts if part))
        return None


_CONTAINERS = (list, tuple, dict)


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _of_tables(kind: Any) -> bool:
    (item, *_), _ = unwrapped(get_args(kind)[0])
    return _is_struct(item)


def _stands(field: FieldInfo) -> bool:
    """Whether the model's default can stand as it is: no path in it that depends on the file."""
    if field.required or isinstance(field.default, Path):
        return False
    return field.default_factory is not field.type


def _joined(at: str, key: str) -> str:
    name = key if re.fullmatch(r"[\w-]+", key) else json.dumps(key, ensure_ascii=False)
    return f"{at}.{name}" if at else name


def _reason(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


def _parsed(path: Path) -> dict[str, Any]:
    """The file as TOML, whichever of the usual encodings an editor or a shell gave it."""
    try:
        raw = path.read_bytes()
        # PowerShell's `>` writes UTF-16 with a mark; Notepad may put one before UTF-8.
        return tomllib.loads(raw.decode("utf-16" if raw[:2] == b"\xff\xfe" else "utf-8-sig"))
    except FileNotFoundError:
        problem = "no such file; `sample-config` prints one to begin with"
    except OSError as error:
        raise unreadable(path, error) from error
    except UnicodeDecodeError as error:
        problem = f"line {raw[: error.start].count(10) + 1}: is not UTF-8 text"
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        problem = f"is not valid TOML: {error}"
    raise ConfigurationError(f"{path}: {problem}")
