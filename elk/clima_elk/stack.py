"""The version of the Elastic Stack that is asked for, and the one that the data is of.

Elasticsearch notes in its data folder which version wrote it, in `_state/node-N.st`: a SMILE
document with the field `node_version`. It refuses to start on data of a newer version, and on
data of a major version before its own unless that was the last one; this says so beforehand, and
what to do.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from clima_core.errors import ConfigurationError


class Version(NamedTuple):
    """A version of the stack."""

    major: int
    minor: int
    patch: int

    def __str__(self) -> str:
        return ".".join(map(str, self))


NEWEST = "9.5.1"  # what Compose pins
OLDEST = Version(8, 3, 0)
LAST = {7: Version(7, 17, 0), 8: Version(8, 19, 0)}  # what the next major can take over from
_FIELD = b"\x8bnode_version\x24"  # SMILE: a short key of 12 characters, then an integer


def parse(text: str) -> Version:
    """The version in `STACK_VERSION`; ConfigurationError when it is none that Clima works with."""
    match = re.fullmatch(r"(\d{1,2})\.(\d{1,3})\.(\d{1,3})", text)
    if not match:
        raise ConfigurationError(
            f'STACK_VERSION: "{text}" is not a version; expected three numbers such as 9.5.1'
        )
    version = Version(*(int(part) for part in match.groups()))
    if version < OLDEST:
        raise ConfigurationError(f"STACK_VERSION: {version} is too old; Clima needs 8.3 or newer")
    return version


def check(wanted: Version, written_by: Version | None) -> None:
    """Raise ConfigurationError when `wanted` cannot work on data that `written_by` has written."""
    if written_by is None:
        return
    if wanted < written_by:
        raise ConfigurationError(
            f"STACK_VERSION: {wanted} is older than the data, which {written_by} has written, and"
            f" Elasticsearch cannot go back: set STACK_VERSION={written_by} or newer"
        )
    step = LAST.get(wanted.major - 1)
    if step is not None and written_by < step:
        raise ConfigurationError(
            f"STACK_VERSION: {wanted} cannot read what {written_by} has written: start once with"
            f" a {step.major}.{step.minor} (STACK_VERSION={step} or later), then with {wanted}"
        )


def written_by(data: Path) -> Version | None:
    """Which version wrote the data folder last; None for an empty one, or one nobody can read."""
    found = [_version(path) for path in sorted(data.glob("_state/node-*.st"))]
    return max((version for version in found if version), default=None)


def _version(path: Path) -> Version | None:
    try:
        content = path.read_bytes()
    except OSError:
        return None
    at = content.find(_FIELD)
    return _decoded(content[at + len(_FIELD) :]) if at >= 0 else None


def _decoded(content: bytes) -> Version | None:
    """SMILE's integer: seven bits a byte, six in the last, which has the highest bit; zigzag."""
    number = 0
    for byte in content[:5]:
        if byte & 0x80:
            number = number << 6 | byte & 0x3F
            number = number >> 1 ^ -(number & 1)
            return Version(number // 1_000_000, number // 10_000 % 100, number // 100 % 100)
        number = number << 7 | byte
    return None
