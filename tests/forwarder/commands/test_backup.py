"""`clima backup` and `clima restore`: from one server into another, and from file to file."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import socket
import sqlite3
import stat
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from clima_core import files, keys
from clima_core.errors import EXIT_CONFIGURATION, EXIT_FINDING, EXIT_OK, EXIT_UNAVAILABLE
from clima_core.identity import Lane
from clima_core.wire import LaneReport, StationReport
from clima_forwarder.backups import database
from clima_forwarder.cli import main
from clima_forwarder.outputs import Options, open_output, sqlite
from clima_forwarder.outputs.elasticsearch import Options as ElasticsearchOptions
from clima_forwarder.stations import Stations
from tests import elasticsearch_server
from tests.conftest import missing
from tests.elasticsearch_server import Server
from tests.forwarder.outputs.stores import START, documents, letter

LANE = Lane("0123456789ab", "w")
HEALTH = Lane("0123456789ab", "s")
WEATHER = "metrics-clima.weather-default"
NOBODY = 65534
Said = pytest.CaptureFixture[str]


class Host:
    """A user station: its configuration file, its keys, its store."""

    def __init__(self, folder: Path, output: str) -> None:
        folder.mkdir()
        self.stations = folder / "stations"
        self.key = folder / "forwarder.key"
        self.config = folder / "forwarder.toml"
        self.config.write_text(
            f'[stations]\ndirectory = "{self.stations}"\nkey_file = "{self.key}"\n'
            f"[http]\nport = {elasticsearch_server.free_port()}\n[output]\n{output}\n",
            "utf-8",
        )

    def run(self, *arguments: str) -> int:
        """One command, with this host's configuration."""
        return main([*arguments, "--config", str(self.config)])

    def audited(self, capsys: Said) -> tuple[int, Any]:
        """Exit code and answer of `clima audit`."""
        capsys.readouterr()
        code = self.run("audit", "--json")
        lanes = json.loads(capsys.readouterr().out)
        return code, lanes


async def fill(store: Options, sequences: range) -> None:
    """Readings of one station, with a dead letter and its report."""
    output = open_output(store)
    await output.open()
    await output.create(documents("roof", LANE, sequences))
    await output.dead_letter([letter("roof", LANE, sequences[-1] + 1)])
    lanes = [LaneReport(*LANE, 1, sequences[-1] + 1, START)]
    await output.report([StationReport("roof", START, lanes)])
    await output.close()


def let_in(host: Host, *stations: str) -> None:
    """The forwarder has a key, and these stations are let in."""
    keys.load_or_create(host.key)
    for station in stations:
        Stations(host.stations).add(station, keys.generate().public)


# -- SQLite ------------------------------------------------------------------------------------


@pytest.fixture
def roof(tmp_path: Path) -> Host:
    """A host whose store is one file with 50 readings and a dead letter."""
    host = Host(tmp_path / "roof", f'type = "sqlite"\npath = "{tmp_path / "roof/readings.sqlite"}"')
    asyncio.run(fill(sqlite.Options(path=tmp_path / "roof/readings.sqlite"), range(1, 51)))
    let_in(host, "roof", "shed")
    return host


@pytest.fixture
def empty(tmp_path: Path) -> Host:
    """A new host."""
    path = tmp_path / "empty/readings.sqlite"
    return Host(tmp_path / "empty", f'type = "sqlite"\npath = "{path}"')


def backups(folder: Path) -> list[Path]:
    return sorted((folder / "clima").iterdir())


def test_a_file_store_comes_back_whole(
    roof: Host, empty: Host, tmp_path: Path, capsys: Said
) -> None:
    """With the forwarder's key and the stations, and the audit says what it said."""
    before = roof.audited(capsys)
    assert EXIT_OK == roof.run("backup", "--folder", str(tmp_path / "b"))
    said = capsys.readouterr().out
    assert "51 documents, 2 stations" in said
    assert "forwarder.key is secret" in said
    assert EXIT_OK == empty.run("restore", "--folder", str(tmp_path / "b"))
    assert before == empty.audited(capsys)
    assert roof.key.read_bytes() == empty.key.read_bytes()
    shown = [Stations(host.stations).read() for host in (roof, empty)]
    assert shown[0] == shown[1]


def test_a_backup_is_its_owners_alone(roof: Host, tmp_path: Path) -> None:
    """It holds a secret key."""
    roof.run("backup", "--folder", str(tmp_path / "b"))
    (folder,) = backups(tmp_path / "b")
    modes = {
        str(path.relative_to(folder)): stat.S_IMODE(path.stat().st_mode)
        for path in (folder, folder / "forwarder.key", folder / "readings.sqlite")
    }
    assert {".": 0o700, "forwarder.key": 0o600, "readings.sqlite": 0o600} == modes


def test_a_copy_is_consistent_while_readings_come(roof: Host, tmp_path: Path, capsys: Said) -> None:
    """The forwarder has the file open and writes on."""
    store = sqlite.Options(path=tmp_path / "roof/readings.sqlite")

    async def meanwhile() -> int:
        output = open_output(store)
        await output.open()
        backing_up = asyncio.create_task(
            asyncio.to_thread(roof.run, "backup", "--folder", str(tmp_path / "b"))
        )
        sequence = 100
        while not backing_up.done():
            await output.create(documents("roof", LANE, [sequence]))
            sequence += 1
        await output.close()
        return await backing_up

    assert EXIT_OK == asyncio.run(meanwhile())
    capsys.readouterr()
    assert EXIT_OK == roof.run("backup", "--list", "--folder", str(tmp_path / "b"))
    assert re.fullmatch(r"clima-\S+  sqlite, \d+ documents\n", capsys.readouterr().out)


def test_what_is_there_is_not_overwritten(roof: Host, tmp_path: Path, capsys: Said) -> None:
    """Neither readings nor keys; told to, they are put aside and nothing is deleted."""
    roof.run("backup", "--folder", str(tmp_path / "b"))
    path = tmp_path / "roof/readings.sqlite"
    before = path.read_bytes()
    assert EXIT_CONFIGURATION == roof.run("restore", "--folder", str(tmp_path / "b"))
    assert "holds 51 documents; --replace" in capsys.readouterr().err
    assert before == path.read_bytes()

    keys.write_certificate(roof.key, *_pair())
    assert EXIT_CONFIGURATION == roof.run("restore", "--folder", str(tmp_path / "b"))
    assert f"{roof.key}: is there already, and another one" in capsys.readouterr().err
    assert EXIT_OK == roof.run("restore", "--replace", "--folder", str(tmp_path / "b"))
    assert len(list(roof.key.parent.glob("forwarder.key.replaced-*"))) == 1
    assert len(list(path.parent.glob("readings.sqlite.replaced-*Z"))) == 1


def _pair() -> tuple[str, dict[str, str], Any]:
    pair = keys.generate()
    return pair.public, {}, pair.secret


def test_a_key_that_no_station_knows_is_no_obstacle(
    roof: Host, empty: Host, tmp_path: Path
) -> None:
    """The forwarder of a new host makes one at its first start."""
    roof.run("backup", "--folder", str(tmp_path / "b"))
    keys.load_or_create(empty.key)
    assert EXIT_OK == empty.run("restore", "--folder", str(tmp_path / "b"))
    assert roof.key.read_bytes() == empty.key.read_bytes()


def test_who_was_put_out_stays_out(roof: Host, tmp_path: Path, capsys: Said) -> None:
    """A stolen station does not come back with a backup from before."""
    roof.run("backup", "--folder", str(tmp_path / "b"))
    roof.run("stations", "revoke", "shed")
    assert EXIT_OK == roof.run("restore", "--replace", "--folder", str(tmp_path / "b"))
    assert "shed was put out here, and stays out" in capsys.readouterr().out
    assert ["roof"] == [each.id for each in Stations(roof.stations).read()[0]]


def test_who_was_put_out_by_then_stays_out(
    roof: Host, empty: Host, tmp_path: Path, capsys: Said
) -> None:
    """Also where an older state of the host lets it in still."""
    roof.run("backup", "--folder", str(tmp_path / "older"))
    roof.run("stations", "revoke", "shed")
    roof.run("backup", "--folder", str(tmp_path / "newer"))
    for folder in ("older", "newer"):
        restored = empty.run("restore", "--replace", "--folder", str(tmp_path / folder))
        assert EXIT_OK == restored
    assert "shed had been put out when the backup was made" in capsys.readouterr().out
    assert ["roof"] == [each.id for each in Stations(empty.stations).read()[0]]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root makes files so")
def test_what_root_restores_is_the_forwarders(roof: Host, empty: Host, tmp_path: Path) -> None:
    """Whoever the folder belongs to; and what root changes of the stations later."""
    roof.run("backup", "--folder", str(tmp_path / "b"))
    os.chown(tmp_path / "empty", NOBODY, NOBODY)
    assert EXIT_OK == empty.run("restore", "--folder", str(tmp_path / "b"))
    assert EXIT_OK == empty.run("stations", "revoke", "shed")
    key = keys.generate().public
    assert EXIT_OK == empty.run("stations", "add", "roof", keys.hexadecimal(key), "--replace")
    paths = [path for path in (tmp_path / "empty").rglob("*") if path != empty.config]
    assert {"stations", "revoked", "changes.log", "readings.sqlite"} <= {p.name for p in paths}
    assert {NOBODY} == {path.stat().st_uid for path in paths}


def test_a_copy_is_not_begun_anew_by_each_reading(tmp_path: Path) -> None:
    """However large the store: nobody stops writing for a backup."""
    path, stop = tmp_path / "readings.sqlite", threading.Event()
    with closing(sqlite3.connect(path, isolation_level=None)) as store:
        store.execute("PRAGMA journal_mode = WAL")
        store.execute("CREATE TABLE records (body BLOB)")
        store.execute("CREATE TABLE deadletters (body BLOB)")
        store.executemany("INSERT INTO records VALUES (zeroblob(100000))", [()] * 300)

    def write() -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as store:
            while not stop.wait(0.001):
                store.execute("INSERT INTO records VALUES ('x')")

    with ThreadPoolExecutor() as pool:
        writing = pool.submit(write)
        saving = pool.submit(database.save, path, tmp_path / "copy")
        try:
            assert saving.result(20)["records"] >= 300
        finally:
            stop.set()
        writing.result()


def test_a_backup_that_was_stopped_does_not_count(
    roof: Host, empty: Host, tmp_path: Path, capsys: Said
) -> None:
    """It is listed as what it is, is not restored, and goes with the next that is kept."""
    folder = tmp_path / "b"
    roof.run("backup", "--folder", str(folder))
    (made,) = backups(folder)
    stopped = made.with_name("clima-2020.01.01-000000")
    shutil.copytree(made, stopped)
    (stopped / "manifest.json").unlink()
    capsys.readouterr()
    roof.run("backup", "--list", "--folder", str(folder))
    assert f"{stopped.name}  unfinished\n" in capsys.readouterr().out
    assert EXIT_CONFIGURATION == empty.run("restore", stopped.name, "--folder", str(folder))
    assert "was never finished" in capsys.readouterr().err
    shutil.move(made, made.with_name("clima-2021.01.01-000000"))
    assert EXIT_OK == roof.run("backup", "--keep", "1", "--folder", str(folder))
    (kept,) = backups(folder)
    assert kept.name > "clima-2021.01.01-000000"


def test_a_damaged_backup_is_refused(roof: Host, empty: Host, tmp_path: Path, capsys: Said) -> None:
    """A bad stick must not replace a store with rubbish."""
    roof.run("backup", "--folder", str(tmp_path / "b"))
    (folder,) = backups(tmp_path / "b")
    (folder / "forwarder.key").write_text("rubbish", "utf-8")
    assert EXIT_CONFIGURATION == empty.run("restore", "--folder", str(tmp_path / "b"))
    assert "forwarder.key: is not what was backed up" in capsys.readouterr().err
    assert not empty.key.exists()


@pytest.mark.skipif(os.name != "posix", reason="Windows cannot lock a folder")
def test_one_at_a_time_works_on_a_folder(roof: Host, tmp_path: Path, capsys: Said) -> None:
    """Another's `--keep` would take away what is not finished yet, or is being restored."""
    folder = ("--folder", str(tmp_path / "b"))
    assert EXIT_OK == roof.run("backup", *folder)
    with files.alone(tmp_path / "b"):
        assert EXIT_UNAVAILABLE == roof.run("backup", *folder, "--keep", "1")
        assert EXIT_UNAVAILABLE == roof.run("restore", *folder, "--replace")
        assert 2 == capsys.readouterr().err.count("another command of Clima's is at work here")
        assert EXIT_OK == roof.run("backup", "--list", *folder)
    assert 1 == len(backups(tmp_path / "b"))


def test_a_server_that_does_not_answer_is_not_waited_for(tmp_path: Path, capsys: Said) -> None:
    """A snapshot may take days, and whether anybody is there does not."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        output = f'type = "elasticsearch"\nurl = "{url}"\ntimeout_s = 0.2'
        host = Host(tmp_path / "silent", output)
        assert EXIT_UNAVAILABLE == host.run("backup", "--folder", str(tmp_path / "b"))
    assert f"{url} did not answer in time" in capsys.readouterr().err


def test_where_there_is_no_backup_is_said(empty: Host, tmp_path: Path, capsys: Said) -> None:
    """And a name that is none."""
    assert EXIT_CONFIGURATION == empty.run("restore", "--folder", str(tmp_path))
    assert "there is no finished backup" in capsys.readouterr().err
    assert EXIT_CONFIGURATION == empty.run("restore", "clima-x", "--folder", str(tmp_path))
    assert 'no backup "clima-x"' in capsys.readouterr().err
    assert EXIT_OK == empty.run("backup", "--list", "--folder", str(tmp_path))
    assert "`clima backup` makes one" in capsys.readouterr().out


def test_nothing_is_restored_under_a_forwarder_that_runs(
    roof: Host, tmp_path: Path, capsys: Said
) -> None:
    """It would go on writing into what is being replaced."""
    roof.run("backup", "--folder", str(tmp_path / "b"))
    port = int(re.findall(r"port = (\d+)", roof.config.read_text())[0])

    async def tried() -> int:
        app = web.Application()
        app.router.add_get("/healthz", _ok)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        code = await asyncio.to_thread(roof.run, "restore", "--folder", str(tmp_path / "b"))
        await runner.cleanup()
        return code

    assert EXIT_CONFIGURATION == asyncio.run(tried())
    assert "stop it first" in capsys.readouterr().err


async def _ok(_: web.Request) -> web.Response:
    return web.Response(text="ok\n")


# -- Elasticsearch -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def repository() -> Iterator[Path]:
    """A folder that the servers' user may write to."""
    folder = Path(tempfile.mkdtemp(prefix="clima-backups-"))
    (folder / "elasticsearch").mkdir()
    folder.chmod(0o755)
    (folder / "elasticsearch").chmod(0o777)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def servers(repository: Path) -> Iterator[tuple[Server, Server]]:
    """Two servers that may keep snapshots in that folder; the first has readings."""
    settings = {"path.repo": str(repository)}
    pair = [elasticsearch_server.own(settings) for _ in range(2)]
    running = [server for server in pair if server]
    if len(running) < 2:
        missing("elasticsearch", "no Elasticsearch of Maven's: see tests/elasticsearch_server.py")
    try:
        for server in running:
            server.start()
        store = ElasticsearchOptions(url=running[0].url)
        asyncio.run(fill(store, range(1, 501)))
        running[0].rollover(WEATHER)
        asyncio.run(fill(store, range(501, 801)))
        yield running[0], running[1]
    finally:
        for server in running:
            server.stop()


def at(server: Server, folder: Path) -> Host:
    return Host(folder, f'type = "elasticsearch"\nurl = "{server.url}"')


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_data_streams_come_back_with_what_they_are_made_of(
    servers: tuple[Server, Server], repository: Path, tmp_path: Path, capsys: Said
) -> None:
    """Backing indices, identities, dead letters, reports: the audit finds what it found.

    And a restore over it is refused, with the counts; one that was interrupted does not count.
    """
    old, new = at(servers[0], tmp_path / "old"), at(servers[1], tmp_path / "new")
    folder = ("--folder", str(repository))
    let_in(old, "roof")
    before = old.audited(capsys)
    assert EXIT_OK == old.run("backup", *folder)
    assert f"{WEATHER}  800" in capsys.readouterr().out
    assert EXIT_OK == new.run("restore", *folder)
    assert f"{WEATHER}  800\n" in capsys.readouterr().out
    assert before == new.audited(capsys)
    ids = [_ids(server) for server in servers]
    assert ids[0] == ids[1]
    assert old.key.read_bytes() == new.key.read_bytes()

    assert EXIT_CONFIGURATION == new.run("restore", *folder)
    said = capsys.readouterr().err
    assert f"{WEATHER} (800)" in said
    assert "--replace DELETES" in said

    # One that dies while the snapshot is taken leaves no manifest, and is no backup.
    (made,) = backups(repository)
    shutil.copytree(made, made.with_name("clima-2020.01.01-000000"))
    (made.with_name("clima-2020.01.01-000000") / "manifest.json").unlink()
    assert EXIT_CONFIGURATION == new.run("restore", "clima-2020.01.01-000000", *folder)
    assert "was never finished" in capsys.readouterr().err

    # The next one that is kept takes both away, in the repository too.
    assert EXIT_OK == old.run("backup", "--keep", "1", *folder)
    (kept,) = backups(repository)
    found = servers[0].request("GET", "/_snapshot/clima/_all")["snapshots"]
    assert [kept.name] == [each["snapshot"] for each in found]


def _ids(server: Server) -> set[tuple[str, str]]:
    body = {"size": 2000, "_source": False}
    found = server.request("POST", f"/{WEATHER}/_search", body)
    return {(hit["_index"], hit["_id"]) for hit in found["hits"]["hits"]}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_snapshots_that_are_elsewhere_are_no_backup(
    servers: tuple[Server, Server], repository: Path, tmp_path: Path, capsys: Said
) -> None:
    """Whoever copies the folder away would copy no reading; unless told that it is so."""
    host, folder = at(servers[0], tmp_path / "host"), ("--folder", str(tmp_path / "other"))
    assert EXIT_CONFIGURATION == host.run("backup", *folder)
    assert "its path.repo is another folder" in capsys.readouterr().err
    assert EXIT_OK == host.run("backup", "--list", *folder)
    assert "unfinished" in capsys.readouterr().out
    location = str(repository / "elasticsearch")
    assert EXIT_OK == host.run("backup", "--location", location, *folder)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_server_that_may_not_keep_snapshots_is_explained(
    elasticsearch: Server, tmp_path: Path, capsys: Said
) -> None:
    """Which setting of which file says where they may lie."""
    host = at(elasticsearch, tmp_path / "host")
    assert EXIT_CONFIGURATION == host.run("backup", "--folder", str(tmp_path / "b"))
    assert "set path.repo in its elasticsearch.yml" in capsys.readouterr().err


def test_a_server_that_is_not_there_is_said(tmp_path: Path, capsys: Said) -> None:
    """In one message, and no backup is made."""
    host = Host(tmp_path / "host", 'type = "elasticsearch"\nurl = "http://127.0.0.1:1"')
    assert EXIT_UNAVAILABLE == host.run("backup", "--folder", str(tmp_path / "b"))
    assert "no connection to http://127.0.0.1:1" in capsys.readouterr().err


def test_what_did_not_come_back_is_exit_code_1(
    roof: Host, empty: Host, tmp_path: Path, capsys: Said
) -> None:
    """A count that differs from the manifest's is shown beside it."""
    roof.run("backup", "--folder", str(tmp_path / "b"))
    (folder,) = backups(tmp_path / "b")
    file = folder / "manifest.json"
    counted = json.loads(file.read_text("utf-8"))
    counted["documents"]["records"] += 1
    file.write_text(json.dumps(counted), "utf-8")
    assert EXIT_FINDING == empty.run("restore", "--folder", str(tmp_path / "b"))
    assert "records  50  BUT 51 WERE BACKED UP" in capsys.readouterr().out
