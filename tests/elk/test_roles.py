"""Each role may do its job and nothing else, on real servers.

By files (`roles.yml`) on Maven's distribution, which has no native roles, and by API keys on a full
server: the definitions are the same.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from clima_core.configuration import Secret
from clima_core.identity import DEAD_LETTERS, Lane
from clima_core.ranges import Ranges
from clima_elk import users
from clima_elk.provision import plan
from clima_elk.retention import OF_STREAM, RETENTION
from clima_elk.roles import roles, roles_yml
from clima_elk.server import detect
from clima_elk.steps import Order
from clima_forwarder.outputs.base import Highest
from clima_forwarder.outputs.elasticsearch import Options
from clima_forwarder.outputs.elasticsearch.connection import Connection
from clima_forwarder.outputs.elasticsearch.output import Output
from clima_forwarder.outputs.elasticsearch.queries import Archive
from tests import elasticsearch_server
from tests.conftest import missing
from tests.elasticsearch_server import Server
from tests.elk.conftest import connected
from tests.elk.readings import WEATHER, document
from tests.forwarder.outputs.stores import documents, letter

PASSWORD = secrets.token_urlsafe(12)
STRAIGHT = users.forwarder_roles("elasticsearch")
HOLDERS: Mapping[str, tuple[str, ...]] = {
    **{name.replace("_", "-"): (name,) for name in roles()},
    "straight": STRAIGHT,
}
READING = document("test-role", "0123456789ab", 1, "2013-01-01T06:00:00Z", {})
LETTER = {
    "@timestamp": "2013-01-01T06:00:00Z",
    "event": {"id": "test-role:0123456789ab:w:2", "sequence": 2, "original": "{"},
    "station": {"id": "test-role", "journal": "0123456789ab"},
    "deadletter": {"stream": "w", "encoding": "utf-8"},
    "error": {"type": "malformed", "message": "not a JSON object"},
}
JOURNAL = {
    "station": {"id": "test-role", "journal": "0123456789ab"},
    "stream": "w",
    "first": 1,
    "last": 1,
    "since": "2013-01-01T06:00:00Z",
    "reported": "2013-01-01T06:00:00Z",
    "waiting": [],
    "dropped": [],
}
ALERT = {"@timestamp": "2013-01-01T06:00:00Z", "rule": {"id": "test"}, "message": "test-role"}
ADD, LETTERS, REPORT, READ, MONITOR = "add", "add a dead letter", "report", "read", "monitor"
TELL = "tell of an alert"
TRIES: Mapping[str, list[tuple[str, str, Any]]] = {
    ADD: [("POST", f"/{WEATHER}/_create/NEW", READING)],
    LETTERS: [("POST", f"/{DEAD_LETTERS.name}/_create/NEW", LETTER)],
    REPORT: [("PUT", "/clima-journals/_doc/test-role", JOURNAL)],
    TELL: [("POST", "/clima-alerts/_doc?op_type=index", ALERT)],  # as Kibana's connector does
    READ: [
        ("POST", f"/{WEATHER}/_search", {"size": 0}),
        ("GET", f"/{WEATHER}/_mapping", None),
        ("GET", "/clima-journals/_mapping", None),
    ],
    "refresh": [("POST", f"/{WEATHER},{DEAD_LETTERS.name},clima-journals/_refresh", None)],
    MONITOR: [("GET", "/_license", None), ("GET", "/_cluster/health", None)],
    "anything else": [
        ("PUT", "/BACKING/_doc/SEEN?if_seq_no=0&if_primary_term=1", READING),
        ("POST", "/BACKING/_update/SEEN", {"doc": {"weather": {"air_temperature": 99}}}),
        ("DELETE", "/BACKING/_doc/SEEN", None),
        ("DELETE", "/BACKING", None),
        ("DELETE", f"/{WEATHER}", None),
        ("DELETE", "/clima-journals", None),
        ("DELETE", "/clima-journals/_doc/test-role", None),
        ("POST", f"/{WEATHER}/_rollover", None),
        ("PUT", f"/{WEATHER}/_settings", {"index.blocks.write": True}),
        ("PUT", f"/{WEATHER}/_mapping", {"properties": {"mine": {"type": "keyword"}}}),
        ("PUT", "/clima-mine", {}),
        ("PUT", "/mine", {}),
        ("POST", "/mine/_doc", {"mine": 1}),
        ("POST", "/metrics-mine-default/_create/1", READING),
        ("PUT", "/_component_template/clima-weather", {"template": {}}),
        ("GET", "/_security/user", None),
        ("GET", "/_security/role/superuser", None),
        ("PUT", "/_security/user/mine", {"password": "a-password", "roles": ["superuser"]}),
        ("POST", "/_security/api_key", {"name": "mine"}),
        ("PUT", "/_cluster/settings", {"persistent": {"action.auto_create_index": "false"}}),
    ],
}
MAY: Mapping[str, set[str]] = {
    "clima-writer": {ADD, LETTERS},
    "clima-reader": {READ, "refresh"},
    "clima-forwarder": {READ, "refresh", LETTERS, REPORT},
    "straight": {READ, "refresh", LETTERS, REPORT, ADD},
    "clima-logstash": {ADD, LETTERS, MONITOR},
    "clima-dashboards": {READ, TELL},
    "clima-person": {READ, MONITOR},
}


@dataclass(frozen=True)
class Guarded:
    """A provisioned server that asks for credentials, and who holds which roles there."""

    server: Server
    options: Callable[[str], Options]

    @property
    def backing(self) -> str:
        """The index that readings are written to."""
        answer = self.server.request("GET", f"/_resolve/index/{WEATHER}")
        return str(answer["data_streams"][0]["backing_indices"][-1])


async def provisioned(server: Server) -> None:
    """With one reading in it."""
    connection = connected(server)
    try:
        found = await detect(connection.exchange)
        for step in await plan(Order(connection.exchange, found, overwrite=True)):
            if step.do:
                await step.do()
    finally:
        await connection.close()
    server.request("PUT", "/clima-journals/_doc/test-role?refresh=true", JOURNAL)
    if not seen(server):
        server.request("PUT", f"/{WEATHER}/_create/SEEN?refresh=true", READING)


def seen(server: Server) -> int:
    query = {"query": {"ids": {"values": ["SEEN"]}}}
    path = f"/{WEATHER}/_count?ignore_unavailable=true"
    return int(server.request("POST", path, query)["count"])


def hashed(password: str) -> str:
    """As Elasticsearch's own hasher writes it."""
    salt = secrets.token_bytes(32)
    key = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, 1000, 32)
    return f"{{PBKDF2}}1000${base64.b64encode(salt).decode()}${base64.b64encode(key).decode()}"


@pytest.fixture(scope="module")
def by_files() -> Iterator[Guarded]:
    """A server of these tests' own that has its users and roles in files."""
    members = {role: [name for name, held in HOLDERS.items() if role in held] for role in roles()}
    server = elasticsearch_server.own(
        password=PASSWORD,
        files={
            "roles.yml": roles_yml(),
            "users": "".join(f"{name}:{hashed(PASSWORD)}\n" for name in HOLDERS),
            "users_roles": "".join(f"{role}:{','.join(of)}\n" for role, of in members.items()),
        },
    )
    if server is None:
        missing("elasticsearch", "no Elasticsearch of one's own: see tests/elasticsearch_server.py")
        return
    try:
        server.start()
        asyncio.run(provisioned(server))
        url, password = server.url, Secret(PASSWORD)
        yield Guarded(server, lambda name: Options(url=url, username=name, password=password))
    finally:
        server.stop()


@pytest.fixture(scope="module")
def by_api_keys(full_elasticsearch: Server) -> Iterator[Guarded]:
    """The full server, with an API key for each."""
    name = f"test-{secrets.token_hex(4)}"

    async def made() -> dict[str, Secret]:
        connection = connected(full_elasticsearch)
        try:
            request = connection.exchange
            return {
                holder: Secret(await users.create_api_key(request, held, name))
                for holder, held in HOLDERS.items()
            }
        finally:
            await connection.close()

    asyncio.run(provisioned(full_elasticsearch))
    keys = asyncio.run(made())
    yield Guarded(
        full_elasticsearch, lambda holder: Options(url=full_elasticsearch.url, api_key=keys[holder])
    )
    full_elasticsearch.request("DELETE", "/_security/api_key", {"name": name})


@pytest.fixture(params=["by_files", "by_api_keys"])
def guarded(request: pytest.FixtureRequest) -> Guarded:
    """Both, one after the other."""
    found: Guarded = request.getfixturevalue(request.param)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("holder", HOLDERS)
async def test_a_role_may_do_its_job_and_nothing_else(guarded: Guarded, holder: str) -> None:
    """Tried, one by one; a try that is refused for another reason proves nothing."""
    connection, backing = Connection(guarded.options(holder)), guarded.backing
    wrong = []
    try:
        for what, tries in TRIES.items():
            for method, path, body in tries:
                fitted = path.replace("BACKING", backing).replace("NEW", secrets.token_hex(6))
                data = None if body is None else msgspec.json.encode(body)
                status, answer = await connection.exchange(method, fitted, data)
                allowed = status in (200, 201)
                if allowed != (what in MAY[holder]) or not (allowed or status == 403):
                    wrong.append((what, method, path, status, answer[:300]))
    finally:
        await connection.close()
    assert [] == wrong
    assert 1 == seen(guarded.server)


@pytest.mark.slow
async def test_the_forwarder_does_all_its_work_with_its_own_roles(
    guarded: Guarded, station: str, journal: str
) -> None:
    """Straight, from opening to the audit; without the writer's role it writes no reading."""
    lane = Lane(journal, "w")
    given = msgspec.structs.replace(guarded.options("straight"), install_templates=False)
    output, archive = Output(given), Archive(given)
    through_logstash = Output(msgspec.structs.replace(guarded.options("clima-forwarder")))
    try:
        await output.open()
        results = await output.create(documents(station, lane, [1, 2]))
        assert ["stored", "stored"] == [each.status for each in results]
        assert ["exists"] == [
            each.status for each in await output.create(documents(station, lane, [2]))
        ]
        assert ["stored"] == [
            each.status for each in await output.dead_letter([letter(station, lane, 3)])
        ]
        assert {"w": Highest(3, 0)} == await output.highest(station, journal)
        await archive.open()
        presence = await archive.presence(station, lane)
        assert (Ranges([(1, 2)]), Ranges([(3, 3)])) == (presence.stored, presence.dead)
        kept = {stream: RETENTION[name] for stream, name in OF_STREAM.items()}
        assert kept == await archive.retention()
        (refused,) = await through_logstash.create(documents(station, lane, [4]))
        assert "retry" == refused.status
        assert "unauthorized" in refused.reason
    finally:
        for each in (output, archive, through_logstash):
            await each.close()


async def test_an_api_key_that_is_renewed_puts_the_older_ones_out(
    full_elasticsearch: Server,
) -> None:
    """Those of its name alone; the one to keep goes on."""
    connection = connected(full_elasticsearch)
    request, name = connection.exchange, f"test-{secrets.token_hex(4)}"
    try:
        old = await users.create_api_key(request, ("clima_forwarder",), name)
        other = await users.create_api_key(request, ("clima_reader",), f"{name}-other")
        new = await users.create_api_key(request, ("clima_forwarder",), name)
        assert await users.key_is_current(request, new, ("clima_forwarder",), name)
        assert not await users.key_is_current(request, new, STRAIGHT, name)
        assert [users.key_id(old)] == await users.invalidate_api_keys(request, [new], name)
        assert not await users.key_is_current(request, old, ("clima_forwarder",), name)
        for key, status in (old, 401), (new, 200), (other, 200):
            as_key = connected(full_elasticsearch, api_key=key)
            assert status == (await as_key.exchange("GET", "/_security/_authenticate"))[0]
            await as_key.close()
    finally:
        await users.invalidate_api_keys(request, name=name)
        await users.invalidate_api_keys(request, name=f"{name}-other")
        await connection.close()


def test_every_user_has_roles_that_there_are() -> None:
    """And every role says whose it is."""
    known = roles()
    assert known.keys() >= {role for user in users.USERS for role in user.roles or ()}
    for name, role in known.items():
        assert role["metadata"]["managed_by"] == "clima", name
        assert role["metadata"]["description"], name
        assert not {"all", "manage", "write", "delete", "manage_security"} & {
            *role["cluster"],
            *(privilege for index in role["indices"] for privilege in index["privileges"]),
        }, name
