"""`clima init` and `clima password`, as Compose and a person run them."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from clima_elk.vault import NAMES, Vault
from clima_forwarder.cli import main
from tests.elk.test_stack import OF_8_3_3, data


class Here:
    """The volumes, as folders."""

    def __init__(self, folder: Path) -> None:
        self.vault = Vault(folder / "vault")
        self.services = folder / "services"
        self.data = folder / "data"
        self.backups = folder / "backups"
        self.data.mkdir()
        self.backups.mkdir()

    def init(self, *arguments: str) -> int:
        folders = [
            *("--vault", str(self.vault.folder), "--services", str(self.services)),
            *("--data", str(self.data), "--backups", str(self.backups)),
        ]
        return main(["init", *folders, *arguments])


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Here:
    for name in [name for name in os.environ if name.startswith(("CLIMA_", "STACK_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CLIMA_CHECKS", "warn")
    return Here(tmp_path)


def test_the_first_time_makes_everything_and_the_second_nothing(
    here: Here, capsys: pytest.CaptureFixture[str]
) -> None:
    """And what is printed holds no secret, either time."""
    assert 0 == here.init()
    first = capsys.readouterr()
    assert 0 == here.init()
    second = capsys.readouterr()

    assert f"{len(NAMES)} secrets made" in first.out
    assert "kibana.yml" in first.out
    assert "no secret had to be made\nno configuration file had to be written\n" == second.out
    for name in NAMES:
        secret = here.vault.read(name).reveal()
        for said in (first.out, first.err, second.out, second.err):
            assert secret not in said, name


def test_several_at_once_make_everything_once(
    here: Here, capsys: pytest.CaptureFixture[str]
) -> None:
    """`docker compose up`, typed twice: else one would write files with secrets of the other's."""
    with ThreadPoolExecutor(4) as pool:
        assert [0] * 4 == list(pool.map(lambda _: here.init(), range(4)))
    assert 1 == capsys.readouterr().out.count(f"{len(NAMES)} secrets made")
    assert 0 == here.init()
    assert "no configuration file had to be written" in capsys.readouterr().out


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_elasticsearch_and_we_share_the_backups(here: Here) -> None:
    """It writes snapshots there, and `clima backup` the keys: by the group, which stays."""
    here.init()
    assert 0o2770 == stat.S_IMODE(here.backups.stat().st_mode)
    if os.geteuid() == 0:
        assert (1000, 10001) == (here.backups.stat().st_uid, here.backups.stat().st_gid)


def test_a_wrong_name_in_a_variable_is_said(
    here: Here, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All of them at once, with what is allowed; and nothing is made."""
    monkeypatch.setenv("CLIMA_OUTPUT", "logstahs")
    monkeypatch.setenv("CLIMA_TLS", "yes")
    assert 78 == here.init()
    said = capsys.readouterr().err.splitlines()
    assert 'CLIMA_OUTPUT: "logstahs" is none of logstash, elasticsearch' == said[0]
    assert 'CLIMA_TLS: "yes" is none of off, own, given' == said[1]
    assert not here.vault.folder.exists()


@pytest.mark.parametrize(
    "url", ["weather.local", "http://", "https://h/kibana", "http://u:p@h", 'http://a"b', "ftp://h"]
)
def test_an_address_that_kibana_does_not_start_with_is_said(
    here: Here, capsys: pytest.CaptureFixture[str], url: str
) -> None:
    """It would go on failing, with no more than a line in its own log."""
    assert 78 == here.init("--public-url", url)
    assert f'CLIMA_PUBLIC_URL: "{url}" is no address' in capsys.readouterr().err
    assert not here.vault.folder.exists()
    for right in ("https://weather.local:5601/", "http://192.168.1.10", "http://[fe80::1]:5601"):
        assert 0 == here.init("--public-url", right)


@pytest.mark.parametrize("name", ["192.168.1", "300.1.1.1", "https://weather.local", "wetter.köln"])
def test_a_name_that_no_certificate_can_have_is_said(
    here: Here, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """By the variable that it stands in, and not by openssl."""
    monkeypatch.setenv("CLIMA_TLS", "own")
    monkeypatch.setenv("CLIMA_KIBANA_NAMES", f"weather.local,{name}")
    assert 78 == here.init()
    assert f'CLIMA_KIBANA_NAMES: "{name}" is neither' in capsys.readouterr().err
    monkeypatch.setenv("CLIMA_KIBANA_NAMES", "*.home,fe80::1,a-1.b_2")
    assert 0 == here.init()


@pytest.mark.parametrize(
    ("version", "said"),
    [
        ("9.5", 'STACK_VERSION: "9.5" is not a version'),
        ("8.2.0", "STACK_VERSION: 8.2.0 is too old"),
        ("8.3.2", "STACK_VERSION: 8.3.2 is older than the data, which 8.3.3 has written"),
        ("9.5.1", "start once with a 8.19 (STACK_VERSION=8.19.0 or later), then with 9.5.1"),
    ],
)
def test_a_stack_version_that_cannot_work_is_said(
    here: Here,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    version: str,
    said: str,
) -> None:
    """Before Elasticsearch fails to start with it, and before anything is written."""
    data(here.data, OF_8_3_3)
    monkeypatch.setenv("STACK_VERSION", version)
    assert 78 == here.init()
    assert said in capsys.readouterr().err
    assert not here.services.exists()


def test_the_options_come_from_the_environment(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Compose sets them."""
    monkeypatch.setenv("CLIMA_OUTPUT", "elasticsearch")
    monkeypatch.setenv("CLIMA_USERS", "file")
    monkeypatch.setenv("CLIMA_TLS", "own")
    monkeypatch.setenv("CLIMA_KIBANA_NAMES", "weather.local, 192.168.1.10")
    assert 0 == here.init("--public-url", "https://weather.local")

    made = here.services
    assert 'type = "elasticsearch"' in (made / "forwarder" / "forwarder.toml").read_text()
    assert (made / "elasticsearch" / "file-users" / "clima").exists()
    assert "https://weather.local" in (made / "kibana" / "kibana.yml").read_text()
    names = (here.vault.folder / "tls" / "kibana.names").read_text()
    assert "DNS:weather.local,IP:192.168.1.10" in names


def test_the_password_is_printed_to_who_asks(
    here: Here, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With where to go; before `init` it says what to do."""
    vault = ["--vault", str(here.vault.folder)]
    assert 78 == main(["password", *vault])
    assert "docker compose up init" in capsys.readouterr().err

    here.init()
    capsys.readouterr()
    monkeypatch.setenv("CLIMA_PUBLIC_URL", "https://weather.local")
    assert 0 == main(["password", *vault])
    password = here.vault.read("clima").reveal()
    expected = f"Kibana    https://weather.local\nuser      clima\npassword  {password}\n"
    assert expected == capsys.readouterr().out
