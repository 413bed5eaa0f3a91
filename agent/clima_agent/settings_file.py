"""Adds what was found to the configuration file, or makes one.

Nothing that stands in the file is changed. The new text takes its place in one step, and only once
it has been read and found right: whatever goes wrong, the file is as it was.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from clima_agent import config
from clima_agent.discovery import Found, named
from clima_agent.sources import Sensor
from clima_core import files, keys
from clima_core.errors import ConfigurationError, UnavailableError

NEW = """\
# Clima: the configuration of this station, made by `clima-agent scan --write`.
# `clima-agent sample-config` prints one in which every option stands explained.

[station]
id = "{id}"  # in the identity of every record: choose it now, never change it later
"""

_HEADERS = re.compile(r"^(?=[ \t]*\[)", re.MULTILINE)
_FORWARDERS = re.compile(r"[ \t]*\[\[[ \t]*forwarders[ \t]*\]\]")
_KEY = re.compile(r"^[ \t]*public_key(_file)?[ \t]*=.*$", re.MULTILINE)


def table(found: Found, name: str) -> str:
    """The lines for a sensor."""
    named = "" if name == found.driver else f'name = "{name}"\n'
    options = "".join(
        f"{option} = {_toml(option, value)}\n" for option, value in found.options.items()
    )
    return f'[[sensors]]\ndriver = "{found.driver}"\n{named}{options}'


def add(path: Path, found: Iterable[Found]) -> list[str]:
    """Add what the file does not have yet, and return the names; ConfigurationError if it cannot.

    A sensor that has neither its address nor its device configured stands for any of its kind.
    """
    path = path.resolve()
    text = path.read_text("utf-8") if path.exists() else NEW.format(id=_hostname())
    there = config.load(path, {}).sensors if path.exists() else ()
    new = [each for each in found if not any(_is(sensor, each) for sensor in there)]
    added: list[str] = []
    for name, each in named(new, (sensor.name for sensor in there)):
        added.append(name)
        text = f"{text.rstrip()}\n\n{table(each, name)}"
    if added or not path.exists():
        _replace(path, text)
    return added


def tables(found: Iterable[Found]) -> str:
    """The tables for what Clima knows, ready for agent.toml."""
    return "".join("\n" + table(each, name) for name, each in named(found))


def forwarder_table(address: str, public_key: str) -> str:
    """The lines for a forwarder; its key in hexadecimal."""
    return f'[[forwarders]]\naddress = "{address}"\npublic_key = "{public_key}"\n'


def check_writable(path: Path) -> None:
    """UnavailableError where this user may not put another file in place of this one."""
    if not os.access(path.resolve().parent, os.W_OK):
        raise UnavailableError(
            f"{path}: this user may not write there; take sudo, or --print, which says what to put"
            " into it"
        )


def check_forwarder(path: Path, address: str, public_key: str, *, replace: bool) -> None:
    """ConfigurationError where the file has another key for this address, unless it may go."""
    for number, there in enumerate(config.load(path, {}).forwarders):
        other = there.key()
        if (
            there.address == address
            and other != keys.public_key(public_key, address)
            and not replace
        ):
            raise ConfigurationError(
                f"{path}: forwarders[{number}].public_key: {address} has another key there,"
                f" {keys.fingerprint(other)}; if that forwarder was set up anew, `--replace` puts"
                " this one in its place"
            )


def add_forwarder(path: Path, address: str, public_key: str, *, replace: bool = False) -> None:
    """Have the file name this forwarder with this key; ConfigurationError if it cannot.

    With `replace` the key takes the place of the one that is there for the address.
    """
    path = path.resolve()
    check_forwarder(path, address, public_key, replace=replace)
    text, table = path.read_text("utf-8-sig"), forwarder_table(address, public_key)
    addresses = [each.address for each in config.load(path, {}).forwarders]
    if address in addresses:
        text = _with_key(text, addresses.index(address), public_key)
    else:
        text = f"{text.rstrip()}\n\n{table}"
    try:
        _replace(path, text)
    except OSError as error:
        raise UnavailableError(
            f"{path}: {error.strerror}; put this into it yourself:\n\n{table}"
        ) from error
    found = {each.address: each.key() for each in config.load(path, {}).forwarders}
    if found.get(address) != keys.public_key(public_key, address):
        raise ConfigurationError(f"{path}: has another key for {address}; put this in:\n\n{table}")


def _with_key(text: str, number: int, public_key: str) -> str:
    """The text with another key in its so-manieth table of a forwarder."""
    parts = _HEADERS.split(text)
    tables = [i for i, part in enumerate(parts) if _FORWARDERS.match(part)]
    if number < len(tables):
        at = tables[number]
        parts[at] = _KEY.sub(f'public_key = "{public_key}"', parts[at], count=1)
    return "".join(parts)


def _is(sensor: Sensor, found: Found) -> bool:
    """Whether a sensor that is configured is this one."""
    if sensor.__struct_config__.tag != found.driver:
        return False
    return all(getattr(sensor, option) in (None, value) for option, value in found.options.items())


def _toml(option: str, value: int | str) -> str:
    if option == "address":
        return f"0x{value:02x}"
    return f'"{value}"' if isinstance(value, str) else str(value)


def _hostname() -> str:
    """The machine's name as a station's id."""
    name = re.sub(r"[^a-z0-9]+", "-", socket.gethostname().split(".")[0].lower())
    return name.strip("-")[:63] or "station"


def _replace(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(path.name + ".new")
    try:
        with new.open("w", encoding="utf-8") as file:
            if path.exists():
                _give_to_the_same(new, path)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        config.load(new, {})
        new.replace(path)
        files.sync_directory(path.parent)
    except ConfigurationError as error:
        problems = [problem.removeprefix(f"{new}: ") for problem in error.problems]
        raise ConfigurationError(
            [f"{path}: left as it was, as with what was found: {each}" for each in problems]
        ) from None
    finally:
        new.unlink(missing_ok=True)


def _give_to_the_same(new: Path, old: Path) -> None:
    """Owner, group and mode of the old file, as far as this user may."""
    if os.name == "posix":
        found = old.stat()
        for owner, group in ((-1, found.st_gid), (found.st_uid, -1)):
            with suppress(PermissionError):
                os.chown(new, owner, group)
    shutil.copymode(old, new)
