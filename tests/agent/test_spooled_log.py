"""The agent's own log on the road of its readings."""

from __future__ import annotations

from typing import Any

import pytest

from clima_agent.clock import Keeper
from clima_agent.config import Station
from clima_agent.inbox import Inbox
from clima_agent.spool import Spool
from clima_agent.spooled_log import SpooledLog


def left(level: str, **event: Any) -> list[Any]:
    """What an event leaves in the inbox."""
    inbox = Inbox()
    given = {"level": level, "timestamp": "t", **event}
    assert given == SpooledLog(inbox, Station(id="roof"), Keeper("system"))(
        None, level, dict(given)
    )
    taken = inbox.take()
    inbox.close()
    return [(item.stream, item.document) for item in taken]


def test_an_event_becomes_a_record() -> None:
    """With its level, name and fields; the event itself goes on."""
    ((stream, document),) = left(
        "warning", event="sensor_failed", logger="clima_agent.sampler", sensor="bme280", count=3
    )
    assert "l" == stream
    assert "sensor_failed" == document["message"]
    assert {"level": "warning", "logger": "clima_agent.sampler"} == document["log"]
    assert {"sensor": "bme280", "count": "3"} == document["labels"]


def test_what_would_never_end_is_left_out() -> None:
    """Debug, and that log records had to go: each would make another."""
    assert [] == left("debug", event="anything")
    assert [] == left("error", event="records_dropped", stream="l")
    assert 1 == len(left("error", event="records_dropped", stream="w"))


@pytest.mark.parametrize("text", ["x" * 200_000, "\udcff" * 5000, "ü" * 100_000, '"' * 90_000])
def test_any_event_fits_into_a_record(text: str) -> None:
    """Whatever is in its fields: a log line must not stop a station."""
    fields = {f"{text[:2000]}{number}": text for number in range(100)}
    ((_, document),) = left("error", event=text, exception=text, **fields)
    spool = Spool(":memory:", "roof")
    spool.append("l", [document])
    assert 1 == len(spool.recent("l", 5))
    spool.close()
