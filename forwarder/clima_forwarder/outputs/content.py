"""Whether two documents are the same record, for all that stores and Logstash change about one."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec


def same_content(one: bytes, other: bytes) -> bool:
    """Whether both, as sent or as stored, are what the station said.

    The store adds when it took a record in. Logstash writes the time anew, and leaves `.000` out.
    """
    return bool(_said(one) == _said(other))


def _said(body: bytes) -> tuple[object, Any]:
    document = msgspec.json.decode(body)
    if isinstance(document.get("event"), dict):
        document["event"].pop("ingested", None)
    return _moment(document.pop("@timestamp", None)), document


def _moment(text: object) -> object:
    try:
        return datetime.fromisoformat(str(text))
    except ValueError:
        return text
