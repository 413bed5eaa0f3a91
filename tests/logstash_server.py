"""A real Logstash with our pipelines, for tests: the first that this machine has of

1. the one at `CLIMA_TEST_LOGSTASH_URL` (its input of readings), which the caller looks after, with
   - `CLIMA_TEST_LOGSTASH_LOGS_URL`: its input of logs,
   - `CLIMA_TEST_LOGSTASH_STATISTICS_URL`: its statistics,
   - `CLIMA_TEST_LOGSTASH_USERNAME` (`clima` if not given) and `CLIMA_TEST_LOGSTASH_PASSWORD`: of
     all three,
   - `CLIMA_TEST_LOGSTASH_ELASTICSEARCH_URL`: the Elasticsearch that it writes to, with the
     templates installed, and its user and password in the address
     (`http://elastic:secret@127.0.0.1:9200`);
2. a container of the official image in the host's network, where a Docker engine has that image
   or can pull it, together with the Elasticsearch of the other tests.

It may be shared: a test keeps to a station of its own.
"""

from __future__ import annotations

import base64
import os
import secrets
import shutil
import socket
import subprocess
import time
from http.client import HTTPException
from importlib import resources
from typing import Any, NamedTuple
from urllib.error import HTTPError
from urllib.parse import urlsplit, urlunsplit
from urllib.request import Request, urlopen

import msgspec

IMAGE = os.environ.get("LOGSTASH_IMAGE", "docker.elastic.co/logstash/logstash:9.5.1")
NDJSON = "application/x-ndjson"
START_S = 240.0
OPENING_S = 30.0  # of a new index, on a busy machine
_VARIABLE = "CLIMA_TEST_LOGSTASH_"


class Answer(NamedTuple):
    """What somebody answered by HTTP."""

    status: int
    body: bytes

    def json(self) -> Any:
        """The body as JSON."""
        return msgspec.json.decode(self.body)


class Logstash:
    """A Logstash that somebody else looks after, and the Elasticsearch that it writes to."""

    def __init__(self, urls: dict[str, str], username: str, password: str) -> None:
        self.readings, self.logs = urls["readings"], urls["logs"]
        self.statistics, self.elasticsearch = urls["statistics"], urls["elasticsearch"]
        self.username, self.password = username, password

    def post(
        self, body: bytes, *, content_type: str = NDJSON, url: str = "", password: str | None = None
    ) -> Answer:
        """Send it to the readings, or to `url`."""
        login = f"{self.username}:{self.password if password is None else password}"
        return _ask("POST", url or self.readings, login, body, content_type)

    def pipelines(self) -> dict[str, Any]:
        """What it says of its pipelines, by their names."""
        url = f"{self.statistics.rstrip('/')}/_node/stats/pipelines"
        answer = _ask("GET", url, f"{self.username}:{self.password}")
        found: dict[str, Any] = answer.json()["pipelines"]
        return found

    def search(self, index: str, query: dict[str, Any]) -> list[dict[str, Any]]:
        """Every document of the index that the query finds, ids and all; refreshed before."""
        self.store("POST", f"/{index}/_refresh?ignore_unavailable=true")
        body = {"query": query, "size": 1_000, "sort": ["_doc"]}
        deadline = time.monotonic() + OPENING_S
        while True:
            answer = self.store("POST", f"/{index}/_search?ignore_unavailable=true", body)
            if answer.status != 503 or time.monotonic() > deadline:
                break
            time.sleep(0.2)  # the index is so new that it is not open yet
        hits: list[dict[str, Any]] = answer.json()["hits"]["hits"]
        return hits

    def store(self, method: str, path: str, body: Any = None) -> Answer:
        """A request to its Elasticsearch."""
        parts = urlsplit(self.elasticsearch)
        login = f"{parts.username}:{parts.password}" if parts.username else ""
        bare = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
        content = None if body is None else msgspec.json.encode(body)
        return _ask(method, bare.rstrip("/") + path, login, content, "application/json")

    def wait(self) -> None:
        """Until it takes readings."""
        deadline = time.monotonic() + START_S
        while True:
            try:
                if self.post(b"").status == 200:
                    return
            except (OSError, HTTPException):
                pass
            if time.monotonic() > deadline:
                raise RuntimeError(f"Logstash at {self.readings} takes nothing")
            time.sleep(0.2)

    def stop(self) -> None:
        """The end of the tests."""


class Container(Logstash):
    """The official image, with the pipelines as they lie in the repository."""

    def __init__(self, elasticsearch_url: str) -> None:
        from testcontainers.core.container import DockerContainer  # noqa: PLC0415 - slow to import

        ports = {name: _free_port() for name in ("READINGS", "LOGS", "STATISTICS")}
        urls = {name.lower(): f"http://127.0.0.1:{port}" for name, port in ports.items()}
        password = "Aa1" + secrets.token_urlsafe(16)  # Logstash asks for a digit and both cases
        super().__init__({**urls, "elasticsearch": elasticsearch_url}, "clima", password)
        variables = {
            "CLIMA_ELASTICSEARCH_URL": elasticsearch_url,
            "CLIMA_ELASTICSEARCH_PASSWORD": "none is asked for",
            "CLIMA_INPUT_PASSWORD": password,
            "CLIMA_LOGSTASH_HOST": "127.0.0.1",
            "CLIMA_LOGSTASH_PIPELINES": "/etc/clima",
            **{f"CLIMA_{name}_PORT": str(port) for name, port in ports.items()},
        }
        folder = resources.files("clima_elk").joinpath("logstash")
        self._container = DockerContainer(IMAGE, network_mode="host")
        self._container.with_command("--path.settings /etc/clima")
        self._container.with_volume_mapping(str(folder), "/etc/clima", "ro")
        for name, value in variables.items():
            self._container.with_env(name, value)
        self._container.start()

    def stop(self) -> None:
        self._container.stop()


def provider() -> str:
    """Which of the two there is, in words; empty when none."""
    return os.environ.get(f"{_VARIABLE}URL") or (f"container of {IMAGE}" if _docker() else "")


def given() -> Logstash | None:
    """The one that the environment names, if it names one."""
    if not (readings := os.environ.get(f"{_VARIABLE}URL")):
        return None
    names = ("LOGS", "STATISTICS", "ELASTICSEARCH")
    urls = {name.lower(): os.environ[f"{_VARIABLE}{name}_URL"] for name in names}
    username = os.environ.get(f"{_VARIABLE}USERNAME", "clima")
    password = os.environ[f"{_VARIABLE}PASSWORD"]
    return Logstash({"readings": readings, **urls}, username, password)


def launch(elasticsearch_url: str) -> Logstash | None:
    """A container that writes there and takes readings, or None where there can be none."""
    if not _docker():
        return None
    container = Container(elasticsearch_url)
    try:
        container.wait()
    except BaseException:
        container.stop()
        raise
    return container


def _ask(
    method: str, url: str, login: str, body: bytes | None = None, content_type: str = NDJSON
) -> Answer:
    headers = {"content-type": content_type}
    if login:
        headers["authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"
    try:
        with urlopen(Request(url, body, headers, method=method), timeout=30) as answer:
            return Answer(answer.status, answer.read())
    except HTTPError as error:
        return Answer(error.code, error.read())


def _docker() -> bool:
    """Whether an engine is there that has the image or can pull it."""
    if not shutil.which("docker"):
        return False
    return any(
        subprocess.run(["docker", *how, IMAGE], capture_output=True, check=False).returncode == 0
        for how in (("image", "inspect"), ("pull", "-q"))
    )


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])
