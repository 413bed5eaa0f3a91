"""The agent's own log, on the same road as its readings: a structlog processor."""

from __future__ import annotations

from datetime import datetime

from structlog.typing import EventDict, WrappedLogger

from clima_agent import document
from clima_agent.clock import Keeper
from clima_agent.config import Station
from clima_agent.inbox import Inbox

_OWN = {"event", "level", "timestamp", "logger", "exception"}
_LONGEST = 8000  # characters of a stack trace: the end of it is what matters
_LONGEST_LABEL, _MOST_LABELS = 1000, 20  # so that any event fits into a record


class SpooledLog:
    """Leaves a copy of each event of level info and above in the inbox."""

    def __init__(self, inbox: Inbox, station: Station, clock: Keeper) -> None:
        self._inbox = inbox
        self._station = station
        self._clock = clock

    def __call__(self, _: WrappedLogger, level: str, event: EventDict) -> EventDict:
        """Copy the event. One about log records given up is not: it would never end."""
        about_logs = event["event"] == "records_dropped" and event.get("stream") == "l"
        if level != "debug" and not about_logs:
            stamp = self._clock.stamp()
            made = self._document(event, stamp.time)
            made = document.flagged(made, "l", stamp.flags, stamp.uncertainty_s)
            self._inbox.put("l", made, stamp.moment)
        return event

    def _document(self, event: EventDict, now: datetime) -> document.Document:
        trace = event.get("exception")
        labels = [item for item in event.items() if item[0] not in _OWN][:_MOST_LABELS]
        return document.log(
            now,
            str(event["level"]),
            event.get("logger"),
            _text(event["event"]),
            self._station,
            labels={_text(name): _text(value) for name, value in labels},
            error={"stack_trace": _utf8(trace)[-_LONGEST:]} if trace else None,
        )


def _text(value: object) -> str:
    return _utf8(value)[:_LONGEST_LABEL]


def _utf8(value: object) -> str:
    """Text that JSON can hold: a file's name need not be one."""
    return str(value).encode("utf-8", "replace").decode()
