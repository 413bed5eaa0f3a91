"""The forwarder's own log on its way to Elasticsearch, and everything that may be in that way."""

from __future__ import annotations

import io
import json
import logging
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from clima_core import logs
from clima_core.configuration import Secret, convert
from clima_core.errors import ConfigurationError
from clima_forwarder import shipping
from clima_forwarder.config import Configuration
from clima_forwarder.outputs import elasticsearch as straight
from tests import logstash_standin
from tests.elasticsearch_server import Server
from tests.forwarder.outputs.stores import opened
from tests.logstash_standin import StandIn

LOGS = "logs-clima.forwarder-default"
PATIENCE_S = 30.0


@pytest.fixture
def said() -> Iterator[io.StringIO]:
    """Standard error; logging is as before afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield io.StringIO()
    structlog.reset_defaults()
    logging.captureWarnings(capture=False)
    root.handlers[:], root.level = handlers, level


@pytest.fixture
def logstash(tmp_path: Path, elasticsearch: Server) -> Iterator[StandIn]:
    """In front of a real Elasticsearch."""
    yield from logstash_standin.running(tmp_path / "logstash", elasticsearch.url)


def options(url: str, password: str = StandIn.password) -> shipping.Options:
    return shipping.Options(url=url, username=StandIn.username, password=Secret(password))


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def until(condition: Callable[[], object]) -> None:
    """Wait for the condition to hold."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def stored(elasticsearch: Server, run: str) -> list[dict[str, Any]]:
    """What Elasticsearch has of a run, in order."""
    elasticsearch.request("POST", f"/{LOGS}/_refresh?ignore_unavailable=true")
    query = {"size": 5000, "query": {"term": {"labels.run": run}}, "sort": "event.sequence"}
    found = elasticsearch.request("POST", f"/{LOGS}/_search?ignore_unavailable=true", query)
    return [hit["_source"] for hit in found["hits"]["hits"]]


@pytest.fixture
def run() -> str:
    """What the events of one test have in common."""
    return secrets.token_hex(6)


async def test_what_is_logged_is_in_elasticsearch_in_the_fields_of_the_template(
    logstash: StandIn, elasticsearch: Server, said: io.StringIO, run: str
) -> None:
    """With level, logger, station and trace, as on standard error; debug stays at home."""
    async with opened(straight.Options(url=elasticsearch.url)):  # has the templates installed
        pass
    with shipping.processors(options(logstash.logs_url)) as extra:
        logs.setup("debug", extra=extra, stream=said)
        log = structlog.get_logger()
        log.debug("tick", run=run)
        log.info("key_refused", run=run, station="roof", journal="0" * 12, records=3)
        try:
            raise ValueError("odd")
        except ValueError:
            log.exception("delivery_failed", run=run, path=Path("x"))
        logging.getLogger("a.library").warning("node %s is down", "a")
    until(lambda: len(stored(elasticsearch, run)) == 2)
    first, second = stored(elasticsearch, run)
    on_stderr = [line for line in lines(said) if line.get("run") == run]
    assert "key_refused" == first["message"]
    assert on_stderr[1]["timestamp"][:23] + "Z" == first["@timestamp"]
    assert {"id": "roof", "journal": "0" * 12} == first["station"]
    assert {"run": run, "records": "3"} == first["labels"]
    assert {"type": "logs", "dataset": "clima.forwarder", "namespace": "default"} == (
        first["data_stream"]
    )
    assert {"level": "error", "logger": "clima_forwarder"} == second["log"]
    assert "ValueError: odd" in second["error"]["stack_trace"]
    assert [1, 2] == [each["event"]["sequence"] for each in (first, second)]
    assert "log_events_lost" not in said.getvalue()


@pytest.mark.slow
def test_a_logstash_that_is_away_disturbs_nobody(
    logstash: StandIn, elasticsearch: Server, said: io.StringIO, run: str
) -> None:
    """It is said once, memory stays bounded, and what was kept arrives afterwards, and once."""
    logstash.kill()
    shipper = shipping.Shipping(options(logstash.logs_url), most_events=100)
    logs.setup(extra=[shipper], stream=said)
    began = time.monotonic()
    for number in range(1000):
        structlog.get_logger().info("tick", run=run, number=number)
    assert time.monotonic() - began < 20, "somebody waited"
    until(lambda: "log_shipping_failed" in said.getvalue())
    logstash.start()
    until(lambda: "log_shipping_resumed" in said.getvalue())
    structlog.get_logger().info("tock", run=run)
    shipper.close()
    until(lambda: len(stored(elasticsearch, run)) == 101)
    found = stored(elasticsearch, run)
    assert [*range(1, 101), 1001] == [each["event"]["sequence"] for each in found]
    own = [line for line in lines(said) if line.get("logger", "").startswith(shipping.LOGGER)]
    expected = ["log_shipping_failed", "log_shipping_resumed", "log_events_lost"]
    assert expected == [line["event"] for line in own]
    assert 900 == own[-1]["count"]
    assert 102 > logstash.statistics()["logs"]["events"]["in"], "it has shipped what it said"


@pytest.mark.slow
@pytest.mark.parametrize("away", ["refuses", "hangs"])
def test_the_end_is_not_held_up(said: io.StringIO, away: str) -> None:
    """What is not gone by then is counted, and standard error stays JSON to the last line."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        if away == "refuses":
            silent.close()
        shipper = shipping.Shipping(options(f"http://127.0.0.1:{port}"))
        logs.setup(extra=[shipper], stream=said)
        for number in range(120):
            structlog.get_logger().info("tick", number=number)
        began = time.monotonic()
        shipper.close()
        shipper.close()
        assert time.monotonic() - began < shipping.CLOSE_S + 10
        structlog.get_logger().info("forwarder_stopped")
    assert [120] == [line["count"] for line in lines(said) if line["event"] == "log_events_lost"]


def test_a_wrong_password_is_said_and_not_shown(logstash: StandIn, said: io.StringIO) -> None:
    """It is the same as a Logstash that is away."""
    with shipping.processors(options(logstash.logs_url, "a wrong one")) as extra:
        logs.setup(extra=extra, stream=said)
        structlog.get_logger().info("tick")
    (failed,) = [line for line in lines(said) if line["event"] == "log_shipping_failed"]
    assert "401" in failed["reason"]
    assert "a wrong one" not in said.getvalue()
    assert "a wrong one" not in repr(options(logstash.logs_url, "a wrong one"))


def test_no_proxy_gets_to_see_the_password(
    logstash: StandIn, said: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Docker sets one in every container, where a person has one."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "elsewhere")
    with shipping.processors(options(logstash.logs_url)) as extra:
        logs.setup(extra=extra, stream=said)
        structlog.get_logger().info("tick")
    assert 1 == logstash.statistics()["logs"]["events"]["in"]


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"url": "127.0.0.1:8081"}, "must be http://"),
        ({"url": "http://clima:secret@127.0.0.1:8081"}, "not in the url"),
        ({"username": "clima"}, "one is no use without the other"),
    ],
)
def test_what_cannot_work_is_refused(given: dict[str, str], problem: str) -> None:
    """With the option's name, before anything starts."""
    with pytest.raises(ConfigurationError, match=problem) as caught:
        convert({"log": {"logstash": given}}, Configuration, "forwarder.toml")
    assert "forwarder.toml: log.logstash" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.slow
def test_the_daemon_ships_its_log_from_the_first_event_to_the_last(
    logstash: StandIn, elasticsearch: Server, tmp_path: Path
) -> None:
    """`forwarder_started` and `forwarder_stopped` both, by the configuration file."""
    config = tmp_path / "forwarder.toml"
    (tmp_path / "password").write_text(StandIn.password)
    config.write_text(
        '[stations]\nlisten = "tcp://127.0.0.1:0"\ndirectory = "s"\nkey_file = "forwarder.key"\n'
        '[output]\ntype = "sqlite"\npath = "readings.sqlite"\n'
        '[pairing]\nenabled = false\n[feed]\naddress = "tcp://127.0.0.1:0"\n[http]\nport = 0\n'
        f'[log.logstash]\nurl = "{logstash.logs_url}"\nusername = "clima"\n'
        'password = { file = "password" }\n'
    )
    command = [sys.executable, "-m", "clima_forwarder", "forward", "--config", str(config)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as forwarder:
        assert forwarder.stderr is not None
        started = json.loads(forwarder.stderr.readline())
        forwarder.terminate()
        rest = forwarder.stderr.read().splitlines()
    assert 0 == forwarder.returncode
    events = [json.loads(line)["event"] for line in rest]
    # Its store may have been opened by then.
    assert ["forwarder_stopped"] == [event for event in events if event != "store_available"]
    query = {"query": {"term": {"labels.public_key": started["public_key"]}}}

    def life() -> str:
        elasticsearch.request("POST", f"/{LOGS}/_refresh?ignore_unavailable=true")
        path = f"/{LOGS}/_search?ignore_unavailable=true"
        hits = elasticsearch.request("POST", path, query)["hits"]["hits"]
        return str(hits[0]["_source"]["event"]["id"]).rpartition(":")[0] if hits else ""

    until(life)
    of_life = {"size": 100, "query": {"prefix": {"event.id": life() + ":"}}}
    hits = elasticsearch.request("POST", f"/{LOGS}/_search", of_life)["hits"]["hits"]
    messages = {hit["_source"]["message"] for hit in hits}
    assert {"forwarder_started", "forwarder_stopped"} <= messages
