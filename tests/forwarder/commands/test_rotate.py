"""`clima rotate`, on a server with native users: one that speaks their API, and a full one."""

from __future__ import annotations

import asyncio
import base64
import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from clima_core.errors import EXIT_CONFIGURATION, EXIT_FINDING, EXIT_OK, EXIT_UNAVAILABLE
from clima_elk import users
from clima_elk.vault import ELASTIC, LOGSTASH_INPUT, NAMES, PERSON, Vault
from clima_forwarder import config, operator
from clima_forwarder.cli import main
from clima_forwarder.doctor.finding import UncheckedError
from clima_forwarder.doctor.site import Site
from clima_forwarder.outputs.elasticsearch import Options
from clima_forwarder.outputs.elasticsearch.connection import Connection
from clima_forwarder.rotation import PASSWORDS, unfinished
from tests.elasticsearch_server import Server, free_port
from tests.elk.conftest import connected
from tests.forwarder.daemon import configuration, daemon
from tests.forwarder.security import FIRST, Security

Said = pytest.CaptureFixture[str]


class Host:
    """A vault, an API key, and the configuration of a forwarder that uses it."""

    def __init__(self, folder: Path, url: str, password: str) -> None:
        self.folder = folder
        self.url = url
        self.vault = Vault(folder / "vault")
        self.vault.make()
        (folder / "vault" / ELASTIC).write_text(password, "ascii")
        self.key_file = folder / "api_key"
        self.key_file.write_text("none", "ascii")
        self.config = configuration(
            folder,
            output=f"""
                type = "elasticsearch"
                url = "{url}"
                api_key = {{ file = "api_key" }}
            """,
        )

    def rotate(self, *arguments: str) -> int:
        """The command, with this host's folders."""
        where = ["--config", str(self.config), "--vault", str(self.vault.folder)]
        return main(["rotate", *arguments, *where, "--key-file", str(self.key_file)])

    def passwords(self) -> dict[str, str]:
        return {name: self.vault.read(name).reveal() for name in NAMES}


@pytest.fixture
def security() -> Iterator[Security]:
    """Users as provisioning makes them."""
    served = Security()
    served.passwords |= {user.name: "before" for user in users.USERS}
    yield served
    served.close()


@pytest.fixture
def host(tmp_path: Path, security: Security) -> Host:
    """A host of that server."""
    return Host(tmp_path, security.url, FIRST)


def test_everything_is_renewed(host: Host, security: Security, capsys: Said) -> None:
    """Vault and server agree on each password, all are new, and the services are named."""
    before = host.passwords()
    assert EXIT_OK == host.rotate()
    after = host.passwords()
    renewed = {name for name in before if before[name] != after[name]}
    assert set(PASSWORDS) == renewed
    assert security.passwords == {
        name: password for name, password in after.items() if name in security.passwords
    }
    said = capsys.readouterr().out
    assert "docker compose restart logstash kibana forwarder\n" in said
    assert not [secret for secret in after.values() if secret in said]


def test_the_old_key_works_until_it_is_told_to_end(host: Host, security: Security) -> None:
    """The forwarder goes on with it until it is restarted."""
    assert EXIT_OK == host.rotate("api_key")
    old = host.key_file.read_text("ascii")
    assert EXIT_OK == host.rotate("api_key")
    new = host.key_file.read_text("ascii")
    assert [True, True] == [_works(security, key) for key in (old, new)]
    assert EXIT_OK == host.rotate("--finish", "--force")
    assert [False, True] == [_works(security, key) for key in (old, new)]
    assert 0o600 == stat.S_IMODE(host.key_file.stat().st_mode)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can give away")
def test_a_key_that_root_makes_is_whose_folder_it_lies_in(host: Host) -> None:
    """Without Compose too: the forwarder runs as whoever was chosen for it, and has to read it."""
    os.chown(host.folder, 1234, 1235)
    assert EXIT_OK == host.rotate("api_key")
    found = host.key_file.stat()
    assert (1234, 1235, 0o600) == (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode))


def _works(security: Security, key: str) -> bool:
    return security.who(f"ApiKey {key}") is not None


async def test_a_forwarder_that_has_the_old_key_keeps_it(
    host: Host, security: Security, capsys: Said
) -> None:
    """It reads its key when it starts; put out before that, it could not store."""
    assert EXIT_OK == await asyncio.to_thread(host.rotate, "api_key")
    old = host.key_file.read_text("ascii")
    port = _port(host)
    async with daemon(host.folder, host.config):
        assert EXIT_OK == await asyncio.to_thread(host.rotate, "api_key")
        assert EXIT_FINDING == await asyncio.to_thread(host.rotate, "--finish")
        assert f"127.0.0.1:{port} still has the old key" in capsys.readouterr().out
        assert _works(security, old)
    async with daemon(host.folder, host.config):
        assert EXIT_OK == await asyncio.to_thread(host.rotate, "--finish")
    assert not _works(security, old)


def test_a_forwarder_that_does_not_answer_may_have_the_old_key(
    host: Host, security: Security, capsys: Said
) -> None:
    """It hangs, or is cut off; who has none says so."""
    assert EXIT_OK == host.rotate("api_key")
    old = host.key_file.read_text("ascii")
    assert EXIT_OK == host.rotate("api_key")
    port = _port(host)
    assert EXIT_FINDING == host.rotate("--finish")
    assert f"127.0.0.1:{port} does not answer" in capsys.readouterr().out
    assert _works(security, old)
    assert EXIT_OK == host.rotate("--finish", "--force")
    assert not _works(security, old)


def _port(host: Host) -> int:
    """Give the forwarder a port that the command can find."""
    port = free_port()
    text = host.config.read_text("utf-8")
    host.config.write_text(text.replace("port = 0", f"port = {port}"), "utf-8")
    return port


@pytest.mark.parametrize("name", [name for name in PASSWORDS if name != LOGSTASH_INPUT])
def test_a_second_run_mends_one_that_was_stopped(
    name: str, host: Host, security: Security, capsys: Said
) -> None:
    """Stopped after the server has the new password and before the vault says so.

    The new one is never lost: until then it lies beside the old one.
    """
    security.lose_answer = f"/_security/user/{name}/_password"
    assert EXIT_UNAVAILABLE == host.rotate(name)
    assert [name] == unfinished(host.vault)
    assert host.vault.read(name).reveal() != security.passwords[name]
    proposed = host.vault.proposed(name)
    assert proposed is not None
    assert proposed.reveal() == security.passwords[name]
    assert EXIT_OK == host.rotate(name)
    assert host.vault.read(name).reveal() == security.passwords[name]
    assert [] == unfinished(host.vault)
    capsys.readouterr()


@pytest.mark.parametrize("told", [False, True], ids=["before the server", "after the server"])
async def test_operators_go_on_after_a_renewal_of_elastic_was_stopped(
    told: bool, host: Host, security: Security, capsys: Said
) -> None:
    """By the password that the server takes: `docker compose up` comes up by itself."""
    proposed = host.vault.propose(ELASTIC).reveal()
    if told:
        security.passwords[ELASTIC] = proposed
    acting = await operator.acting(Options(url=security.url), host.vault.folder)
    assert acting.password is not None
    assert security.passwords[ELASTIC] == acting.password.reveal()

    where = ("--config", str(host.config), "--vault", str(host.vault.folder))
    provisioned = await asyncio.to_thread(main, ["provision", "--wait", "0", *where])
    assert EXIT_UNAVAILABLE == provisioned  # let in: it is this server that does no more
    assert "503" in capsys.readouterr().err


async def test_the_doctor_sees_the_server_after_a_renewal_of_elastic_was_stopped(
    host: Host, security: Security
) -> None:
    """As `elastic`; where neither password is the right one it says which file, and the mend."""
    configured = config.load(host.config, {})
    security.passwords[ELASTIC] = host.vault.propose(ELASTIC).reveal()
    async with Site(configured, vault=host.vault.folder) as site:
        await site.operator()
    security.passwords[ELASTIC] = "of another one"
    async with Site(configured, vault=host.vault.folder) as site:
        with pytest.raises(UncheckedError, match=r"vault/elastic: .*elasticsearch-reset-password"):
            await site.operator()


def test_several_at_once_come_one_after_the_other(host: Host, security: Security) -> None:
    """Each for itself would tell the server another password, and the vault would keep one."""
    with ThreadPoolExecutor(4) as pool:
        codes = list(pool.map(lambda _: host.rotate("clima_logstash", ELASTIC), range(4)))
    assert [EXIT_OK] * 4 == codes
    assert [] == unfinished(host.vault)
    for name in ("clima_logstash", ELASTIC):
        assert security.passwords[name] == host.vault.read(name).reveal()


def test_a_key_that_was_made_and_not_written_goes_with_the_next(
    host: Host, security: Security
) -> None:
    """Nobody has it; the old one in the file goes on working."""
    host.rotate("api_key")
    old = host.key_file.read_text("ascii")
    security.lose_answer = "/_security/api_key"
    assert EXIT_UNAVAILABLE == host.rotate("api_key")
    assert old == host.key_file.read_text("ascii")
    assert _works(security, old)
    host.rotate("api_key")
    assert EXIT_OK == host.rotate("--finish", "--force")
    alive = [key["id"] for key in security.keys.values() if not key["invalidated"]]
    mine = base64.b64decode(host.key_file.read_text("ascii")).decode().partition(":")[0]
    assert [mine] == alive


def test_a_password_that_is_not_in_the_vault_is_said(
    host: Host, security: Security, capsys: Said
) -> None:
    """Somebody has changed it by hand: how to go on, and nothing is changed."""
    security.passwords[ELASTIC] = "by hand"
    before = dict(security.passwords)
    assert EXIT_CONFIGURATION == host.rotate()
    assert "elasticsearch-reset-password -u elastic" in capsys.readouterr().err
    assert before == security.passwords


def test_provisioning_says_that_the_vault_is_of_another_installation(
    host: Host, security: Security, capsys: Said
) -> None:
    """A volume was deleted, or copied from elsewhere: which file, and how to go on."""
    security.passwords[ELASTIC] = "of another one"
    where = ("--config", str(host.config), "--vault", str(host.vault.folder), "--wait", "0")
    assert EXIT_CONFIGURATION == main(["provision", *where])
    said = capsys.readouterr().err
    assert str(host.vault.folder / ELASTIC) in said
    assert "elasticsearch-reset-password -u elastic" in said


def test_no_key_is_put_out_for_one_that_does_not_work(
    host: Host, security: Security, capsys: Said
) -> None:
    """The file may be of another host."""
    host.rotate("api_key")
    host.key_file.write_text(base64.b64encode(b"no:key").decode(), "ascii")
    assert EXIT_CONFIGURATION == host.rotate("--finish", "--force")
    assert "does not take this key" in capsys.readouterr().err
    assert [False] == [key["invalidated"] for key in security.keys.values()]


def test_where_there_is_no_key_nothing_is_finished(host: Host, capsys: Said) -> None:
    """It is said which file, and the option that names another."""
    host.key_file = host.folder / "none"
    assert EXIT_CONFIGURATION == host.rotate("--finish")
    assert f"{host.key_file}: cannot be read: No such file" in (said := capsys.readouterr().err)
    assert "--key-file" in said


def test_users_of_files_are_renewed_without_the_server(host: Host, capsys: Said) -> None:
    """It reads them when it is made anew."""
    before = host.passwords()
    assert EXIT_OK == host.rotate("--users", "file", "clima_forwarder")
    assert before["clima_forwarder"] != host.vault.read("clima_forwarder").reveal()
    said = capsys.readouterr().out
    assert "--force-recreate elasticsearch" in said
    assert "restart forwarder" in said


def test_users_of_files_can_be_renewed_twice(host: Host, security: Security) -> None:
    """Also before Elasticsearch is made anew, which takes the old passwords until then."""
    for _ in range(2):
        assert EXIT_OK == host.rotate("--users", "file", ELASTIC)
    assert security.passwords[ELASTIC] == FIRST


def test_what_no_service_reads_needs_no_restart(host: Host, capsys: Said) -> None:
    """A person's password, in files: Elasticsearch alone is made anew."""
    assert EXIT_OK == host.rotate("--users", "file", PERSON)
    said = capsys.readouterr().out
    assert "--force-recreate elasticsearch" in said
    assert "docker compose restart" not in said


def test_what_cannot_be_renewed_is_said(host: Host, capsys: Said) -> None:
    """A name that is none; Kibana's keys, with which it reads what it has saved."""
    for name in ("nobody", "kibana_objects_key"):
        assert EXIT_CONFIGURATION == host.rotate(name)
        assert f"{name}: cannot be renewed here" in capsys.readouterr().err


@pytest.mark.slow
def test_on_a_full_server_old_passwords_end_and_new_ones_count(
    full_elasticsearch: Server, tmp_path: Path
) -> None:
    """With real users and a real API key."""
    assert full_elasticsearch.user is not None
    host = Host(tmp_path, full_elasticsearch.url, full_elasticsearch.user[1])
    admin = connected(full_elasticsearch)

    async def provisioned(connection: Connection) -> None:
        for user in users.USERS:
            if user.roles is not None:
                await users.put_user(connection.exchange, user, host.vault.read(user.name).reveal())
        await connection.close()

    asyncio.run(provisioned(admin))
    before = host.passwords()
    try:
        assert EXIT_OK == host.rotate()
        for name in ("clima", "clima_logstash", ELASTIC):
            assert 401 == _status(full_elasticsearch, (name, before[name]))
            assert 200 == _status(full_elasticsearch, (name, host.vault.read(name).reveal()))
        first = host.key_file.read_text("ascii")
        assert EXIT_OK == host.rotate("api_key")
        assert EXIT_OK == host.rotate("--finish", "--force")
        keys = (first, host.key_file.read_text("ascii"))
        assert [401, 200] == [_status(full_elasticsearch, api_key=key) for key in keys]
    finally:
        asyncio.run(_back(full_elasticsearch, host))


async def _back(full_elasticsearch: Server, host: Host) -> None:
    assert full_elasticsearch.user is not None
    now = connected(full_elasticsearch, (ELASTIC, host.vault.read(ELASTIC).reveal()))
    await users.set_password(now.exchange, *full_elasticsearch.user)
    await now.close()


def _status(
    full_elasticsearch: Server, user: tuple[str, str] | None = None, api_key: str = ""
) -> int:
    async def asked() -> int:
        connection = connected(full_elasticsearch, user, api_key)
        status, _ = await connection.exchange("GET", "/_security/_authenticate")
        await connection.close()
        return status

    return asyncio.run(asked())
