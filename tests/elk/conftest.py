"""A connection to a server, as one of its users."""

from __future__ import annotations

from clima_core.configuration import Secret
from clima_forwarder.outputs.elasticsearch import Options
from clima_forwarder.outputs.elasticsearch.connection import Connection
from tests.elasticsearch_server import Server


def connected(server: Server, user: tuple[str, str] | None = None, api_key: str = "") -> Connection:
    """A connection as this user, or with this key; else as the one who may do everything."""
    name, password = user or server.user or ("", "")
    if api_key:
        return Connection(Options(url=server.url, api_key=Secret(api_key)))
    if not name:
        return Connection(Options(url=server.url))
    return Connection(Options(url=server.url, username=name, password=Secret(password)))
