"""The users that Clima's parts log in as, and the forwarder's API key.

Everything here asks for `manage_security`. A password that is set counts at once; an API key is
made anew beside the older ones, which work until they are invalidated, so that a change loses
nothing.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec

from clima_elk.elasticsearch import InstallError, Request
from clima_elk.roles import descriptors

FORWARDER_KEY = "clima-forwarder"
WRITER = "clima_writer"


class User(NamedTuple):
    """A user; `roles` is None for one that Elasticsearch brings along."""

    name: str
    roles: tuple[str, ...] | None
    full_name: str
    person: bool = False


USERS: tuple[User, ...] = (
    User("kibana_system", None, "Kibana"),
    User("clima_logstash", ("clima_logstash",), "Clima: Logstash"),
    User("clima_forwarder", ("clima_forwarder",), "Clima: the forwarder"),
    User("clima_dashboards", ("clima_dashboards",), "Clima: the import of dashboards"),
    User("clima", ("clima_person",), "Clima", person=True),
)


class _Key(msgspec.Struct, frozen=True):
    id: str
    invalidated: bool = False
    metadata: dict[str, Any] = {}


class _Keys(msgspec.Struct, frozen=True):
    api_keys: list[_Key]


class _Created(msgspec.Struct, frozen=True):
    encoded: str


def users(output: str = "logstash") -> tuple[User, ...]:
    """The users where the forwarder writes to `output`; straight, it needs a writer's role too."""
    return tuple(
        user._replace(roles=forwarder_roles(output)) if user.name == "clima_forwarder" else user
        for user in USERS
    )


def forwarder_roles(output: str = "logstash") -> tuple[str, ...]:
    """The roles of the forwarder's user and API key, where it writes to `output`."""
    return ("clima_forwarder",) if output == "logstash" else ("clima_forwarder", WRITER)


async def has_roles(request: Request, user: User) -> bool:
    """Whether the user is there and has just these roles."""
    status, answer = await request("GET", f"/_security/user/{quote(user.name)}", None)
    if status not in (200, 404):
        raise InstallError(f"/_security/user/{user.name}", status, answer)
    found = msgspec.json.decode(answer).get(user.name)
    return found is not None and user.roles in (None, tuple(found["roles"]))


async def exists(request: Request, name: str) -> bool:
    """Whether there is such a user."""
    status, answer = await request("GET", f"/_security/user/{quote(name)}", None)
    if status not in (200, 404):
        raise InstallError(f"/_security/user/{name}", status, answer)
    return status == 200


async def put_user(request: Request, user: User, password: str) -> None:
    """Make the user, or give it this password and these roles.

    Raises InstallError when the server refuses.
    """
    if user.roles is None:
        await set_password(request, user.name, password)
        return
    body = {
        "password": password,
        "roles": user.roles,
        "full_name": user.full_name,
        "metadata": {"managed_by": "clima"},
    }
    await _done(request, "PUT", f"/_security/user/{quote(user.name)}", body)


async def set_password(request: Request, name: str, password: str) -> None:
    """Give a user that exists a new password; its roles stay.

    Raises InstallError when the server refuses, as it does for a user that is not there.
    """
    path = f"/_security/user/{quote(name)}/_password"
    await _done(request, "POST", path, {"password": password})


async def create_api_key(
    request: Request, roles: Sequence[str] = ("clima_forwarder",), name: str = FORWARDER_KEY
) -> str:
    """A new API key that may do what these roles may, in the form that `api_key` options take.

    Raises InstallError when the server refuses; it lets no API key make another.
    """
    body = {
        "name": name,
        "role_descriptors": descriptors(*roles),
        "metadata": key_metadata(roles),
    }
    answer = await _done(request, "POST", "/_security/api_key", body)
    return msgspec.json.decode(answer, type=_Created).encoded


def key_metadata(roles: Sequence[str]) -> dict[str, Any]:
    """What an API key says of itself: so that one whose roles have changed is made anew."""
    versions = {
        name: hashlib.sha256(msgspec.json.encode(role)).hexdigest()[:16]
        for name, role in descriptors(*roles).items()
    }
    return {"managed_by": "clima", "roles": versions}


async def key_is_current(
    request: Request, encoded: str, roles: Sequence[str], name: str = FORWARDER_KEY
) -> bool:
    """Whether the server still takes this key, and it may do what these roles may now."""
    mine = key_id(encoded)
    return any(
        each.id == mine and each.metadata == key_metadata(roles)
        for each in await _keys(request, name)
    )


async def invalidate_api_keys(
    request: Request, keep: Sequence[str] = (), name: str = FORWARDER_KEY
) -> list[str]:
    """Put every key of that name out, but those to `keep` (as `create_api_key` gave them).

    Returns the ids of those that were put out.
    """
    kept = {key_id(encoded) for encoded in keep}
    ids = [each.id for each in await _keys(request, name) if each.id not in kept]
    if ids:
        await _done(request, "DELETE", "/_security/api_key", {"ids": ids})
    return ids


def key_id(encoded: str) -> str | None:
    """The id within an API key; None where it is none."""
    try:
        return base64.b64decode(encoded, validate=True).decode().partition(":")[0]
    except (binascii.Error, UnicodeDecodeError):
        return None


async def _keys(request: Request, name: str) -> list[_Key]:
    """The keys of that name that work."""
    status, answer = await request("GET", f"/_security/api_key?name={quote(name)}", None)
    if status == 404:
        return []
    if status != 200:
        raise InstallError("/_security/api_key", status, answer)
    found = msgspec.json.decode(answer, type=_Keys).api_keys
    return [each for each in found if not each.invalidated]


async def _done(request: Request, method: str, path: str, body: dict[str, Any]) -> bytes:
    status, answer = await request(method, path, msgspec.json.encode(body))
    if status not in (200, 201):
        raise InstallError(path, status, answer)
    return answer
