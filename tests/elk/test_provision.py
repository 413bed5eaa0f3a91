"""`clima provision` on a full server: what it does, what it leaves alone, and the way back."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest

from clima_core.errors import EXIT_CONFIGURATION, EXIT_FINDING, EXIT_OK, EXIT_UNAVAILABLE
from clima_elk.elasticsearch import assets
from clima_elk.retention import RETENTION, windows
from clima_elk.vault import Vault
from clima_forwarder.cli import main
from tests.elasticsearch_server import Server, free_port
from tests.elk.conftest import connected
from tests.elk.readings import WEATHER, document, store

Provision = Callable[..., str]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def provision(
    full_elasticsearch: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Provision]:
    """Runs the command on a server that has all of Clima's own; returns what it says."""
    assert full_elasticsearch.user
    monkeypatch.setenv("CLIMA_FORWARDER_OUTPUT__USERNAME", full_elasticsearch.user[0])
    monkeypatch.setenv("CLIMA_FORWARDER_OUTPUT__PASSWORD", full_elasticsearch.user[1])

    def run(*options: str, code: int = EXIT_OK) -> str:
        found = main(["provision", "--url", full_elasticsearch.url, *options])
        said = capsys.readouterr()
        assert code == found, said
        return said.out + said.err

    run("--overwrite", "--retention", "station=90d")
    yield run
    run("--overwrite", "--retention", "station=90d")


def body(server: Server, path: str) -> Any:
    """What the server has at an asset's path."""
    answer = server.request("GET", path)
    if path.startswith(("/_component", "/_index")):
        ((_, (entry,)),) = answer.items()
        return entry.get("component_template") or entry["index_template"]
    return answer


def state(said: str, what: str, name: str) -> str:
    """The line of a dry run that is about this."""
    (line,) = (each for each in said.splitlines() if re.match(rf"{what}\s+{name}\s", each))
    return line


def missing(server: Server, path: str) -> bool:
    try:
        server.request("GET", path)
    except HTTPError as error:
        return error.code == 404
    return False


def test_a_second_time_there_is_nothing_to_do(
    full_elasticsearch: Server, provision: Provision
) -> None:
    """Everything is there, and the plan knows it."""
    for asset in assets("ingest_pipelines", "component_templates", "index_templates", "roles"):
        assert not missing(full_elasticsearch, asset.path), asset.path
    assert re.search(r"^0 of \d+ would be changed", provision("--dry-run"), re.MULTILINE)
    assert re.search(r"^0 of \d+ changed", provision(), re.MULTILINE)


def test_a_dry_run_says_what_and_does_nothing(
    full_elasticsearch: Server, provision: Provision
) -> None:
    """Missing here; and it is still missing afterwards."""
    path = "/_security/role/clima_writer"
    full_elasticsearch.request("DELETE", path)
    assert re.search(r"missing\s+\*$", state(provision("--dry-run"), "role", "clima_writer"))
    assert missing(full_elasticsearch, path)
    assert "role clima_writer: installed" in provision()
    assert not missing(full_elasticsearch, path)


def test_what_is_older_is_replaced_and_counts_at_once(
    full_elasticsearch: Server, provision: Provision
) -> None:
    """The next reading goes to an index of the new fields; a plain index has them too."""
    path = "/_component_template/clima-weather"
    ours = body(full_elasticsearch, path)
    full_elasticsearch.request(
        "PUT", path, {"version": 0, "template": {"mappings": {"dynamic": "strict"}}}
    )
    before = full_elasticsearch.request("GET", f"/_data_stream/{WEATHER}")["data_streams"][0][
        "generation"
    ]
    assert "older" in state(provision("--dry-run"), "component template", "clima-weather")
    said = provision()
    assert f"data stream {WEATHER}: rolled over" in said
    assert "index clima-stations: has the new fields" in said
    assert ours == body(full_elasticsearch, path)
    after = full_elasticsearch.request("GET", f"/_data_stream/{WEATHER}")["data_streams"][0][
        "generation"
    ]
    assert before + 1 == after


def test_what_a_person_has_changed_is_kept(
    full_elasticsearch: Server, provision: Provision
) -> None:
    """And said, until it is to be overwritten; so is what a newer Clima has put there."""
    changed, newer = "/_index_template/clima-agent", "/_index_template/clima-station"
    ours = {path: body(full_elasticsearch, path) for path in (changed, newer)}
    full_elasticsearch.request("PUT", changed, ours[changed] | {"priority": 301})
    full_elasticsearch.request("PUT", newer, ours[newer] | {"version": 99})
    said = provision("--strict", code=EXIT_FINDING)
    assert "index template clima-agent: changed by a person; kept" in said
    assert 301 == body(full_elasticsearch, changed)["priority"]
    provision("--overwrite")
    assert ours[changed] == body(full_elasticsearch, changed)
    assert 99 == body(full_elasticsearch, newer)["version"]
    full_elasticsearch.request("PUT", newer, ours[newer])


def test_a_chosen_retention_stays(full_elasticsearch: Server, provision: Provision) -> None:
    """A later provision without the option does not undo it, nor one that brings a new version."""

    async def kept() -> dict[str, timedelta | None]:
        connection = connected(full_elasticsearch)
        try:
            return await windows(connection.exchange)
        finally:
            await connection.close()

    assert dict(RETENTION) == asyncio.run(kept())
    provision("--retention", "station=365d", "--retention", "log=forever")
    chosen = {**RETENTION, "station": timedelta(days=365), "log": None}
    assert chosen == asyncio.run(kept())
    provision()
    provision("--overwrite")
    assert chosen == asyncio.run(kept())
    provision("--retention", "station=90d", "--retention", "log=30")
    assert dict(RETENTION) == asyncio.run(kept())


def test_a_new_definition_of_a_transform_keeps_what_it_has_written(
    full_elasticsearch: Server, provision: Provision, station: str
) -> None:
    """It replaces the older one, and runs."""
    path, index = "/_transform/clima-daily", "clima-daily"
    full_elasticsearch.request(
        "PUT", f"/{index}/_doc/{station}?refresh=true", {"station": {"id": station}}
    )
    full_elasticsearch.request("POST", f"{path}/_update", {"_meta": {"version": 0}})
    assert "transform clima-daily: replaced" in provision()
    assert (
        station
        == full_elasticsearch.request("GET", f"/{index}/_doc/{station}")["_source"]["station"]["id"]
    )
    full_elasticsearch.request("DELETE", f"/{index}/_doc/{station}")
    (stats,) = full_elasticsearch.request("GET", f"{path}/_stats")["transforms"]
    assert stats["state"] in ("started", "indexing")
    full_elasticsearch.request("POST", f"{path}/_stop?wait_for_completion=true&timeout=60s")
    assert "transform clima-daily: started again" in provision()


def test_without_roles_no_privilege_for_them_is_needed(
    full_elasticsearch: Server, provision: Provision
) -> None:
    """And what is lacking is named, all of it at once."""
    indices = [{"names": ["metrics-clima.*", "logs-clima.*", "clima-*"], "privileges": ["manage"]}]
    cluster = ["monitor", "manage_index_templates", "manage_ingest_pipelines", "manage_ilm"]
    role = {"cluster": cluster, "indices": indices}
    full_elasticsearch.request("PUT", "/_security/role/test-provisioner", role)
    user = {"password": "a-long-password", "roles": ["test-provisioner"]}
    full_elasticsearch.request("PUT", "/_security/user/test-provisioner", user)
    environ = pytest.MonkeyPatch()
    environ.setenv("CLIMA_FORWARDER_OUTPUT__USERNAME", "test-provisioner")
    environ.setenv("CLIMA_FORWARDER_OUTPUT__PASSWORD", "a-long-password")
    try:
        said = provision(code=EXIT_CONFIGURATION)
        assert "on the cluster: manage_security, manage_transform" in sorted_privileges(said)
        assert "on clima-*: index, read" in sorted_privileges(said)
        said = provision("--no-roles", code=EXIT_CONFIGURATION)
        assert "manage_security" not in said
        indices[0]["privileges"] = ["manage", "read", "index"]
        role["cluster"] = [*cluster, "manage_transform"]
        full_elasticsearch.request("PUT", "/_security/role/test-provisioner", role)
        assert "0 of" in provision("--no-roles")
    finally:
        environ.undo()
        full_elasticsearch.request("DELETE", "/_security/user/test-provisioner")
        full_elasticsearch.request("DELETE", "/_security/role/test-provisioner")


def sorted_privileges(said: str) -> str:
    """The names in each list of privileges, in order."""
    return re.sub(
        r": ([a-z_]+(?:, [a-z_]+)*)",
        lambda found: ": " + ", ".join(sorted(found[1].split(", "))),
        said,
    )


def test_users_have_the_passwords_of_the_vault(
    full_elasticsearch: Server, provision: Provision, tmp_path: Path
) -> None:
    """A person's is their own from then on; the key is made once, and again when it is gone."""
    vault, key_file = Vault(tmp_path / "vault"), tmp_path / "api_key"
    names = ("clima_forwarder", "clima_dashboards", "clima")
    for name in names:
        if not missing(full_elasticsearch, f"/_security/user/{name}"):
            full_elasticsearch.request("DELETE", f"/_security/user/{name}")
    vault.make(names)
    options = ("--vault", str(vault.folder), "--key-file", str(key_file))
    provision(*options)
    for name in names:
        who = Server(full_elasticsearch.url, (name, vault.read(name).reveal()))
        assert name == who.request("GET", "/_security/_authenticate")["username"]
    key = key_file.read_text()
    assert 0o600 == key_file.stat().st_mode & 0o777
    assert "0 of" in provision(*options)
    assert key == key_file.read_text()

    for name in ("clima_forwarder", "clima"):
        path = f"/_security/user/{name}/_password"
        full_elasticsearch.request("POST", path, {"password": "another-password"})
    provision(*options)
    Server(full_elasticsearch.url, ("clima", "another-password")).request(
        "GET", "/_security/_authenticate"
    )
    password = vault.read("clima_forwarder").reveal()
    Server(full_elasticsearch.url, ("clima_forwarder", password)).request(
        "GET", "/_security/_authenticate"
    )

    provision(*options, "--output", "logstash")
    assert key != key_file.read_text()
    full_elasticsearch.request("DELETE", "/_security/api_key", {"name": "clima-forwarder"})
    assert "API key clima-forwarder: made" in provision(*options, "--output", "logstash")


def test_an_api_key_provisions_but_makes_no_other(
    full_elasticsearch: Server,
    provision: Provision,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The privileges that are documented are enough, for all but the forwarder's own key."""
    role = (resources.files("clima_elk") / "elasticsearch/provisioner.json").read_bytes()
    asked = {"name": "test-provisioner", "role_descriptors": {"it": json.loads(role)}}
    key = full_elasticsearch.request("POST", "/_security/api_key", asked)["encoded"]
    environ = "CLIMA_FORWARDER_OUTPUT__"
    try:
        with monkeypatch.context() as as_key:
            for name in ("USERNAME", "PASSWORD"):
                as_key.delenv(environ + name)
            as_key.setenv(f"{environ}API_KEY", key)
            provision("--remove", "--delete-data", "all")
            provision()
            assert re.search(r"^0 of \d+ changed", provision(), re.MULTILINE)
            said = provision("--key-file", str(tmp_path / "key"), code=EXIT_CONFIGURATION)
            assert "an API key may not make another one" in said
    finally:
        full_elasticsearch.request("DELETE", "/_security/api_key", {"name": "test-provisioner"})


def test_all_of_it_can_be_taken_away_again(
    full_elasticsearch: Server, provision: Provision, station: str, journal: str
) -> None:
    """What data that stays needs stays with it; data goes only where it is named."""
    store(
        full_elasticsearch,
        [document(station, journal, 1, "2013-01-01T06:00:00Z", {"air_temperature": 1.0})],
    )
    full_elasticsearch.request("POST", f"/{WEATHER}/_refresh")
    count = full_elasticsearch.request("GET", f"/{WEATHER}/_count")["count"]
    assert f"{count:,} documents" in provision("--remove", "--dry-run", "--delete-data", WEATHER)
    said = provision("--remove", "--delete-data", "nothing", code=EXIT_CONFIGURATION)
    assert "nothing: not there; there are " in said
    assert WEATHER in said
    provision("--delete-data", WEATHER, code=EXIT_CONFIGURATION)

    provision("--remove")
    assert count == full_elasticsearch.request("GET", f"/{WEATHER}/_count")["count"]
    for gone in ("/_transform/clima-daily", "/_security/role/clima_writer"):
        assert missing(full_elasticsearch, gone)
    store(full_elasticsearch, [document(station, journal, 2, "2013-01-01T07:00:00Z", {})])

    provision()
    provision("--remove", "--delete-data", "all")
    for asset in assets("ingest_pipelines", "ilm_policies", "component_templates", "roles"):
        assert missing(full_elasticsearch, asset.path), asset.path
    assert missing(full_elasticsearch, f"/_data_stream/{WEATHER}")
    assert missing(full_elasticsearch, "/clima-daily")


def test_what_is_in_the_way_is_said_with_what_is_not_done(
    full_elasticsearch: Server, provision: Provision
) -> None:
    """A step that fails ends the run; the next one goes on from there."""
    provision("--remove", "--delete-data", "all")
    theirs = {"index_patterns": ["metrics-clima.*"], "priority": 300, "data_stream": {}}
    full_elasticsearch.request("PUT", "/_index_template/test-in-the-way", theirs)
    try:
        said = provision(code=EXIT_CONFIGURATION)
        assert "test-in-the-way" in said
        assert re.search(r"\d+ of \d+ steps are done; not done: index template", said)
    finally:
        full_elasticsearch.request("DELETE", "/_index_template/test-in-the-way")
    provision()
    assert not missing(full_elasticsearch, "/_index_template/clima-weather")


def test_a_server_that_is_not_there_is_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    """As long as was said, and not for ever."""
    url = f"http://127.0.0.1:{free_port()}"
    assert EXIT_UNAVAILABLE == main(["provision", "--url", url, "--wait", "1.5"])
    said = capsys.readouterr().err
    assert said.startswith(f"waiting up to 1.5 s for {url} (--wait)\n")
    assert said.count("waiting") == 1
    assert "is it running?" in said
    assert "ssl:default" not in said


@pytest.mark.parametrize(
    ("asked", "in_compose"), [(["--dry-run"], True), ([], False), (["--wait", "0"], True)]
)
def test_nobody_waits_where_no_server_is_starting(
    asked: list[str], in_compose: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who only asks, or works outside of Compose, hears at once that there is none."""
    vault = tmp_path if in_compose else tmp_path / "none"
    url = f"http://127.0.0.1:{free_port()}"
    began = time.monotonic()
    code = main(["provision", "--url", url, "--vault", str(vault), *asked])
    assert (EXIT_UNAVAILABLE, True) == (code, time.monotonic() - began < 20)
    assert "waiting" not in capsys.readouterr().err
