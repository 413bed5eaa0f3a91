"""One official client, whose every failure is one of Clima's errors, and which never sends twice.

Requests go through the client's `perform_request` with bytes in and typed structs out: nothing
is encoded or decoded twice. Bulks are POSTs on purpose: the client's own `bulk` is a PUT, which
aiohttp takes for idempotent and silently sends again over a fresh connection when a kept-alive
one breaks. After a rollover that would store every document of it twice.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from elastic_transport import ConnectionTimeout, Serializer, TlsError, TransportError
from elasticsearch import ApiError, AsyncElasticsearch, UnsupportedProductError

from clima_core.errors import ClimaError, ConfigurationError, UnavailableError
from clima_elk.elasticsearch import Cause, InstallError, reason
from clima_elk.server import numbers
from clima_forwarder.outputs.elasticsearch import Options

T = TypeVar("T")

OLDEST = (8, 3)
# Of a server that is away it warns at each try; our own log says it once, and when it is back.
logging.getLogger("elastic_transport").setLevel(logging.ERROR)

_MIMETYPES = ("application/json", "application/x-ndjson", "text/*")
_MENDS = {
    401: "the credentials are wrong: check api_key, or username and password",
    403: "the user lacks a privilege: grant what the message names",
    404: "no such path or index: check that url is the root of Elasticsearch",
    413: "the request is too large: raise http.max_content_length of the server or proxy",
}
_BLOCKED = "cluster_block_exception"  # answered with 403 too, and no fault of the user's


class LoginError(ConfigurationError):
    """Elasticsearch does not know who asks: whoever knows where the login is from may say more."""


class _Bytes(Serializer):
    """Bodies are bytes already, and answers are decoded by who knows their type."""

    mimetype = "application/json"

    def loads(self, data: bytes) -> bytes:
        return data

    def dumps(self, data: bytes) -> bytes:
        return data


class _Node(msgspec.Struct, frozen=True):
    version: str


class _Nodes(msgspec.Struct, frozen=True):
    nodes: dict[str, _Node] = {}


class BulkItem(msgspec.Struct, frozen=True):
    """What became of one line of a bulk."""

    status: int
    error: Cause | None = None


class BulkAnswer(msgspec.Struct, frozen=True):
    """What became of each line of a bulk, under the name of its action."""

    items: list[dict[str, BulkItem]]


class _Failure(msgspec.Struct, frozen=True):
    error: Cause | str = ""
    status: int = 200


class _Responses(msgspec.Struct, frozen=True):
    responses: list[msgspec.Raw]


class _Shards(msgspec.Struct, frozen=True):
    total: int = 0
    failed: int = 0


class _Refreshed(msgspec.Struct, frozen=True):
    shards: _Shards = msgspec.field(default=_Shards(), name="_shards")


class Connection:
    """Requests to one Elasticsearch."""

    def __init__(self, options: Options) -> None:
        self.url = options.url
        bodies = _Bytes()
        tls: dict[str, Any] = {}
        if options.url.startswith("https"):
            tls = {"verify_certs": options.verify, "ssl_show_warn": False}
            if options.ca_file:
                tls["ca_certs"] = str(options.ca_file)
        self._client = AsyncElasticsearch(
            options.address,
            api_key=options.api_key.reveal() if options.api_key else None,
            basic_auth=(options.username, options.password.reveal())
            if options.username and options.password
            else None,
            request_timeout=options.timeout_s,
            max_retries=0,
            retry_on_timeout=False,
            serializers=dict.fromkeys(_MIMETYPES, bodies),
            **tls,
        )

    async def request(
        self,
        method: str,
        path: str,
        answer: type[T],
        body: bytes | None = None,
        **params: str,
    ) -> T:
        """The decoded answer; raises ConfigurationError or UnavailableError, with the mend."""
        status, text = await self.exchange(method, path, body, **params)
        if status < 300:
            return self.decoded(text, answer)
        raise self.refused(status, f"{method} {path}", reason(text))

    async def exchange(
        self, method: str, path: str, body: bytes | None = None, **params: str
    ) -> tuple[int, bytes]:
        """Status and body of whatever answer comes; raises only when none does."""
        kind = "application/x-ndjson" if path.endswith(("_bulk", "_msearch")) else _Bytes.mimetype
        headers = {"accept": "application/json"}
        if body is not None:
            headers["content-type"] = kind
        try:
            response = await self._client.perform_request(
                method, path, headers=headers, body=body, params=params
            )
        except UnsupportedProductError as error:
            raise ConfigurationError(f"{self.url} is not Elasticsearch: check url") from error
        except ApiError as error:
            return error.status_code, error.body if isinstance(error.body, bytes) else b""
        except TransportError as error:
            raise self._unreachable(error) from error
        return response.meta.status, response.body if response.body is not None else b"{}"

    async def searches(self, answer: type[T], *searches: tuple[str, Mapping[str, Any]]) -> list[T]:
        """Several searches at once, each of an index; one that does not exist has nothing in it.

        Raises UnavailableError rather than answer from a part of the shards.
        """
        options = {"ignore_unavailable": True, "allow_partial_search_results": False}
        body = b"".join(
            b"%b\n%b\n"
            % (msgspec.json.encode({"index": index, **options}), msgspec.json.encode(query))
            for index, query in searches
        )
        found = await self.request("POST", "/_msearch", _Responses, body)
        for response in found.responses:
            failure = self.decoded(response, _Failure)
            if failure.error:
                raise self.refused(failure.status, "a search", str(failure.error))
        return [self.decoded(response, answer) for response in found.responses]

    async def refresh(self, *indices: str) -> None:
        """Make what was written visible to searches: on every shard, or UnavailableError."""
        path = f"/{','.join(indices)}/_refresh"
        answer = await self.request("POST", path, _Refreshed, ignore_unavailable="true")
        if failed := answer.shards.failed:
            raise UnavailableError(f"{path}: {failed} of {answer.shards.total} shards failed")

    async def check_version(self) -> None:
        """Raise ConfigurationError when a node is older than Clima works with.

        `GET /` may be closed to this user, or missing: then the nodes say it, or nobody does.
        """
        status, text = await self.exchange("GET", "/_nodes", filter_path="nodes.*.version")
        if status == 403:
            return
        if status >= 300:
            raise self.refused(status, "GET /_nodes", reason(text))
        for node in self.decoded(text, _Nodes).nodes.values():
            if numbers(node.version) < OLDEST:
                raise ConfigurationError(
                    f"{self.url} is Elasticsearch {node.version}: Clima needs 8.3 or newer"
                )

    async def close(self) -> None:
        await self._client.close()

    def decoded(self, text: bytes | msgspec.Raw, answer: type[T]) -> T:
        """An answer, or a part of one, as what it should be; else UnavailableError."""
        try:
            return msgspec.json.decode(text, type=answer)
        except msgspec.MsgspecError as error:
            raise UnavailableError(
                f"{self.url} gave an answer nobody understands: {error}"
            ) from error

    def _unreachable(self, error: TransportError) -> ClimaError:
        if isinstance(error, ConnectionTimeout):
            return UnavailableError(f"{self.url} did not answer in time")
        if isinstance(error, TlsError):
            return UnavailableError(
                f"no TLS connection to {self.url}: {error.message}; check ca_file and the url"
            )
        said = error.message.replace(" ssl:default", "")  # aiohttp's word for TLS or none
        return UnavailableError(f"no connection to {self.url}: {said}; is it running?")

    def refused(self, status: int, what: str, why: str) -> ClimaError:
        """The error for an answer that is not the one asked for."""
        said = f"{self.url} answered {status} to {what}: {why}"
        if status == 429 or status >= 500 or why.startswith(_BLOCKED):
            return UnavailableError(said)
        if status in _MENDS:
            kind = LoginError if status == 401 else ConfigurationError
            return kind(f"{said}; {_MENDS[status]}")
        return ClimaError(said)

    def refusal(self, error: InstallError) -> ClimaError:
        """The same, of what the provisioning has asked for."""
        return self.refused(error.status, error.path, error.reason)
