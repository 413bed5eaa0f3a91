"""One record, as sent and as the store and Logstash give it back."""

from __future__ import annotations

import pytest

from clima_forwarder.outputs.content import same_content


@pytest.mark.parametrize(
    ("same", "stored"),
    [
        (True, b'{"a":1.0,"event":{"id":"x"}}'),
        (True, b'{"event":{"ingested":"2026-06-01T12:00:00Z","id":"x"},"a":1}'),
        (False, b'{"a":2,"event":{"id":"x"}}'),
        (False, b'{"a":1,"b":null,"event":{"id":"x"}}'),
    ],
)
def test_content_is_compared_but_for_what_the_store_adds(same: bool, stored: bytes) -> None:
    """The order of fields and the time of ingestion are the store's; all else is the record."""
    sent = b'{"a":1,"event":{"id":"x"}}'
    assert same == same_content(stored, sent) == same_content(sent, stored)


def test_copies_that_were_taken_in_at_different_times_are_the_same() -> None:
    """Which is what audit compares."""
    first, second = (
        b'{"event":{"ingested":"2026-06-01T12:00:0%dZ","id":"x"}}' % second for second in (1, 2)
    )
    assert same_content(first, second)


@pytest.mark.parametrize(
    ("stored", "same"),
    [
        ("2024-05-01T00:00:10Z", True),
        ("2024-05-01T00:00:10.000Z", True),
        ("2024-05-01T00:00:11Z", False),
        ("2024-05-01T00:00:10.001Z", False),
        ("at ten", False),
    ],
)
def test_the_time_may_be_written_otherwise_on_the_way(stored: str, same: bool) -> None:
    """Logstash leaves milliseconds out where there are none; that is no other record."""
    sent = b'{"@timestamp":"2024-05-01T00:00:10.000Z","a":1}'
    assert same == same_content(b'{"a":1,"@timestamp":"%b"}' % stored.encode(), sent)
