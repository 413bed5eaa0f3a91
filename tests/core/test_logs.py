"""Logs: one event per line, for machines or for people, and nothing of a library's lost."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest
import structlog

from clima_core import logs


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Logging is global: leave it as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    logging.captureWarnings(capture=False)
    root.handlers[:], root.level = handlers, level


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_events_are_json_where_nobody_looks() -> None:
    """Time, level and event first; whatever JSON has no form for is written as text."""
    stream = io.StringIO()
    logs.setup(stream=stream)
    structlog.get_logger().info("batch_acknowledged", records=3, path=Path("x"))
    (event,) = lines(stream)
    assert list(event)[:3] == ["timestamp", "level", "event"]
    del event["timestamp"]
    expected = {"level": "info", "event": "batch_acknowledged", "records": 3, "path": "x"}
    assert expected == event


def test_events_are_read_on_a_terminal() -> None:
    """`key=value`, one line each."""
    stream = Terminal()
    logs.setup(stream=stream)
    structlog.get_logger().info("sensor_failed", sensor="bme280", reason="no answer")
    text = stream.getvalue()
    assert text.startswith("timestamp=")
    assert text.endswith('level=info event=sensor_failed sensor=bme280 reason="no answer"\n')


def test_the_level_is_a_threshold() -> None:
    """Below it nothing is written."""
    stream = io.StringIO()
    logs.setup("warning", stream=stream)
    structlog.get_logger().info("tick")
    structlog.get_logger().warning("clock_stepped")
    assert ["clock_stepped"] == [event["event"] for event in lines(stream)]


def test_an_extra_processor_sees_each_event_before_it_is_written() -> None:
    """With its level and time, as the agent needs for spooling its own log."""
    seen = []

    def spool(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        seen.append((event["level"], event["event"], "timestamp" in event))
        return event

    logs.setup(extra=[spool], stream=io.StringIO())
    structlog.get_logger().error("spool_full")
    assert [("error", "spool_full", True)] == seen


def test_an_exception_stays_on_the_events_line() -> None:
    """A traceback is a field, so that one event is one line."""
    stream = io.StringIO()
    logs.setup(stream=stream)
    try:
        raise ValueError("odd")
    except ValueError:
        structlog.get_logger().exception("reading_failed")
    (event,) = lines(stream)
    assert "ValueError: odd" in event["exception"]


def test_what_libraries_log_takes_the_same_road() -> None:
    """From warning upwards, under the library's name."""
    stream = io.StringIO()
    logs.setup(stream=stream)
    logging.getLogger("a_library").info("quiet")
    logging.getLogger("a_library").warning("node %s is down", "a")
    (event,) = lines(stream)
    assert ("a_library", "node a is down") == (event["logger"], event["event"])


def test_the_journal_is_told_the_priority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line per event, whatever is in it; and only where it is the journal that reads."""
    path = tmp_path / "journal"
    with path.open("w") as stream:
        found = path.stat()
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
        logs.setup("debug", stream=stream)
        for level in ("debug", "info", "warning", "error"):
            getattr(structlog.get_logger(), level)("said", text="two\nlines")
        logging.getLogger("library").error("oops")
    elsewhere = io.StringIO()
    logs.setup(stream=elsewhere)
    structlog.get_logger().info("said")

    said = path.read_text().splitlines()
    assert ["<7>{", "<6>{", "<4>{", "<3>{", "<3>{"] == [line[:4] for line in said]
    assert {"two\nlines"} == {json.loads(line[3:])["text"] for line in said[:4]}
    assert elsewhere.getvalue().startswith("{")
