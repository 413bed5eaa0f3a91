"""What a check found: one sentence, how bad it is, and what to do about it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Literal

import msgspec

from clima_core.errors import ClimaError

State = Literal["ok", "warning", "broken", "unchecked"]


class Finding(msgspec.Struct, frozen=True):
    """One line of the doctor's.

    warning: it works, and somebody should look. broken: readings do not arrive, or will soon not
    arrive, or are being lost. unchecked: it could not be looked at; `text` says why.
    """

    state: State
    text: str
    mend: str = ""
    check: str = ""


class UncheckedError(ClimaError):
    """A check cannot be made, for the reason given; that is the fault of some other link."""


def ok(text: str) -> Finding:
    """As it should be."""
    return Finding("ok", text)


def warning(text: str, mend: str = "") -> Finding:
    """It works, and somebody should look."""
    return Finding("warning", text, mend)


def broken(text: str, mend: str) -> Finding:
    """It does not work; `mend` is what to do, the command where there is one."""
    return Finding("broken", text, mend)


def unchecked(text: str) -> Finding:
    """Nobody knows: it could not be looked at."""
    return Finding("unchecked", text)


async def together(*parts: Awaitable[list[Finding]]) -> list[Finding]:
    """The findings of several parts of a check, one of which may fail without the others."""
    found: list[Finding] = []
    for said in await asyncio.gather(*parts, return_exceptions=True):
        if isinstance(said, ClimaError):
            found.append(unchecked(" ".join(str(said).split())))
        elif isinstance(said, BaseException):
            raise said
        else:
            found += said
    return found
