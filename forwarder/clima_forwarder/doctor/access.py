"""Are the credentials right, do they still count tomorrow, and may they do what they are for?"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import msgspec

from clima_core.errors import UnavailableError
from clima_elk import users
from clima_elk.roles import descriptors
from clima_forwarder.doctor.finding import Finding, UncheckedError, broken, ok, together, warning
from clima_forwarder.doctor.site import Site
from clima_forwarder.outputs.elasticsearch import Options
from clima_forwarder.outputs.elasticsearch.connection import Connection
from clima_forwarder.outputs.logstash import Options as Logstash

NAME = "access"

SOON = timedelta(days=14)  # that a key expires


class _Who(msgspec.Struct, frozen=True):
    username: str
    authentication_type: str = "realm"
    api_key: dict[str, Any] = {}


class _Key(msgspec.Struct, frozen=True):
    expiration: int | None = None


class _Keys(msgspec.Struct, frozen=True):
    api_keys: list[_Key] = []


class _Privileges(msgspec.Struct, frozen=True):
    has_all_requested: bool
    cluster: dict[str, bool] = {}
    index: dict[str, dict[str, bool]] = {}


async def look(site: Site) -> list[Finding]:
    """The forwarder's credentials at Elasticsearch, and at Logstash's inputs."""
    return await together(_elasticsearch(site), _logstash(site))


async def _elasticsearch(site: Site) -> list[Finding]:
    if (options := site.elasticsearch) is None:
        return []
    connection = Connection(options)
    try:
        status, answer = await connection.exchange("GET", "/_security/_authenticate")
        if status == 401:
            return [_refused(site, options)]
        if status == 429 or status >= 502:
            raise UncheckedError(f"Elasticsearch answers {status} to everything")
        if status != 200:  # 400, 405 or 500, by version: it knows no such thing
            mend = "set xpack.security.enabled: true, unless nobody else reaches its port"
            return [warning("Elasticsearch asks nobody for credentials: security is off", mend)]
        who = msgspec.json.decode(answer, type=_Who)
        return [*await _expiry(site, connection, who), await _privileges(site, connection, who)]
    except UnavailableError as error:
        raise UncheckedError(f"Elasticsearch cannot be asked: {error}") from error
    finally:
        await connection.close()


def _refused(site: Site, options: Options) -> Finding:
    if options.api_key:
        said = "Elasticsearch refuses the forwarder's API key: expired, invalidated or mistyped"
    elif options.username:
        said = f'Elasticsearch refuses the user "{options.username}" with this password'
    else:
        said = "Elasticsearch asks for credentials, and the output has none: api_key, or username"
    renewed = site.command("rotate api_key") if options.api_key else site.command("rotate")
    return broken(said, f"{renewed}, or correct [output] in the configuration")


async def _expiry(site: Site, connection: Connection, who: _Who) -> list[Finding]:
    """When the API key ends; none of Clima's own does, but a given one may."""
    name = f'the user "{who.username}"'
    if who.authentication_type != "api_key":
        return [ok(f"Elasticsearch knows {name}")]
    status, answer = await connection.exchange(
        "GET", "/_security/api_key", id=quote(str(who.api_key.get("id", ""))), owner="true"
    )
    known = msgspec.json.decode(answer, type=_Keys).api_keys if status == 200 else []
    said = f'Elasticsearch takes the API key "{who.api_key.get("name", "")}"'
    if not known or known[0].expiration is None:
        return [ok(said)]
    ends = datetime.fromtimestamp(known[0].expiration / 1000, UTC)
    left = ends - datetime.now(UTC)
    if left < SOON:
        said = f"the forwarder's API key expires on {ends:%Y-%m-%d %H:%M} UTC"
        return [warning(said, site.command("rotate"))]
    return [ok(f"{said}, until {ends:%Y-%m-%d}")]


async def _privileges(site: Site, connection: Connection, who: _Who) -> Finding:
    """Every privilege of the roles that `clima provision` would give it."""
    output = "logstash" if site.logstash else "elasticsearch"
    roles = descriptors(*users.forwarder_roles(output)).values()
    wanted = {
        "cluster": sorted({each for role in roles for each in role.get("cluster", ())}),
        "index": [
            {"names": part["names"], "privileges": part["privileges"]}
            for role in roles
            for part in role.get("indices", ())
        ],
    }
    found = await connection.request(
        "POST", "/_security/user/_has_privileges", _Privileges, msgspec.json.encode(wanted)
    )
    if found.has_all_requested:
        return ok(f'"{who.username}" may do all that the forwarder does, as asked of the server')
    missing = [f"cluster: {name}" for name, held in found.cluster.items() if not held]
    for pattern, held in found.index.items():
        if names := [name for name, has in held.items() if not has]:
            missing.append(f"{', '.join(names)} on {pattern}")
    return broken(
        f'"{who.username}" lacks privileges: {"; ".join(missing)}',
        f"grant them, or {site.command('provision')}",
    )


async def _logstash(site: Site) -> list[Finding]:
    return [await _input(site, site.logstash)] if site.logstash else []


async def _input(site: Site, options: Logstash) -> Finding:
    """An empty batch: an input with a password answers 401 or 200, and nothing enters its queue."""
    login = site.logstash_login
    answer = await site.get(options.url, login=login, body=b"")
    if answer.status == 401:
        said = f'refuses the user "{options.username}"' if login else "asks for a password"
        mend = f"{site.command('rotate')}, or correct username and password of [output]"
        return broken(f"Logstash's input {said}", mend)
    if answer.status == 429:
        return ok("Logstash's input is busy, and takes the credentials")
    if answer.status != 200:
        return warning(f"Logstash's input answers {answer.status} to an empty batch")
    if (stranger := await site.get(options.url, body=b"")).status == 200:
        return warning(
            "Logstash's input asks nobody for a password",
            "set user and password in its http input, unless nobody else reaches its port",
        )
    return ok(f"Logstash's input takes the credentials, and no stranger's ({stranger.status})")
