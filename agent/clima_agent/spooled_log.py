"""The agent's own log, on the same road as its readings: a structlog processor."""

from __future__ import annotations

from datetime import UTC, datetime

from structlog.typing import EventDict, WrappedLogger

from clima_agent import document
from clima_agent.config import Station
from clima_agent.inbox import Inbox

_OWN = {"event", "level", "timestamp", "logger", "exception"}
_LONGEST = 8000  # characters of a stack trace: the end of it is what matters


class SpooledLog:
    """Leaves a copy of each event of level info and above in the inbox."""

    def __init__(self, inbox: Inbox, station: Station) -> None:
        self._inbox = inbox
        self._station = station

    def __call__(self, _: WrappedLogger, level: str, event: EventDict) -> EventDict:
        """Copy the event. One about log records given up is not: it would never end."""
        about_logs = event["event"] == "records_dropped" and event.get("stream") == "l"
        if level != "debug" and not about_logs:
            self._inbox.put("l", self._document(event))
        return event

    def _document(self, event: EventDict) -> document.Document:
        now = datetime.now(UTC)
        trace = event.get("exception")
        return document.log(
            now,
            str(event["level"]),
            event.get("logger"),
            str(event["event"]),
            self._station,
            now,
            labels={str(name): value for name, value in event.items() if name not in _OWN},
            error={"stack_trace": str(trace)[-_LONGEST:]} if trace else None,
        )
