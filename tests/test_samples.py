"""The example files that are shipped: each loads, and tells the truth about the defaults.

In an example, `# option = value` with one blank is a default; deeper lines are examples.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from clima_agent.config import Configuration as AgentConfiguration
from clima_core.configuration import load
from clima_forwarder.config import Configuration as ForwarderConfiguration

SAMPLES = [
    ("clima_agent", "agent.example.toml", AgentConfiguration),
    ("clima_forwarder", "forwarder.example.toml", ForwarderConfiguration),
]
DEFAULT = re.compile(r"^# (\w+ = )", re.MULTILINE)
every_sample = pytest.mark.parametrize(("package", "name", "model"), SAMPLES)


def sample(package: str, name: str) -> str:
    return (files(package) / name).read_text("utf-8")


def read(text: str, folder: Path, model: type[msgspec.Struct]) -> msgspec.Struct:
    path = folder / "sample.toml"
    path.write_text(text, "utf-8")
    return load(path, model, {}, "CLIMA_SAMPLE")


def differences(left: Any, right: Any, at: str = "") -> Iterator[str]:
    """Where two configurations differ; an option without a default may have any example."""
    if isinstance(left, msgspec.Struct):
        for field in left.__struct_fields__:
            yield from differences(getattr(left, field), getattr(right, field), f"{at}.{field}")
    elif isinstance(left, tuple | list) and len(left) == len(right):
        for number, (one, other) in enumerate(zip(left, right, strict=True)):
            yield from differences(one, other, f"{at}[{number}]")
    elif left is not None and left != right:
        yield f"{at}: the default is {left!r}, the example says {right!r}"


def options(kind: Any) -> Iterator[str]:
    """The names of all options that a type holds, however deep."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        for field in msgspec.structs.fields(kind):
            yield field.encode_name
            yield from options(field.type)
    else:
        for argument in get_args(kind):
            yield from options(argument)


@every_sample
def test_a_commented_value_is_the_default(
    package: str, name: str, model: type[msgspec.Struct], tmp_path: Path
) -> None:
    """Taking the comment sign away from all of them changes nothing."""
    text = sample(package, name)
    plain = read(text, tmp_path, model)
    spelt_out = read(DEFAULT.sub(r"\1", text), tmp_path, model)
    assert [] == list(differences(plain, spelt_out))
    assert DEFAULT.search(text)


@every_sample
def test_every_option_is_there(package: str, name: str, model: type[msgspec.Struct]) -> None:
    """An option that the example does not name is one that nobody finds."""
    text = sample(package, name)
    missing = {each for each in options(model) if not re.search(rf"\b{each}\b.*[=\]]", text)}
    assert [] == sorted(missing)
