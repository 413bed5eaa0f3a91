"""What options that name a server and a login must agree on."""

from __future__ import annotations

from urllib.parse import urlsplit

from clima_core.configuration import Secret


def check_url(url: str) -> None:
    """Raise ValueError unless it is http(s) with a host, and without credentials."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f'url "{parts.hostname or url}": must be http://… or https://…')
    if parts.username or parts.password:
        raise ValueError("url: give the user name and password as options, not in the url")


def check_login(username: str | None, password: Secret | None) -> None:
    """Raise ValueError when there is one without the other."""
    if bool(username) != bool(password):
        raise ValueError("username and password: one is no use without the other")
