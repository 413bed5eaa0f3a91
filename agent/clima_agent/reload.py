"""A changed configuration takes effect while the agent runs: on SIGHUP.

It is checked first, as at a start, and what it needs is opened; when anything is wrong with it that
is said, and all goes on as it was. The spool, the session and the clock are kept, so no record is
lost or sent twice; at most one reading is missed while the sensors change hands. What a record's
identity or the spool's place hangs on takes effect at the next start only, and that is said.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec
import structlog

from clima_agent.config import Configuration

log = structlog.get_logger("clima_agent.reload")

FIXED = {
    "station": ("id",),
    "spool": ("directory",),
    "identity": ("key_file", "serial_file"),
    "clock": ("trust", "forwarder_after_s"),
}
"""What takes effect at a start only, by table."""


def fixed(running: Configuration, new: Configuration) -> tuple[Configuration, list[str]]:
    """The new configuration as far as it can take effect, and the options that cannot."""
    waiting = list(_waiting(running, new))
    tables: Mapping[str, msgspec.Struct] = {
        table: msgspec.structs.replace(
            getattr(new, table),
            **{option: getattr(getattr(running, table), option) for option in options},
        )
        for table, options in FIXED.items()
    }
    return msgspec.structs.replace(new, **tables), waiting


def _waiting(running: Configuration, new: Configuration) -> Iterator[str]:
    for table, options in FIXED.items():
        for option in options:
            if getattr(getattr(running, table), option) != getattr(getattr(new, table), option):
                yield f"{table}.{option}"
