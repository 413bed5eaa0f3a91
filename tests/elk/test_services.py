"""Each service's configuration, rendered into real folders and read as the service reads it."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

from clima_core.errors import ConfigurationError
from clima_elk import tls
from clima_elk.files import File, Owner
from clima_elk.services import OWNERS, Settings, filled, render
from clima_elk.stack import Version
from clima_elk.users import users
from clima_elk.vault import NAMES, Vault
from clima_forwarder import config, outputs

posix = pytest.mark.skipif(os.name != "posix", reason="modes and owners are POSIX's")


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    made = Vault(tmp_path / "vault")
    made.make()
    return made


def everything(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_second_time_nothing_is_written(vault: Vault, tmp_path: Path) -> None:
    """Not even touched; and what others keep there is left alone."""
    folder = tmp_path / "services"
    assert render(vault, folder, Settings())
    (folder / "forwarder" / "api_key").write_text("made by provision")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert [] == render(vault, folder, Settings())
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_only_what_differs_is_written(vault: Vault, tmp_path: Path) -> None:
    """A new password changes the files that hold it, and those alone."""
    render(vault, tmp_path, Settings())
    vault.propose("kibana_system")
    vault.adopt("kibana_system")
    assert [tmp_path / "kibana" / "kibana.yml"] == render(vault, tmp_path, Settings())
    assert vault.read("kibana_system").reveal() in (tmp_path / "kibana/kibana.yml").read_text()


@posix
def test_every_file_is_its_services_own(vault: Vault, tmp_path: Path) -> None:
    """0600 in 0700, and of the user of its image where whoever renders may give files away."""
    render(vault, tmp_path, Settings(users="file", certificates=tls.own(vault)))
    (tmp_path / "kibana" / "kibana.yml").chmod(0o644)
    assert [tmp_path / "kibana" / "kibana.yml"] == render(
        vault, tmp_path, Settings(users="file", certificates=tls.own(vault))
    )
    for service, owner in OWNERS.items():
        for path in [tmp_path / service, *(tmp_path / service).rglob("*")]:
            found = path.stat()
            expected = 0o700 if path.is_dir() else 0o600
            assert expected == stat.S_IMODE(found.st_mode), path
            if os.geteuid() == 0:
                assert owner == (found.st_uid, found.st_gid), path


def test_each_service_knows_the_secrets_that_it_needs_and_no_others(
    vault: Vault, tmp_path: Path
) -> None:
    """Nobody but Elasticsearch, once, is told the password of `elastic`; nobody the person's."""
    render(vault, tmp_path, Settings())
    secrets = {name: vault.read(name).reveal().encode() for name in NAMES}
    known = {
        service: {
            name
            for name, secret in secrets.items()
            if any(secret in content for content in everything(tmp_path / service).values())
        }
        for service in OWNERS
    }
    assert {"elastic"} == known["elasticsearch"]
    keys = {"kibana_security_key", "kibana_objects_key", "kibana_reporting_key"}
    assert {"kibana_system", *keys} == known["kibana"]
    assert {"clima_logstash", "logstash_input"} == known["logstash"]
    assert {"logstash_input"} == known["forwarder"]


def test_no_reference_is_left(vault: Vault, tmp_path: Path) -> None:
    """Every `${CLIMA_…}` is filled in: no service has an environment to find it in."""
    render(vault, tmp_path, Settings(certificates=tls.own(vault)))
    left = [name for name, text in everything(tmp_path).items() if b"${CLIMA_" in text]
    assert [] == left


def test_an_unknown_reference_is_said() -> None:
    """A default stands in for a reference; without one it is a fault."""
    assert b"a 1 b" == filled("a ${CLIMA_A} ${CLIMA_B:b}", {"CLIMA_A": "1"})
    assert b"${sys:ls.log.level}" == filled("${sys:ls.log.level}", {})
    with pytest.raises(ConfigurationError, match="CLIMA_C"):
        filled("${CLIMA_C}", {})


@pytest.mark.parametrize("with_tls", [False, True])
@pytest.mark.parametrize("users_", ["native", "file"])
@pytest.mark.parametrize("output", ["logstash", "elasticsearch"])
@pytest.mark.parametrize("name", ["forwarder.toml", "cli.toml"])
def test_the_forwarder_can_read_its_configuration(
    vault: Vault, tmp_path: Path, name: str, output: str, users_: str, with_tls: bool
) -> None:
    """With every output; the key that provision makes is read from its file."""
    certificates = tls.own(vault) if with_tls else None
    settings = Settings(output=output, users=users_, certificates=certificates)  # type: ignore[arg-type]
    render(vault, tmp_path, settings)
    (tmp_path / "forwarder" / "api_key").write_text("the-key\n")

    loaded = config.load(tmp_path / "forwarder" / name, {})

    found = loaded.output
    if isinstance(found, outputs.logstash.Options):
        assert "logstash" == output
        assert found.password == vault.read("logstash_input")
        assert loaded.log.logstash is not None
        found = found.elasticsearch
    assert isinstance(found, outputs.elasticsearch.Options)
    assert f"http{'s' if with_tls else ''}://elasticsearch:9200" == found.url
    assert not found.install_templates
    if users_ == "native":
        assert found.api_key is not None
        assert "the-key" == found.api_key.reveal()
    else:
        assert ("clima_forwarder", vault.read("clima_forwarder")) == (
            found.username,
            found.password,
        )
    local = name == "forwarder.toml"
    assert ("tcp://*:5571" if local else "tcp://forwarder:5571") == loaded.feed.address
    assert (True, False) == (loaded.pairing.enabled, loaded.pairing.advertise)


def test_kibana_gets_yaml_that_says_what_it_should(vault: Vault, tmp_path: Path) -> None:
    """Keys of 32 characters, so that sessions and rules outlive a restart; with TLS as well."""
    render(vault, tmp_path, Settings(public_url="https://weather", certificates=tls.own(vault)))
    said = yaml.safe_load((tmp_path / "kibana" / "kibana.yml").read_text())
    assert "https://weather" == said["server.publicBaseUrl"]
    assert ["https://elasticsearch:9200"] == said["elasticsearch.hosts"]
    assert vault.read("kibana_system").reveal() == said["elasticsearch.password"]
    assert all(len(said[key]) >= 32 for key in said if key.endswith("encryptionKey"))
    assert said["server.ssl.enabled"]


@pytest.mark.parametrize(("major", "option"), [(8, "cacert"), (9, "ssl_certificate_authorities")])
def test_logstash_trusts_our_authority_in_its_versions_words(
    vault: Vault, tmp_path: Path, major: int, option: str
) -> None:
    """Once for every output to Elasticsearch; each version refuses the other's option."""
    settings = Settings(stack=Version(major, 3, 0), certificates=tls.own(vault))
    render(vault, tmp_path, settings)
    for path in (tmp_path / "logstash").glob("*.conf"):
        text = path.read_text()
        outputs_ = text.count("hosts =>")
        assert outputs_ == len(re.findall(rf'{option} => "/etc/clima/ca\.crt"', text)) > 0
    (tmp_path / "plain").mkdir()
    render(vault, tmp_path / "plain", Settings())
    assert not any("ca.crt" in path.read_text() for path in (tmp_path / "plain/logstash").iterdir())


@pytest.mark.parametrize(("minor", "cleans"), [(3, False), (4, True)])
def test_logstash_throws_away_dead_letters_that_it_has_read(
    vault: Vault, tmp_path: Path, minor: int, cleans: bool
) -> None:
    """Where it can; else the queue fills up in time, and `clima doctor` says so."""
    render(vault, tmp_path, Settings(stack=Version(8, minor, 0)))
    lines = (tmp_path / "logstash/deadletters.conf").read_text().splitlines()
    assert cleans == ("clean_consumed => true" in [line.strip() for line in lines])


def test_users_for_a_server_without_its_own(vault: Vault, tmp_path: Path) -> None:
    """Their passwords, who has which role, and the roles, as files."""
    render(vault, tmp_path, Settings(users="file", output="elasticsearch"))
    folder = tmp_path / "elasticsearch"
    roles = {
        role: members.split(",")
        for role, members in (
            line.split(":") for line in (folder / "file-users/users_roles").read_text().splitlines()
        )
    }
    for user in users("elasticsearch"):
        if user.roles is None:
            assert not (folder / "file-users" / user.name).exists()
        else:
            assert vault.read(user.name).reveal() == (folder / "file-users" / user.name).read_text()
            assert all(user.name in roles[role] for role in user.roles)
    defined = yaml.safe_load((folder / "roles.yml").read_text())
    assert roles.keys() <= defined.keys()
    assert json.dumps(defined), "plain data"


def test_our_authority_vouches_for_the_certificates(vault: Vault, tmp_path: Path) -> None:
    """By the names that clients use; made once, and anew when the names change."""
    first = tls.own(vault, ["weather.local", "192.168.1.10"])
    assert first == tls.own(vault, ["weather.local", "192.168.1.10"])
    second = tls.own(vault, ["other.local"])
    assert first.authority == second.authority
    assert first.pairs["elasticsearch"] == second.pairs["elasticsearch"]
    assert first.pairs["kibana"] != second.pairs["kibana"]

    render(vault, tmp_path, Settings(certificates=first))
    for service, option, name in (
        ("elasticsearch", "-verify_hostname", "elasticsearch"),
        ("kibana", "-verify_hostname", "weather.local"),
        ("kibana", "-verify_ip", "192.168.1.10"),
    ):
        folder = tmp_path / service
        command = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", option, name]
        files = ["-CAfile", str(folder / "ca.crt"), str(folder / f"{service}.crt")]
        subprocess.run([*command, *files], check=True, capture_output=True)
    assert not any(b"PRIVATE" in text for text in everything(tmp_path / "logstash").values())


def test_given_certificates_are_looked_at(vault: Vault, tmp_path: Path) -> None:
    """All that is wrong is said at once; right ones are taken as they are."""
    with pytest.raises(ConfigurationError) as failure:
        tls.given(tmp_path)
    assert 5 == len(failure.value.problems)

    tls.own(vault)
    right = vault.folder / "tls"
    assert tls.own(vault) == tls.given(right)
    (right / "kibana.key").write_bytes((right / "elasticsearch.key").read_bytes())
    with pytest.raises(ConfigurationError, match=r"kibana\.crt"):
        tls.given(right)


def test_a_certificate_for_another_name_is_refused(vault: Vault) -> None:
    """Kibana, Logstash and the forwarder ask for `elasticsearch`, and check who answers."""
    tls.own(vault)
    folder = vault.folder / "tls"
    for kind in ("crt", "key"):
        (folder / f"elasticsearch.{kind}").write_bytes((folder / f"kibana.{kind}").read_bytes())
    with pytest.raises(ConfigurationError, match="not for the name elasticsearch"):
        tls.given(folder)


def test_a_files_content_shows_in_no_repr(tmp_path: Path) -> None:
    """An error that quotes the file quotes its path alone."""
    assert "hidden" not in repr(File(tmp_path / "x", b"hidden", Owner(1, 1)))
