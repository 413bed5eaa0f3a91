"""One SQLite file: the demo's store, and that of a station with no stack.

This module holds the options alone.
"""

from __future__ import annotations

from pathlib import Path

import msgspec


class Options(msgspec.Struct, frozen=True, kw_only=True, tag="sqlite", tag_field="type"):
    """`[output]` with `type = "sqlite"`."""

    path: Path = Path.home() / ".clima" / "readings.sqlite"
