"""Elasticsearch, written straight by bulk: for a host that needs no Logstash.

This module holds the options alone, so that reading a configuration does not import the client.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import msgspec

from clima_core.configuration import Secret
from clima_forwarder.login import check_login, check_url


class Options(msgspec.Struct, frozen=True, kw_only=True, tag="elasticsearch", tag_field="type"):
    """`[output]` with `type = "elasticsearch"`; API key or user name with password, or neither."""

    url: str = "http://127.0.0.1:9200"
    api_key: Secret | None = None
    username: str | None = None
    password: Secret | None = None
    ca_file: Path | None = None
    verify: bool = True
    timeout_s: Annotated[float, msgspec.Meta(gt=0)] = 30.0
    install_templates: bool = True  # false where `clima provision` has, and this user may not

    def __post_init__(self) -> None:
        check_url(self.url)
        if self.api_key and self.username:
            raise ValueError("api_key and username: give one of the two")
        check_login(self.username, self.password)

    @property
    def address(self) -> str:
        """The url with its port spelt out, as the client wants it."""
        parts = urlsplit(self.url)
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        port = parts.port or {"http": 80, "https": 443}[parts.scheme]
        return f"{parts.scheme}://{host}:{port}{parts.path}"
