"""Elasticsearch by way of Logstash: sent by HTTP, and stored when Elasticsearch is seen to have it.

This module holds the options alone, so that reading a configuration does not import the clients.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import msgspec

from clima_core.configuration import Secret
from clima_forwarder.login import check_login
from clima_forwarder.outputs import elasticsearch


class Options(msgspec.Struct, frozen=True, kw_only=True, tag="logstash", tag_field="type"):
    """`[output]` with `type = "logstash"`; `[output.elasticsearch]` is where it writes to."""

    url: str = "http://127.0.0.1:8080"
    username: str | None = None
    password: Secret | None = None
    statistics_url: str = "http://127.0.0.1:9600"
    ca_file: Path | None = None
    timeout_s: Annotated[float, msgspec.Meta(gt=0)] = 30.0
    confirm_s: Annotated[float, msgspec.Meta(ge=1)] = 30.0
    elasticsearch: elasticsearch.Options = elasticsearch.Options()

    def __post_init__(self) -> None:
        for name in ("url", "statistics_url"):
            parts = urlsplit(getattr(self, name))
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ValueError(f"{name}: must be http://… or https://…")
            if parts.username or parts.password:
                raise ValueError(f"{name}: give the user name and password as options, not in it")
        check_login(self.username, self.password)
