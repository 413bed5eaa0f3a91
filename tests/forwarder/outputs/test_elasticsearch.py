"""The output `elasticsearch`: what goes wrong, and how it is told apart."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import msgspec
import pytest
from aiohttp import web

from clima_core.configuration import Secret, convert
from clima_core.errors import ConfigurationError, UnavailableError
from clima_core.identity import DATA_SETS, DEAD_LETTERS, Lane
from clima_core.ranges import Ranges
from clima_forwarder.outputs.base import Found, Highest
from clima_forwarder.outputs.elasticsearch import Options
from clima_forwarder.outputs.elasticsearch.connection import Connection
from clima_forwarder.outputs.elasticsearch.output import Output
from tests.elasticsearch_server import Server
from tests.forwarder.outputs.stores import document, documents, letter, opened

WEATHER = DATA_SETS["w"].name
HEADERS = {"X-Elastic-Product": "Elasticsearch"}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class StandIn:
    """An HTTP server that answers as a test likes, and counts what it was asked."""

    def __init__(self, handler: Handler) -> None:
        self.asked: Counter[str] = Counter()
        self._handler = handler
        self.url = ""

    @asynccontextmanager
    async def running(self, **options: object) -> AsyncIterator[Output]:
        """An output that talks to it."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._count)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        output = Output(convert({"url": self.url, **options}, Options, "test"))
        try:
            yield output
        finally:
            await output.close()
            await runner.cleanup()

    async def _count(self, request: web.Request) -> web.StreamResponse:
        self.asked[f"{request.method} {request.path}"] += 1
        await request.read()
        return await self._handler(request)


def answers(status: int, body: object = None) -> StandIn:
    """A server that says the same to everything."""

    async def handler(_: web.Request) -> web.StreamResponse:
        return web.json_response(body or {"error": "as told"}, status=status, headers=HEADERS)

    return StandIn(handler)


CREATED, BUSY = {"create": {"status": 201}}, {"create": {"status": 429}}


@pytest.mark.parametrize(
    "answer",
    [
        {"took": 1},
        {"errors": True},
        {"errors": True, "items": [BUSY]},
        {"errors": True, "items": [BUSY, CREATED, CREATED]},
        {"errors": True, "items": [BUSY, {"create": {}}]},
    ],
)
async def test_an_answer_that_does_not_fit_leaves_the_outcome_unknown(
    answer: object, station: str, journal: str
) -> None:
    """A proxy's, or one that was cut: nothing in it may count for another record."""
    async with answers(200, answer).running() as output:
        with pytest.raises(UnavailableError):
            await output.create(documents(station, Lane(journal, "w"), [1, 2]))


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
async def test_a_busy_server_leaves_the_outcome_unknown(
    status: int, station: str, journal: str
) -> None:
    """The caller decides whether to send again: the client does not."""
    server = answers(status)
    async with server.running() as output:
        with pytest.raises(UnavailableError, match=f"answered {status} to POST /_bulk: as told"):
            await output.create(documents(station, Lane(journal, "w"), [1]))
    assert {"POST /_bulk": 1} == server.asked


@pytest.mark.parametrize(
    ("status", "mend"),
    [(401, "credentials"), (403, "privilege"), (404, "url"), (413, "max_content_length")],
)
async def test_what_the_operator_has_to_mend_says_how(
    status: int, mend: str, station: str, journal: str
) -> None:
    """A wrong password is no reason to wait for better times."""
    async with answers(status).running() as output:
        with pytest.raises(ConfigurationError, match=f"answered {status} .*{mend}"):
            await output.create(documents(station, Lane(journal, "w"), [1]))


async def test_a_cluster_that_is_blocked_is_waited_for(station: str, journal: str) -> None:
    """It answers 403, as to a user who may not: yet no privilege is lacking."""
    blocked = {"type": "cluster_block_exception", "reason": "blocked by: [FORBIDDEN/6/read-only]"}
    async with answers(403, {"error": blocked}).running() as output:
        with pytest.raises(UnavailableError, match=r"read-only\]$"):
            await output.create(documents(station, Lane(journal, "w"), [1]))


async def test_a_server_that_hangs_is_given_up(station: str, journal: str) -> None:
    """After the time-out, and it is not asked a second time."""

    async def hang(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(60)
        raise AssertionError

    server = StandIn(hang)
    async with server.running(timeout_s=0.2) as output:
        with pytest.raises(UnavailableError, match="in time"):
            await output.create(documents(station, Lane(journal, "w"), [1]))
    assert {"POST /_bulk": 1} == server.asked


async def test_a_bulk_on_a_connection_that_breaks_is_not_sent_again(
    station: str, journal: str
) -> None:
    """Least of all in silence, on a kept-alive connection, as aiohttp does with a PUT."""

    async def first_answers_then_breaks(request: web.Request) -> web.StreamResponse:
        if server.asked["POST /_bulk"] == 1:
            return web.json_response({"errors": False}, headers=HEADERS)
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    server = StandIn(first_answers_then_breaks)
    async with server.running() as output:
        await output.create(documents(station, Lane(journal, "w"), [1]))
        with pytest.raises(UnavailableError, match="no connection"):
            await output.create(documents(station, Lane(journal, "w"), [2]))
    assert {"POST /_bulk": 2} == server.asked


async def test_what_provision_installs_is_left_to_it() -> None:
    """The forwarder's own key may not, nor may it look: it asks what made the data streams."""

    async def answer(request: web.Request) -> web.Response:
        assert "GET" == request.method
        if request.path == "/_nodes":
            return web.json_response({"nodes": {}}, headers=HEADERS)
        if request.path.startswith("/_index_template"):
            return web.json_response({"error": "as told"}, status=403, headers=HEADERS)
        data_set = request.path.rpartition(".")[2].partition("-")[0]
        made_by = templates.get(data_set, f"clima-{data_set}")
        answer = {"data_streams": [{"name": "x", "template": made_by}]}
        return web.json_response(answer, headers=HEADERS)

    templates: dict[str, str] = {}
    async with StandIn(answer).running(install_templates=False) as output:
        await output.open()
        templates["weather"] = "metrics"
        with pytest.raises(ConfigurationError, match=r"clima-weather, .* `clima provision`"):
            await output.open()


async def test_nobody_at_home() -> None:
    """One message, with the address and a question worth asking."""
    output = Output(Options(url="http://127.0.0.1:1"))
    with pytest.raises(UnavailableError, match=r"http://127\.0\.0\.1:1.*is it running\?"):
        await output.open()
    await output.close()


async def test_each_document_of_a_bulk_is_judged_for_itself(station: str, journal: str) -> None:
    """Only what is wrong with the document itself refuses it for good."""
    items = [
        (201, None),
        (409, "version_conflict_engine_exception"),
        (429, "es_rejected_execution_exception"),
        (503, "unavailable_shards_exception"),
        (403, "cluster_block_exception"),
        (400, "validation_exception"),
        (400, "document_parsing_exception"),
    ]
    body = {
        "errors": True,
        "items": [
            {
                "create": {
                    "status": status,
                    **({"error": {"type": kind, "reason": "so"}} if kind else {}),
                }
            }
            for status, kind in items
        ],
    }
    async with answers(200, body).running() as output:
        results = await output.create(documents(station, Lane(journal, "w"), range(1, 8)))
    expected = ["stored", "exists", "retry", "retry", "retry", "retry", "refused"]
    assert expected == [result.status for result in results]
    assert "document_parsing_exception: so" == results[-1].reason


async def test_a_pipeline_that_is_gone_is_no_records_fault(
    elasticsearch: Server, station: str, journal: str
) -> None:
    """Indices were restored into a cluster that nobody has provisioned: the records wait."""
    name = f"scratch-{journal}"
    elasticsearch.request("PUT", f"/{name}", {"settings": {"index.final_pipeline": f"no-{name}"}})
    line = msgspec.json.encode({"create": {"_id": "1"}}) + b'\n{"event":{"sequence":1}}\n'
    try:
        connection = Connection(Options(url=elasticsearch.url))
        path = f"/{name}/_bulk"
        said = await connection.request("POST", path, dict[str, object], line)
        await connection.close()
    finally:
        elasticsearch.request("DELETE", f"/{name}")
    async with answers(200, said).running() as output:
        (result,) = await output.create(documents(station, Lane(journal, "w"), [1]))
    assert "retry" == result.status, result.reason


async def test_a_refresh_that_missed_a_shard_is_none(station: str, journal: str) -> None:
    """What it did not make visible would be taken for not stored, and sent again."""
    shards = {"_shards": {"total": 2, "successful": 1, "failed": 1}, "responses": []}
    server = answers(200, shards)
    async with server.running() as output:
        with pytest.raises(UnavailableError, match="1 of 2 shards"):
            await output.find(station, Lane(journal, "w"), 1, 9, since=time.monotonic())
    assert [] == [asked for asked in server.asked if "_msearch" in asked]


@pytest.mark.parametrize(
    ("version", "fits"), [("7.17.9", False), ("8.2.3", False), ("8.3.0", True), ("10.0.0", True)]
)
async def test_a_server_that_is_too_old_is_refused(version: str, fits: bool) -> None:
    """At once, by name of its version; the nodes tell it, since `GET /` may be closed."""
    server = answers(200, {"nodes": {"a": {"version": version}}})
    async with server.running():
        connection = Connection(Options(url=server.url))
        try:
            if fits:
                await connection.check_version()
            else:
                with pytest.raises(ConfigurationError, match=f"{version}.*8.3 or newer"):
                    await connection.check_version()
        finally:
            await connection.close()


async def test_what_is_not_elasticsearch_is_named_so() -> None:
    """A router's web page under the same address."""

    async def page(_: web.Request) -> web.StreamResponse:
        return web.Response(text="<html>Login</html>", content_type="text/html")

    async with StandIn(page).running() as output:
        with pytest.raises(ConfigurationError, match="is not Elasticsearch: check url"):
            await output.open()


async def test_a_mapping_rejection_refuses_one_record_alone(
    elasticsearch: Server, station: str, journal: str
) -> None:
    """The batch it came in is stored."""
    lane = Lane(journal, "w")
    batch = documents(station, lane, [1, 2, 3])
    batch[1] = document(station, lane, 2, weather={"air_temperature": "warm"})
    async with opened(Options(url=elasticsearch.url)) as (output, archive):
        results = await output.create(batch)
        assert ["stored", "refused", "stored"] == [result.status for result in results]
        assert "air_temperature" in results[1].reason
        assert Ranges.of([1, 3]) == (await archive.presence(station, lane)).stored


async def test_a_rollover_frees_the_identities_and_the_audit_sees_it(
    elasticsearch: Server, station: str, journal: str
) -> None:
    """Refused within one backing index, taken again in the next: so suspects are looked for."""
    lane = Lane(journal, "w")
    async with opened(Options(url=elasticsearch.url)) as (output, archive):
        first = documents(station, lane, range(1, 11))
        await output.create(first)
        assert {"exists"} == {result.status for result in await output.create(first)}
        elasticsearch.rollover(WEATHER)
        found = await output.find(station, lane, 8, 12, since=time.monotonic())
        assert [Found(n, documents(station, lane, [n])[0].body) for n in (8, 9, 10)] == found
        assert {"stored"} == {result.status for result in await output.create(first[3:5])}
        await output.create(documents(station, lane, range(11, 21)))
        found = await output.find(station, lane, 4, 4, since=time.monotonic())
        assert [4, 4] == [each.sequence for each in found]
        presence = await archive.presence(station, lane)
        assert (Ranges([(1, 20)]), Ranges([(4, 5)])) == presence[:2]
        assert {"w": Highest(20, 0)} == await output.highest(station, journal)


async def test_a_search_sees_what_was_written_before_it(
    elasticsearch: Server, station: str, journal: str
) -> None:
    """And refreshes no more often than that takes."""
    lane = Lane(journal, "w")
    async with opened(Options(url=elasticsearch.url)) as (output, _):
        before = time.monotonic()
        await output.create(documents(station, lane, [1]))
        assert [1] == [f.sequence for f in await output.find(station, lane, 1, 9, since=before)]
        await output.create(documents(station, lane, [2]))
        await output.dead_letter([letter(station, lane, 3)])
        since = time.monotonic()
        found = await output.find(station, lane, 1, 9, since=since)
        assert [1, 2, 3] == [each.sequence for each in found]


async def test_a_bare_dead_letter_has_the_record_and_no_reason(
    elasticsearch: Server, station: str, journal: str
) -> None:
    """It may have been the reason that the server refused."""
    whole = letter(station, Lane(journal, "w"), 1)
    async with opened(Options(url=elasticsearch.url)) as (output, _):
        await output.dead_letter([msgspec.structs.replace(whole, bare=True)])
        query = {"query": {"term": {"event.id": whole.id}}}
        path = f"/{DEAD_LETTERS.name}/_search"
        elasticsearch.request("POST", f"/{DEAD_LETTERS.name}/_refresh")
        (hit,) = elasticsearch.request("POST", path, query)["hits"]["hits"]
    assert whole.body.decode() == hit["_source"]["event"]["original"]
    assert {"@timestamp", "event", "station", "deadletter"} == hit["_source"].keys()


@pytest.mark.slow
async def test_what_was_stored_survives_a_kill(
    elasticsearch: Server, station: str, journal: str
) -> None:
    """The same connection works again once the server is back."""
    lane = Lane(journal, "w")
    async with opened(Options(url=elasticsearch.url)) as (output, archive):
        await output.create(documents(station, lane, range(1, 1001)))
        await asyncio.to_thread(elasticsearch.kill)
        with pytest.raises(UnavailableError):
            await output.create(documents(station, lane, [1001]))
        await asyncio.to_thread(elasticsearch.start)
        found = await output.find(station, lane, 1001, 1001, since=time.monotonic())
        if not found:
            await output.create(documents(station, lane, [1001]))
        presence = await archive.presence(station, lane)
        assert (Ranges([(1, 1001)]), Ranges()) == presence[:2]


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({"url": "elastic.example:9200"}, "http://"),
        ({"url": "http://me:secret@elastic.example"}, "not in the url"),
        ({"api_key": "k", "username": "u", "password": "p"}, "one of the two"),
        ({"username": "u"}, "without the other"),
        ({"timeout_s": 0}, "timeout_s"),
    ],
)
def test_options_that_cannot_work_are_refused(table: dict[str, object], problem: str) -> None:
    """With what is wrong, and never with the secret."""
    with pytest.raises(ConfigurationError, match=problem) as raised:
        convert(table, Options, "forwarder.toml")
    assert "secret" not in str(raised.value)


def test_secrets_stay_out_of_sight() -> None:
    """Options are logged and printed."""
    options = Options(api_key=Secret("hidden-key"))
    assert "hidden-key" not in f"{options} {options!r}"


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("https://elastic.example", "https://elastic.example:443"),
        ("http://elastic.example/es", "http://elastic.example:80/es"),
        ("http://[::1]:9200", "http://[::1]:9200"),
    ],
)
def test_the_port_may_be_left_out(url: str, address: str) -> None:
    """As everywhere else."""
    assert address == Options(url=url).address
