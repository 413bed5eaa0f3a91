"""Logging, set up once by each `main`: one event per line on standard error.

JSON for machines, `key=value` on a terminal; times in UTC. For systemd's journal each line begins
with its priority, so that `journalctl -p warning` finds it. Events are past-tense names with fields
(`batch_acknowledged`, records=1000). What libraries log by `logging` takes the same road.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from typing import Literal, TextIO

import msgspec
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

Level = Literal["debug", "info", "warning", "error"]
_FIRST = ("timestamp", "level", "event")
_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}  # of syslog(3)


def setup(
    level: Level = "info", *, extra: Sequence[Processor] = (), stream: TextIO | None = None
) -> None:
    """Send events of `level` and above through `extra`, in order, and on to the stream.

    An extra processor sees each event before it is rendered, with `timestamp`, `level` and
    `event` set; it returns the event, or raises `structlog.DropEvent` to keep it off the stream.
    """
    stream = stream or sys.stderr
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        *extra,
        *_renderers(stream),
    ]
    structlog.configure(
        processors=shared,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(handlers=[_Bridge()], level=logging.WARNING, force=True)
    logging.captureWarnings(capture=True)


def _renderers(stream: TextIO) -> list[Processor]:
    if stream.isatty():
        return [_console()]
    json = structlog.processors.JSONRenderer(_json)
    return [_Journal(json)] if _is_journal(stream) else [json]


def _is_journal(stream: TextIO) -> bool:
    """Whether systemd's journal is at the other end, as systemd.exec(5) says how to see."""
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):  # no file at all
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


class _Journal:
    """Puts the priority before the line, as sd-daemon(3) has it; the journal takes it off again."""

    def __init__(self, render: Processor) -> None:
        self._render = render

    def __call__(self, logger: WrappedLogger, name: str, event: EventDict) -> str:
        priority = _PRIORITIES.get(str(event.get("level")), 6)
        return f"<{priority}>{self._render(logger, name, event)!s}"


class _Bridge(logging.Handler):
    """Hands on what libraries log, as an event of the library's name."""

    def emit(self, record: logging.LogRecord) -> None:
        logger = structlog.get_logger().bind(logger=record.name)
        logger.log(record.levelno, record.getMessage(), exc_info=record.exc_info or None)


def _console() -> Processor:
    return structlog.processors.LogfmtRenderer(
        key_order=_FIRST, drop_missing=True, bool_as_flag=False
    )


def _json(event: EventDict, **_: object) -> str:
    ordered = {**{key: event.pop(key) for key in _FIRST if key in event}, **event}
    return msgspec.json.encode(ordered, enc_hook=str).decode()
