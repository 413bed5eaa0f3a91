"""What `clima provision` does beside Elasticsearch's own assets: it waits, and sees to who may in.

Passwords are those of the vault, one file per user. A part's user gets it whenever it has another
one; a person's password is theirs once the user is there. The forwarder's API key is made when
the file has none that does what it has to; older keys work until `clima rotate --finish`.
"""

from __future__ import annotations

import asyncio
import time
import tomllib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from clima_core import files
from clima_core.errors import ClimaError, ConfigurationError, UnavailableError
from clima_elk import users
from clima_elk.elasticsearch import InstallError
from clima_elk.privileges import lacking, needed
from clima_elk.server import Server, detect
from clima_elk.steps import Do, Step
from clima_elk.users import User, forwarder_roles
from clima_elk.vault import Vault
from clima_forwarder import config
from clima_forwarder.outputs import elasticsearch
from clima_forwarder.outputs.elasticsearch.connection import Connection, LoginError

KEY_FILE = Path("/services/forwarder/api_key")
LOOK_S = 1.0
UNKNOWN_S = 20.0  # that a server which has only just started may know nobody


async def ready(connection: Connection, wait_s: float, waiting: Callable[[str], None]) -> Server:
    """What the server has, once it answers; `waiting` is told its address if that takes a while.

    Raises UnavailableError when it does not within `wait_s`, LoginError when the credentials are
    wrong, ConfigurationError when its version is.
    """
    began, told = time.monotonic(), False
    while True:
        try:
            await connection.request("GET", "/_cluster/health", msgspec.Raw, timeout="5s")
            await connection.check_version()
            return await detect(connection.exchange)
        except InstallError as error:
            problem = refused(connection, error)
        except ClimaError as error:
            problem = error
        waited = time.monotonic() - began
        unknown = isinstance(problem, LoginError) and waited < min(UNKNOWN_S, wait_s)
        if not (unknown or (isinstance(problem, UnavailableError) and waited < wait_s)):
            raise problem
        if not told:
            waiting(connection.url)
            told = True
        await asyncio.sleep(LOOK_S)


def refused(connection: Connection, error: InstallError) -> ClimaError:
    """The error, with its mend, for what the server refused."""
    problem = connection.refusal(error)
    if "derived api keys" in error.reason:
        return ConfigurationError(
            f"{connection.url}: an API key may not make another one; give a user name and password,"
            " or make the forwarder's key yourself (docs/provisioning.md)"
        )
    return ConfigurationError(str(problem)) if error.status in (400, 409) else problem


async def check_privileges(connection: Connection, server: Server, *, roles: bool) -> None:
    """Raise ConfigurationError that names every privilege that is missing."""
    if not server.security:
        return
    missing = await lacking(connection.exchange, needed(server, roles=roles))
    if missing:
        raise ConfigurationError(
            f"{connection.url}: these credentials may not provision; they lack"
            f" {'; '.join(missing)} (docs/provisioning.md has the whole list)"
        )


def without_key(path: Path | None, environ: Mapping[str, str]) -> Mapping[str, str]:
    """An environment in which the configuration can be read before its API key is made."""
    if path is None:
        return environ
    try:
        table = tomllib.loads(path.read_text("utf-8")).get("output", {})
    except (OSError, ValueError):
        return environ  # whoever reads it next says what is wrong
    prefix = f"{config.ENVIRONMENT_PREFIX}_OUTPUT__"
    if table.get("type") == "logstash":
        table, prefix = table.get("elasticsearch", {}), f"{prefix}ELASTICSEARCH__"
    key = table.get("api_key")
    if not isinstance(key, dict) or (path.parent / str(key.get("file"))).exists():
        return environ
    return {**environ, f"{prefix}API_KEY": "not made yet"}


@dataclass(frozen=True)
class Access:
    """Who is to be let in, and how the tries go."""

    connection: Connection
    options: elasticsearch.Options
    vault: Vault
    key_file: Path | None
    output: str

    async def steps(self) -> list[Step]:
        """What there is to do about users and the API key, where the server keeps them."""
        known = [user for user in users.users(self.output) if self.vault.has(user.name)]
        return [*[await self._user(user) for user in known], *await self._key()]

    async def _user(self, user: User) -> Step:
        request, password = self.connection.exchange, self.vault.read(user.name)
        if user.person and await users.exists(request, user.name):
            return Step("user", user.name, "there", None, "has a password of its own")
        given = {"username": user.name, "password": password, "api_key": None}
        if await users.has_roles(request, user):
            if await self._let_in(msgspec.structs.replace(self.options, **given)):
                return Step("user", user.name, "same")
            state = "has another password"
        else:
            state = "missing, or has other roles"
        return Step("user", user.name, state, self._put(user, password.reveal()))

    async def _key(self) -> list[Step]:
        if self.key_file is None:
            return []
        request, roles = self.connection.exchange, forwarder_roles(self.output)
        encoded = self.key_file.read_text("ascii").strip() if self.key_file.exists() else ""
        name = users.FORWARDER_KEY
        if encoded and await users.key_is_current(request, encoded, roles):
            return [Step("API key", name, "same", None, f"in {self.key_file}")]
        state = "may not do just this, or is no more" if encoded else "missing"
        return [Step("API key", name, state, self._new_key(roles), f"in {self.key_file}")]

    async def _let_in(self, options: elasticsearch.Options) -> bool:
        trial = Connection(options)
        try:
            status, _ = await trial.exchange("GET", "/_security/_authenticate")
        finally:
            await trial.close()
        return status == 200

    def _put(self, user: User, password: str) -> Do:
        async def do() -> str:
            await users.put_user(self.connection.exchange, user, password)
            return "has the vault's password"

        return do

    def _new_key(self, roles: Sequence[str]) -> Do:
        async def do() -> str:
            encoded = await users.create_api_key(self.connection.exchange, roles)
            if self.key_file:
                files.write(self.key_file, encoded.encode(), 0o600)
            return "made"

        return do


async def done(connection: Connection, steps: Sequence[Step]) -> AsyncIterator[tuple[Step, str]]:
    """Do them one by one; a failure says what has been done by then, and what has not."""
    pending = [step for step in steps if step.do]
    for number, step in enumerate(pending):
        try:
            assert step.do  # noqa: S101, just filtered
            yield step, await step.do()
        except (InstallError, ClimaError) as error:
            problem = refused(connection, error) if isinstance(error, InstallError) else error
            left = ", ".join(f"{each.what} {each.name}" for each in pending[number:])
            stopped = (
                f"{problem}\n{number} of {len(pending)} steps are done; not done: {left}."
                "\nWhat is done may stay; run it again when this is mended"
            )
            raise _like(problem, stopped) from error


def _like(problem: ClimaError, message: str) -> ClimaError:
    for kind in (ConfigurationError, UnavailableError):
        if isinstance(problem, kind):
            return kind(message)
    return ClimaError(message)
