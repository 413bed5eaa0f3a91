"""What the checks look at: where everything is, and how it may be asked.

Two identities ask Elasticsearch. `store` is the forwarder's own, whose credentials and privileges
are themselves looked at, and which may read what stations sent. `operator` is whoever may look at
the server itself: in Compose the user `elastic` from the vault, elsewhere the forwarder's again.
"""

from __future__ import annotations

import asyncio
import ssl
from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

import aiohttp
import msgspec

from clima_core.errors import UnavailableError
from clima_elk.vault import ELASTIC, Vault
from clima_forwarder import operator
from clima_forwarder.config import Configuration
from clima_forwarder.doctor.finding import UncheckedError
from clima_forwarder.outputs import elasticsearch, logstash
from clima_forwarder.outputs.elasticsearch.connection import Connection

T = TypeVar("T")

ANSWER_S = 4.4  # for a connection, and for one answer; see `examination.CHECK_S`
_ANYWHERE = ("*", "0.0.0.0", "::", "[::]")  # noqa: S104 - compared with, not bound to
SERVICES = Path("/services")
MAY_NOT = (
    "these credentials may not look at the server itself (cluster privilege `monitor`); the user"
    " `elastic` may, whose password --vault has"
)


class Answer(NamedTuple):
    """What an HTTP server answered, and when we asked and had it."""

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes
    asked: datetime
    came: datetime

    def json(self) -> Any:
        """The body; UncheckedError when it is not JSON."""
        try:
            return msgspec.json.decode(self.body)
        except msgspec.MsgspecError as error:
            raise UncheckedError(f"{self.url} gives an answer that is no JSON: {error}") from error


class Site:
    """The user's station, as the doctor sees it; use it in `async with`."""

    def __init__(
        self,
        config: Configuration,
        *,
        forwarder: str | None = None,
        kibana: str | None = None,
        vault: Path = operator.VAULT,
    ) -> None:
        """`forwarder` and `kibana` are URLs; without one the configuration's, and none."""
        self.config = config
        self.compose = vault.is_dir() and SERVICES.is_dir()
        self.forwarder = (forwarder or self._configured_forwarder()).rstrip("/")
        self.kibana = kibana.rstrip("/") if kibana else None
        self.logstash = config.output if isinstance(config.output, logstash.Options) else None
        self.vault = Vault(vault)
        self.elasticsearch = _quick(config)
        acting = operator.as_operator(self.elasticsearch, vault) if self.elasticsearch else None
        self.operator_login = _login(acting)
        self.logstash_login = _login(self.logstash)
        self._store = Connection(self.elasticsearch) if self.elasticsearch else None
        self._operator: Connection | None = None
        self._tls: ssl.SSLContext | bool = _tls(self.elasticsearch, self.logstash)
        self._asked: dict[str, asyncio.Future[Any]] = {}

    async def __aenter__(self) -> Site:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_S))
        return self

    async def __aexit__(self, *_: object) -> None:
        for future in self._asked.values():
            future.cancel()
        for connection in (self._store, self._operator):
            if connection:
                await connection.close()
        await self._session.close()

    async def store(self) -> Connection:
        """Elasticsearch, as the forwarder; UncheckedError where there is none or it is no use."""
        return await self.once("store", lambda: _answering(self._store))

    async def operator(self) -> Connection:
        """Elasticsearch, as whoever may look at the server; UncheckedError as for `store`."""
        return await self.once("operator", self._as_operator)

    async def _as_operator(self) -> Connection:
        if self.elasticsearch:
            acting = await operator.acting(self.elasticsearch, self.vault.folder)
            self._operator = Connection(acting)
            if self.vault.has(ELASTIC):
                return await _answering(self._operator, str(operator.locked_out(self.vault.folder)))
        return await _answering(self._operator)

    async def ask(self, path: str, answer: type[T], **params: str) -> T:
        """GET something about the server itself, as the operator; UncheckedError if he may not."""
        connection = await self.operator()
        status, text = await connection.exchange("GET", path, None, **params)
        if status == 403:
            raise UncheckedError(MAY_NOT)
        if status != 200:
            raise connection.refused(status, f"GET {path}", text[:200].decode(errors="replace"))
        try:
            return msgspec.json.decode(text, type=answer)
        except msgspec.MsgspecError as error:
            raise UncheckedError(f"GET {path}: an answer nobody understands: {error}") from error

    async def once(self, what: str, ask: Callable[[], Awaitable[T]]) -> T:
        """The result of `ask`, which only the first caller makes; its error is everybody's."""
        if what not in self._asked:
            self._asked[what] = asyncio.ensure_future(ask())
        result: T = await asyncio.shield(self._asked[what])
        return result

    async def get(self, url: str, *, login: str | None = None, body: bytes | None = None) -> Answer:
        """GET, or with a body POST it as NDJSON; UnavailableError when no answer comes."""
        headers = {"content-type": "application/x-ndjson"} if body is not None else {}
        if login:
            headers["authorization"] = login
        asked = datetime.now(UTC)
        try:
            async with self._session.request(
                "GET" if body is None else "POST",
                url,
                data=body,
                headers=headers,
                ssl=self._tls,
                allow_redirects=False,
            ) as answer:
                text = await answer.read()
                return Answer(url, answer.status, answer.headers, text, asked, datetime.now(UTC))
        except TimeoutError as error:
            raise UnavailableError(f"{_origin(url)} does not answer in time") from error
        except (aiohttp.ClientConnectorError, OSError) as error:
            raise UnavailableError(f"{_origin(url)} cannot be reached") from error
        except aiohttp.ClientError as error:
            raise UnavailableError(f"{_origin(url)} answers no HTTP: {error}") from error

    def _configured_forwarder(self) -> str:
        http = self.config.http
        inside = self.compose and http.host in _ANYWHERE
        return f"http://forwarder:{http.port}" if inside else http.url

    @property
    def forwarder_host(self) -> str:
        """Where the forwarder's sockets are."""
        return urlsplit(self.forwarder).hostname or "127.0.0.1"

    def reachable(self, address: str) -> tuple[str, int]:
        """Host and port of a ZeroMQ address as it is bound, seen from here."""
        host, _, port = address.removeprefix("tcp://").rpartition(":")
        bound = host.strip("[]")
        loopback = bound.startswith("127.") and self.compose
        return (self.forwarder_host if host in _ANYWHERE or loopback else bound), int(port)

    def restart(self, service: str) -> str:
        """How to get a service going that does not answer."""
        if self.compose:
            return f"docker compose up -d {service}; docker compose logs --tail 50 {service}"
        if service == "forwarder":
            return "clima forward -c forwarder.toml"
        return f"start {service.capitalize()}, and look at its log"

    def command(self, name: str) -> str:
        """How to run one of Clima's commands here."""
        if not self.compose:
            return f"clima {name}"
        service = name if name in ("init", "provision") else f"cli {name}"
        return f"docker compose run --rm {service}"


def _quick(config: Configuration) -> elasticsearch.Options | None:
    """The forwarder's own way to Elasticsearch, with less patience."""
    found = operator.elasticsearch_of(config.output)
    return found and msgspec.structs.replace(found, timeout_s=ANSWER_S)


def _origin(url: str) -> str:
    """Scheme, host and port: what fails alike for every path."""
    return "/".join(url.split("/")[:3])


def _login(options: elasticsearch.Options | logstash.Options | None) -> str | None:
    """The header `Authorization`, where there is a user."""
    if options is None or not options.username or not options.password:
        return None
    login = f"{options.username}:{options.password.reveal()}"
    return f"Basic {b64encode(login.encode()).decode()}"


def _tls(
    store: elasticsearch.Options | None, via: logstash.Options | None
) -> ssl.SSLContext | bool:
    """As the forwarder checks the certificates of Elasticsearch and Logstash."""
    if store and not store.verify:
        return False
    context = ssl.create_default_context()
    for options in (store, via):
        if options and options.ca_file:
            context.load_verify_locations(options.ca_file)
    return context


async def _answering(
    connection: Connection | None,
    refused: str = "Elasticsearch refuses the credentials, so it cannot be asked",
) -> Connection:
    """The connection, once it has been seen to work: else one reason for all who want it."""
    if connection is None:
        raise UncheckedError("the output is not Elasticsearch")
    try:
        status, _ = await connection.exchange("GET", "/_security/_authenticate")
    except UnavailableError as error:
        raise UncheckedError(f"Elasticsearch cannot be asked: {error}") from error
    if status == 401:
        raise UncheckedError(refused)
    if status == 429 or status >= 502:
        raise UncheckedError(f"Elasticsearch answers {status} to everything")
    return connection
