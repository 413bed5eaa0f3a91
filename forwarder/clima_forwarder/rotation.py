"""New passwords and a new API key, in an order that can be stopped at any point.

A password is proposed (written beside the old one), told to Elasticsearch, and adopted. Stopped
before the second step, the old one is right everywhere; stopped after it, the proposed one is,
and the next run tells it again, which changes nothing, and adopts it. Services that still have
the old one cannot store until they are restarted: what they hold stays in their queues, and
stations keep what is not stored.

An API key is made beside the older ones, and written; those work until `finish` puts them out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from clima_core import files
from clima_core.configuration import Secret
from clima_core.errors import ConfigurationError
from clima_elk import users
from clima_elk.elasticsearch import InstallError
from clima_elk.vault import ELASTIC, LOGSTASH_INPUT, Vault
from clima_forwarder import operator
from clima_forwarder.outputs.elasticsearch import Options
from clima_forwarder.outputs.elasticsearch.connection import Connection

API_KEY = "api_key"
PASSWORDS = (*(user.name for user in users.USERS), LOGSTASH_INPUT, ELASTIC)
"""What can be renewed beside the API key; `elastic` last, since it is who does it."""

READERS: Mapping[str, tuple[str, ...]] = {
    "kibana_system": ("kibana",),
    "clima_logstash": ("logstash",),
    LOGSTASH_INPUT: ("logstash", "forwarder"),
    API_KEY: ("forwarder",),
}
"""The services that read a secret when they start."""


@dataclass(frozen=True)
class Rotation:
    """What is renewed, and where; without a vault only the API key can be."""

    vault: Vault
    options: Options
    key_file: Path
    output: str = "logstash"
    kind: Literal["native", "file"] = "native"

    async def connect(self) -> Connection:
        """Elasticsearch as `elastic`, by whichever password is the right one.

        Raises ConfigurationError, with the mend, when none is.
        """
        if self.kind == "file":  # nobody is told anything
            return Connection(self.options)
        connection = Connection(await operator.acting(self.options, self.vault.folder))
        if self.vault.has(ELASTIC):
            status, _ = await connection.exchange("GET", "/_security/_authenticate")
            if status == 401:
                await connection.close()
                raise operator.locked_out(self.vault.folder)
        return connection

    async def renew(self, connection: Connection, name: str) -> None:
        """Renew one password, or finish a renewal that was stopped."""
        if name == API_KEY:
            await self._renew_key(connection)
            return
        password = self.vault.propose(name)
        try:
            if self.kind == "native" and name != LOGSTASH_INPUT:
                if not await users.exists(connection.exchange, name):
                    raise ConfigurationError(f'Elasticsearch has no user "{name}": provision first')
                await users.set_password(connection.exchange, name, password.reveal())
        except InstallError as error:
            raise connection.refusal(error) from error
        self.vault.adopt(name)

    async def _renew_key(self, connection: Connection) -> None:
        try:
            encoded = await users.create_api_key(
                connection.exchange, users.forwarder_roles(self.output)
            )
        except InstallError as error:
            raise connection.refusal(error) from error
        files.write(self.key_file, encoded.encode(), 0o600)

    async def finish(self, connection: Connection) -> list[str]:
        """Put every older API key out; returns their ids. The one in the file has to work."""
        encoded = self._key()
        given = msgspec.structs.replace(self.options, api_key=encoded, username=None, password=None)
        trial = Connection(given)
        try:
            status, _ = await trial.exchange("GET", "/_security/_authenticate")
        finally:
            await trial.close()
        if status != 200:
            raise ConfigurationError(
                f"{self.key_file}: Elasticsearch does not take this key; `clima rotate api_key`"
            )
        try:
            return await users.invalidate_api_keys(connection.exchange, [encoded.reveal()])
        except InstallError as error:
            raise connection.refusal(error) from error

    def written(self) -> float:
        """When the API key was, in seconds since 1970; ConfigurationError where there is none."""
        self._key()
        return self.key_file.stat().st_mtime

    def _key(self) -> Secret:
        try:
            return Secret(self.key_file.read_text("ascii").strip())
        except OSError as error:
            raise ConfigurationError(
                f"{self.key_file}: cannot be read: {error.strerror}; --key-file says where it is"
            ) from error


def readers(names: Sequence[str], kind: str) -> list[str]:
    """The services to restart after these were renewed, in the order to do it in."""
    found = {service for name in names for service in READERS.get(name, ())}
    if kind == "file":
        found |= {"forwarder"} if "clima_forwarder" in names else set()
    return sorted(found, key=("logstash", "kibana", "forwarder").index)


def unfinished(vault: Vault) -> list[str]:
    """The secrets whose renewal was stopped."""
    return [name for name in PASSWORDS if vault.proposed(name) is not None]
