"""The forwarder's own log, on its way to Logstash too: a structlog processor.

python-logstash-async sends it, from a thread of its own and over its HTTP transport. What always
holds, whatever becomes of Logstash:

- Nobody waits for it: an event is left in memory and goes on to standard error at once.
- At most `MOST_EVENTS` are in memory. Beyond that new ones are not kept; `event.sequence` shows
  the gap, and standard error says how many they were.
- What shipping says of itself stays on standard error, one line per change: shipped, it would
  make itself more to ship.
- The end is not held up for longer than `CLOSE_S`; what is not gone by then is counted and lost.
"""

from __future__ import annotations

import logging
import os
import secrets
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import msgspec
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from clima_core.configuration import Secret
from clima_core.identity import FORWARDER_LOGS
from clima_core.reading import rfc3339
from clima_forwarder.login import check_login, check_url

LOGGER = "clima_forwarder.shipping"
WORKER = "LogProcessingWorker"  # what the library's thread calls its logger
MOST_EVENTS = 2000  # of some 500 bytes, at worst 30,000
TIMEOUT_S = 5.0  # for Logstash to answer
CLOSE_S = 3.0

_OWN = {"event", "level", "timestamp", "logger", "exception", "station", "journal"}
_OURS = (LOGGER, WORKER, "logstash_async", "urllib3", "requests")
_LONGEST = 8000  # characters of a stack trace: the end of it is what matters
_LONGEST_LABEL, _MOST_LABELS = 1000, 20


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[log.logstash]`: where the pipeline `logs` listens."""

    url: str = "http://127.0.0.1:8081"
    username: str | None = None
    password: Secret | None = None

    def __post_init__(self) -> None:
        check_url(self.url)
        check_login(self.username, self.password)


@contextmanager
def processors(options: Options | None) -> Iterator[Sequence[Processor]]:
    """What `logs.setup` is to be given as `extra`; shipping ends with the context."""
    if options is None:
        yield ()
        return
    shipping = Shipping(options)
    try:
        yield (shipping,)
    finally:
        shipping.close()


class Shipping:
    """Leaves a copy of each event, but debug, for the thread that sends it."""

    def __init__(self, options: Options, *, most_events: int = MOST_EVENTS) -> None:
        # Imported late: with `requests` it takes memory that who ships nothing need not have.
        from logstash_async.worker import (  # type: ignore[import-untyped] # noqa: PLC0415
            LogProcessingWorker,
        )

        logging.getLogger(WORKER).setLevel(logging.ERROR)  # `_Transport` says it, once
        self._life = secrets.token_hex(6)
        self._most = most_events
        self._lock = threading.Lock()
        self._sequence = self._kept = self._lost = 0
        self._closed = False
        self._transport = _Transport(options)
        unused = {"host": None, "port": None, "ssl_enable": None, "ssl_verify": None}
        unused |= {"ssl_verify_flags": None, "keyfile": None, "certfile": None, "ca_certs": None}
        self._worker = LogProcessingWorker(
            **unused, transport=self._transport, database_path=None, cache={}, event_ttl=None
        )
        self._worker.start()

    def __call__(self, _: WrappedLogger, level: str, event: EventDict) -> EventDict:
        """Copy the event."""
        if level != "debug" and not str(event.get("logger", "")).startswith(_OURS):
            self._keep(event)
        return event

    def close(self) -> None:
        """Send what is left, for a while; safe to call twice."""
        if self._closed:
            return
        self._closed = True
        self._transport.close_soon()
        self._worker.shutdown()
        self._worker.join(CLOSE_S)
        self._transport.give_up()
        self._lost += self._kept - self._transport.sent
        self._say_lost()

    def _keep(self, event: EventDict) -> None:
        with self._lock:
            if self._closed:
                return
            self._sequence += 1
            if self._kept - self._transport.sent >= self._most:
                self._lost += 1
                return
            self._say_lost()
            self._kept += 1
            # The library's queue sorts by content: the time is at the front of it.
            self._worker.enqueue_event(msgspec.json.encode(self._document(event)))

    def _say_lost(self) -> None:
        if self._lost:
            _own_log().warning("log_events_lost", count=self._lost)
            self._lost = 0

    def _document(self, event: EventDict) -> dict[str, Any]:
        """The event in the fields of the data stream's template."""
        trace = event.get("exception")
        labels = [item for item in event.items() if item[0] not in _OWN][:_MOST_LABELS]
        identity = f"forwarder:{self._life}:{self._sequence}"
        document = {
            "@timestamp": rfc3339(datetime.fromisoformat(event["timestamp"])),
            "data_stream": FORWARDER_LOGS._asdict(),
            "event": {"id": identity, "sequence": self._sequence},
            "message": _text(event["event"]),
            "log": {
                "level": str(event["level"]),
                "logger": _text(event.get("logger", "clima_forwarder")),
            },
            "station": {
                field: _text(event[name])
                for field, name in (("id", "station"), ("journal", "journal"))
                if name in event
            },
            "labels": {_text(name): _text(value) for name, value in labels},
            "error": {"stack_trace": str(trace)[-_LONGEST:]} if trace else {},
        }
        return {name: value for name, value in document.items() if value}


class _Transport:
    """The library's HTTP transport, and whether it works; all but its making is one thread's."""

    def __init__(self, options: Options) -> None:
        from logstash_async.transport import (  # type: ignore[import-untyped] # noqa: PLC0415
            HttpTransport,
        )

        parts = urlsplit(options.url)
        host = parts.hostname or ""
        secure = parts.scheme == "https"
        # `requests` would hand the password to a proxy that Docker may have set for all.
        others = os.environ.get("no_proxy") or os.environ.get("NO_PROXY", "")
        os.environ["no_proxy"] = f"{others},{host}" if others else host
        self.sent = 0
        self._url = options.url
        self._works = True
        self._closing = self._given_up = False
        self._http = HttpTransport(
            f"[{host}]" if ":" in host else host,
            parts.port or (443 if secure else 80),
            timeout=TIMEOUT_S,
            ssl_enable=secure,
            path=parts.path.lstrip("/"),
            username=options.username,
            password=options.password.reveal() if options.password else None,
        )

    def send(self, events: Sequence[bytes], **_: object) -> None:
        """Send some; raises ConnectionError, and the thread tries again in a while."""
        if self._given_up:
            return
        try:
            self._http.send(events)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the log's trouble alone
            self._failed(str(error))
        else:
            self.sent += len(events)
            if not self._works:
                self._works = True
                _own_log().info("log_shipping_resumed", url=self._url)
        finally:
            self._http.close()  # which it leaves undone when it fails

    def close_soon(self) -> None:
        """From now on a failure is the end of it."""
        self._closing = True

    def give_up(self) -> None:
        """Send nothing any more."""
        self._given_up = True

    def close(self) -> None:
        """For the library; there is nothing left open."""

    def _failed(self, reason: str) -> None:
        if self._works:
            self._works = False
            _own_log().warning("log_shipping_failed", url=self._url, reason=reason)
        if self._closing:  # raised, it would be printed by the library, as plain text
            self._given_up = True
        else:
            raise ConnectionError(reason)


def _own_log() -> structlog.typing.FilteringBoundLogger:
    """Its name is a field, by which `Shipping` knows what not to ship."""
    bound: structlog.typing.FilteringBoundLogger = structlog.get_logger().bind(logger=LOGGER)
    return bound


def _text(value: object) -> str:
    return str(value)[:_LONGEST_LABEL]
