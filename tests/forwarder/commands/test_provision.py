"""`clima provision` on a server that lacks most of what it could use, and when it is wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from clima_core.errors import EXIT_CONFIGURATION, EXIT_FINDING, EXIT_OK
from clima_elk.retention import duration, parsed, said
from clima_forwarder.cli import main
from clima_forwarder.provisioning import without_key
from tests.elasticsearch_server import Server


def test_what_a_server_lacks_is_said_and_left_out(
    elasticsearch: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    """In plain words; it is no failure, unless it is to be one."""
    url = ("--url", elasticsearch.url)
    assert EXIT_OK == main(["provision", *url, "--overwrite"])
    first = capsys.readouterr()
    if "no transforms" not in first.err:
        pytest.skip("this server has all modules")
    assert "no daily and monthly summaries" in first.err
    assert EXIT_FINDING == main(["provision", *url, "--strict"])
    assert re.search(r"^0 of \d+ changed", capsys.readouterr().out, re.MULTILINE)
    assert EXIT_OK == main(["provision", *url, "--dry-run"])
    shown = capsys.readouterr().out
    assert re.search(r"^transform +clima-daily +not known by this server$", shown, re.MULTILINE)
    assert re.search(r"^index template +clima-weather +same$", shown, re.MULTILINE)


def test_what_is_to_be_deleted_has_to_be_there(
    elasticsearch: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    """A name that is mistyped deletes nothing, and nothing else is taken away."""
    options = ["--url", elasticsearch.url, "--remove", "--delete-data", "metrics-clima.wether"]
    assert EXIT_CONFIGURATION == main(["provision", *options])
    assert "metrics-clima.wether: not there; there are" in capsys.readouterr().err
    elasticsearch.request("GET", "/_index_template/clima-weather")


def test_only_elasticsearch_is_provisioned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An SQLite file needs nothing."""
    path = tmp_path / "forwarder.toml"
    path.write_text('[output]\ntype = "sqlite"\n')
    assert EXIT_CONFIGURATION == main(["provision", "--config", str(path)])
    assert "the output is not Elasticsearch" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["station", "station=", "sation=9", "station=1h", "log=-1"])
def test_a_retention_that_is_none_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With what is allowed."""
    with pytest.raises(SystemExit):
        main(["provision", "--retention", text])
    assert "expected weather, station, log, deadletter, = and days" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["station=90d", "log=1d", "weather=forever"])
def test_a_retention_reads_as_it_is_written(text: str) -> None:
    """By people and by the server alike."""
    name, window = parsed(text)
    assert text == f"{name}={said(window)}"
    assert window == duration(said(window))


def test_a_configuration_can_be_read_before_its_key_is_made(tmp_path: Path) -> None:
    """Provisioning makes it; a key that is there is left to say for itself what is wrong."""
    path = tmp_path / "cli.toml"
    path.write_text(
        '[output]\ntype = "logstash"\n[output.elasticsearch]\napi_key = { file = "k" }\n'
    )
    variable = "CLIMA_FORWARDER_OUTPUT__ELASTICSEARCH__API_KEY"
    assert [variable] == list(without_key(path, {}))
    (tmp_path / "k").write_text("key")
    assert {} == without_key(path, {})
    path.write_text('[output]\ntype = "elasticsearch"\napi_key = { file = "missing" }\n')
    assert ["CLIMA_FORWARDER_OUTPUT__API_KEY"] == list(without_key(path, {}))
    assert {} == without_key(tmp_path / "none.toml", {})
