"""The whole station on a real engine: a small host's, which writes straight to Elasticsearch."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.compose.engine import COMPOSE, Engine
from tests.compose.flow import (
    assert_all_stored,
    assert_complete,
    assert_flows,
    playing,
    standing,
    wait_until_they_pile_up,
)
from tests.compose.station import EVERYTHING, Station, docker

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def station(engine: Engine) -> Iterator[Station]:
    """All of a small host that this machine has images for, with two stations."""
    with playing(engine, COMPOSE / "single.yaml") as made:
        yield made


def test_every_service_gets_healthy(station: Station) -> None:
    """Whatever goes on running has a health check that says so; what runs once ended well."""
    for service, container in station.containers().items():
        state = container["State"]
        if container["HostConfig"]["RestartPolicy"]["Name"] == "no":
            assert ("exited", 0) == (state["Status"], state["ExitCode"]), service
        else:
            assert "healthy" == state["Health"]["Status"], service


def test_containers_can_do_little(station: Station) -> None:
    """Nobody but init is root, nobody gains rights, and root file systems are read-only.

    Elasticsearch's is not: the image makes its keystore beside its configuration.
    """
    for service, container in station.containers().items():
        host = container["HostConfig"]
        assert host["ReadonlyRootfs"] or service == "elasticsearch", service
        assert not host["Privileged"], service
        assert "ALL" in (host["CapDrop"] or []), service
        assert any("no-new-privileges" in option for option in host["SecurityOpt"] or []), service
        user = container["Config"]["User"]
        if service != "init":
            assert ("1000:0" if service == "elasticsearch" else "10001:10001") == user, service


def test_only_the_ports_for_stations_are_published(station: Station) -> None:
    """To send and to pair; and Kibana's on the loopback interface, where there is a Kibana."""
    published = {
        (port, binding["HostIp"])
        for container in station.containers().values()
        for port, bindings in (container["HostConfig"]["PortBindings"] or {}).items()
        for binding in bindings
    }
    assert {port for port, _ in published} <= {"5570/tcp", "5573/tcp", "5601/tcp"}
    assert {"127.0.0.1"} >= {address for port, address in published if port == "5601/tcp"}


def test_a_station_outside_pairs_by_the_published_ports(station: Station, tmp_path: Path) -> None:
    """Both commands of the README; the forwarder says the port that Docker has given it."""
    config = tmp_path / "agent.toml"
    config.write_text(
        '[station]\nid = "newcomer"\n[identity]\nkey_file = "agent.key"\n'
        '[spool]\ndirectory = "spool"\n'
    )
    enroll = [sys.executable, "-m", "clima_agent", "enroll", "-c", str(config)]
    port = station.environ["CLIMA_PAIRING_PORT"]
    begun = subprocess.run(
        [*enroll, f"127.0.0.1:{port}", "--json"], capture_output=True, text=True, check=False
    )
    digits = json.loads(begun.stdout)["digits"]
    (asks,) = json.loads(station.clima("stations", "pending", "--json").stdout)
    assert ("newcomer", digits) == (asks["station"], asks["digits"])
    with subprocess.Popen([*enroll, "--digits", digits]) as waiting:
        added = station.clima("stations", "add", "newcomer", "--digits", digits)
        assert 0 == added.returncode, added.stdout + added.stderr
        assert 0 == waiting.wait(60)
    assert f"tcp://127.0.0.1:{station.environ['CLIMA_STATIONS_PORT']}" in config.read_text()
    assert 0 == subprocess.run(enroll, check=False).returncode
    assert 0 == station.clima("stations", "revoke", "newcomer").returncode


def test_a_second_up_changes_nothing(station: Station) -> None:
    """Neither a secret nor a configuration file nor a container."""
    volumes = ("vault", "elasticsearch-config", "forwarder-config")
    before = [station.read(volume) for volume in volumes]
    ids = {name: one["Id"] for name, one in station.containers().items()}
    station.up()
    assert before == [station.read(volume) for volume in volumes]
    assert ids == {name: one["Id"] for name, one in station.containers().items()}


def test_no_secret_shows(station: Station, tmp_path: Path) -> None:
    """Not in `docker inspect`, logs, histories, process lists or images."""
    hidden = _secrets(station)
    assert len(hidden) > 10
    inspected = station.containers()
    images = {container["Image"] for container in inspected.values()}
    shown = {
        "inspect of containers": json.dumps(inspected),
        "inspect of images": docker("inspect", *images),
        "logs": station.compose(*EVERYTHING, "logs", "--no-color"),
        "config": station.compose(*EVERYTHING, "config"),
    }
    shown |= {f"history {image}": docker("history", "--no-trunc", image) for image in images}
    for service, container in inspected.items():
        if container["State"]["Running"]:
            shown[f"processes of {service}"] = docker("top", container["Id"], "-eo", "pid,args")
    for where, text in shown.items():
        assert text, where
        assert not [name for name, secret in hidden.items() if secret in text], where
    patterns = tmp_path / "patterns"
    patterns.write_text("\n".join(hidden.values()))
    ours = {inspected[name]["Image"] for name in ("forwarder", "demo-jfk")}
    assert "" == _found_in_layers(ours, patterns)


def test_faults_lose_nothing(station: Station) -> None:
    """Crashes, kills, hangs, cuts and a restart of everything while readings flow."""
    assert_flows(station)
    station.crash("forwarder")
    assert_flows(station)
    station.pause("elasticsearch")
    wait_until_they_pile_up(station)
    station.unpause("elasticsearch")
    assert_flows(station)
    station.cut("forwarder", "inner")
    wait_until_they_pile_up(station)
    station.join("forwarder", "inner")
    assert_flows(station)
    station.crash("demo-jfk")
    station.kill("demo-lga")
    station.pause("forwarder")
    station.crash("elasticsearch")
    station.unpause("forwarder")
    station.start("demo-lga")
    assert_flows(station)
    station.compose("--profile", "demo", "down", "--timeout", "5")
    station.up()
    assert_flows(station)
    assert_complete(station)


def test_an_older_stack_on_the_data_is_refused(station: Station) -> None:
    """By init, before Elasticsearch is started on them, with both versions and the mend."""
    done = station.tried("run", "--rm", "--no-TTY", "init", STACK_VERSION="8.19.0")
    assert 78 == done.returncode
    assert re.search(r"8\.19\.0 is older than the data, .*: set STACK_VERSION=", done.stderr)


def test_a_backup_brings_an_empty_host_to_life(engine: Engine, station: Station) -> None:
    """Another host, with nothing but the folder of the backup, has all readings and keys."""
    assert_complete(station)
    backed_up = station.clima("backup")
    assert 0 == backed_up.returncode, backed_up.stderr
    keys = {name: text for name, text in station.read("forwarder-data").items() if ".key" in name}
    image = station.containers()["init"]["Image"]
    with standing(engine, COMPOSE / "single.yaml") as other:
        other.up("elasticsearch")
        volumes = (
            f"--volume={station.volume('backups')}:/from:ro",
            f"--volume={other.volume('backups')}:/to",
        )
        copy = ("--entrypoint=cp", image, "--archive", "/from/.", "/to/")
        docker("run", "--rm", "--user=0", *volumes, *copy)
        restored = other.clima("restore")
        assert 0 == restored.returncode, restored.stdout + restored.stderr
        other.up("forwarder")
        assert keys == {
            name: text for name, text in other.read("forwarder-data").items() if ".key" in name
        }
        assert_all_stored(other)


def _secrets(station: Station) -> dict[str, str]:
    """All that is secret, by where it is; passwords also as HTTP sends them."""
    vault = {name: text.strip() for name, text in station.read("vault").items()}
    kept = {f"vault/{name}": secret for name, secret in vault.items()}
    for name, secret in vault.items():
        for user in (name, "clima"):
            basic = base64.b64encode(f"{user}:{secret}".encode()).decode()
            kept[f"vault/{name} as {user} by HTTP"] = basic
    for volume, file in (("forwarder-data", "forwarder.key"), ("demo-jfk", "agent.key")):
        key = re.search(r'secret-key = "(.*)"', station.read(volume)[file])
        assert key is not None
        kept[f"{volume}/{file}"] = key[1]
    return kept


def _found_in_layers(images: set[str], patterns: Path) -> str:
    """The lines of the images' layers with a secret in them."""
    with subprocess.Popen(["docker", "save", *images], stdout=subprocess.PIPE) as saved:
        found = subprocess.run(
            ["grep", "--text", "--fixed-strings", "--file", patterns, "--max-count=1"],
            stdin=saved.stdout,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    assert 0 == saved.returncode
    return found.stdout
