"""Two things that Logstash is asked over HTTP: to take records, and how it is getting on.

A POST leaves one of three things behind. Taken: a 200 says that the records are in its queue.
Not taken: nothing was read of them. In doubt: everything else, for a request that hangs may be
taken after its client has gone. Whoever is in doubt must not send again before Logstash is idle.
"""

from __future__ import annotations

import base64
import ssl

import aiohttp
import msgspec

from clima_core.errors import ConfigurationError, UnavailableError
from clima_forwarder.outputs.logstash import Options

PIPELINE = "readings"
STATISTICS_TIMEOUT_S = 15.0  # a busy Logstash takes its time
_HEADERS = {"content-type": "application/x-ndjson"}
_UNTOUCHED = (408, 413, 429)  # answered before anything of the request was queued


class _Events(msgspec.Struct, frozen=True):
    entered: int = msgspec.field(name="in")
    left: int = msgspec.field(name="out")


class _Plugin(msgspec.Struct, frozen=True):
    events: _Events


class _Plugins(msgspec.Struct, frozen=True):
    filters: list[_Plugin] = []
    outputs: list[_Plugin] = []


class _Queue(msgspec.Struct, frozen=True):
    events_count: int | None = None


class _Pipeline(msgspec.Struct, frozen=True):
    """What is null or missing is not known yet: Logstash answers before its pipelines run."""

    ephemeral_id: str = ""
    events: _Events | None = None
    queue: _Queue | None = None
    plugins: _Plugins = _Plugins()


class _Statistics(msgspec.Struct, frozen=True):
    pipelines: dict[str, _Pipeline] = {}


class State(msgspec.Struct, frozen=True):
    """How far one life of Logstash is with what it took.

    `entered` counts a record before it is in the queue, `left` when its whole batch is through;
    both are exact at any time. What an earlier life left in the queue counts in `left` alone.
    `queued` is some seconds old. `held` are in the hands of a filter or an output.
    """

    life: str
    entered: int
    left: int
    queued: int
    held: int


class Connection:
    """Requests to one Logstash."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Make the client; safe to call twice. It needs a running loop."""
        if self._session is None:
            context = ssl.create_default_context(cafile=self._options.ca_file)
            self._session = aiohttp.ClientSession(
                headers=_authorization(self._options),  # its statistics ask for it as well
                connector=aiohttp.TCPConnector(ssl=context),
            )

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def post(self, body: bytes) -> str:
        """Hand over records, one JSON document a line; returns why that is in doubt, if it is.

        Raises UnavailableError or ConfigurationError when it is certain that none was taken.
        """
        url, timeout = self._options.url, aiohttp.ClientTimeout(self._options.timeout_s)
        try:
            async with self._client.post(
                url, data=body, headers=_HEADERS, timeout=timeout
            ) as response:
                status = response.status
        except aiohttp.ClientConnectorError as error:
            raise UnavailableError(f"no connection to {url}: {error}; is it running?") from error
        except (aiohttp.ClientError, TimeoutError) as error:
            return f"{url} broke off: {str(error) or 'no answer in time'}"
        if status == 200:
            return ""
        _check_credentials(url, status)
        if status in _UNTOUCHED:
            raise UnavailableError(f"{url} answered {status}: it takes no more for now")
        return f"{url} answered {status}"

    async def state(self) -> State:
        """How far it is with the records.

        Raises UnavailableError or ConfigurationError when it does not say.
        """
        url = f"{self._options.statistics_url.rstrip('/')}/_node/stats/pipelines"
        timeout = aiohttp.ClientTimeout(STATISTICS_TIMEOUT_S)
        try:
            async with self._client.get(url, timeout=timeout) as response:
                answer = await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise UnavailableError(
                f"no connection to {url}: {str(error) or 'no answer in time'}; is it running?"
            ) from error
        _check_credentials(url, response.status)
        if response.status != 200:
            raise UnavailableError(f"{url} answered {response.status}")
        try:
            pipelines = msgspec.json.decode(answer, type=_Statistics).pipelines
        except msgspec.MsgspecError as error:
            raise UnavailableError(f"{url} gave an answer nobody understands: {error}") from error
        pipeline = pipelines.get(PIPELINE, _Pipeline())
        events, queue = pipeline.events, pipeline.queue
        if events is None or queue is None or queue.events_count is None:
            raise UnavailableError(f"{url}: the pipeline {PIPELINE} does not run, or not yet")
        plugins = [*pipeline.plugins.filters, *pipeline.plugins.outputs]
        held = max((each.events.entered - each.events.left for each in plugins), default=0)
        return State(
            pipeline.ephemeral_id, events.entered, events.left, queue.events_count, max(0, held)
        )

    @property
    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise UnavailableError("the connection to Logstash is not open")
        return self._session


def _check_credentials(url: str, status: int) -> None:
    if status in (401, 403):
        raise ConfigurationError(
            f"{url} answered {status}: check username and password of [output]"
        )


def _authorization(options: Options) -> dict[str, str]:
    """Basic; aiohttp's own means for it differ from version to version."""
    if options.password is None:
        return {}
    pair = f"{options.username}:{options.password.reveal()}"
    return {"authorization": "Basic " + base64.b64encode(pair.encode()).decode()}
