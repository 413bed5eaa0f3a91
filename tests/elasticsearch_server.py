"""A real Elasticsearch for tests: the first that this machine has of

1. the server at `CLIMA_TEST_ELASTICSEARCH_URL`, which the caller looks after, with
   `cluster.info.update.interval` as in SETTINGS;
2. a container of the official image, where a Docker engine runs;
3. the distribution that Maven keeps, where there is a JDK 21 or newer:
   `mvn dependency:get -Dtransitive=false
   -Dartifact=org.elasticsearch.distribution.integ-test-zip:elasticsearch:9.5.0:zip`
   fetches it. It is a whole server without the optional modules.

2 and 3 listen on a loopback port of their own, keep their data in a temporary folder, and can be
killed and started again with it.

Some tests need all modules, and security: a *full* server. That is the one at
`CLIMA_TEST_FULL_ELASTICSEARCH_URL` (with `…_USERNAME` and `…_PASSWORD`; the tests replace what
Clima has there, and add data), or a container. Maven's distribution has security too, by files.
"""

from __future__ import annotations

import base64
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import msgspec
import pytest

IMAGE = os.environ.get("ELASTICSEARCH_IMAGE", "docker.elastic.co/elasticsearch/elasticsearch:9.5.1")
HEAP = "-Xms512m -Xmx512m"
OPENING_S = 30  # a new index on a busy machine
SETTINGS = {
    "discovery.type": "single-node",
    "xpack.security.enabled": "false",
    # It would take a block for a full disk off again every half minute: this disk is not full.
    "cluster.info.update.interval": "1h",
}
SECURED = {"xpack.security.enabled": "true"}
_ZIPS = Path.home() / ".m2/repository/org/elasticsearch/distribution/integ-test-zip/elasticsearch"


class Server:
    """A server that somebody else looks after; the subclasses look after theirs themselves."""

    def __init__(self, url: str, user: tuple[str, str] | None = None) -> None:
        self.url = url.rstrip("/")
        self.user = user  # name and password of one who may do everything

    def start(self) -> None:
        """Start, or start again after `kill`, and wait until it answers."""
        self.wait()

    def kill(self) -> None:
        """`kill -9`, at once."""
        pytest.skip("CLIMA_TEST_ELASTICSEARCH_URL is not ours to kill")

    def stop(self) -> None:
        """The end of the tests."""

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """One request with JSON both ways; bytes are sent as they are.

        A search is asked again for a while where it finds an index so new that it is not open yet.
        """
        data = body if body is None or isinstance(body, bytes) else msgspec.json.encode(body)
        headers = {"content-type": "application/json"}
        if self.user:
            headers["authorization"] = (
                f"Basic {base64.b64encode(':'.join(self.user).encode()).decode()}"
            )
        request = Request(self.url + path, data, headers, method=method)
        deadline = time.monotonic() + OPENING_S
        while True:
            try:
                with urlopen(request) as answer:
                    return msgspec.json.decode(answer.read())
            except HTTPError as error:
                new = error.code == 503 and "/_search" in path and time.monotonic() < deadline
                if not new:
                    raise
                error.close()
                time.sleep(0.2)

    def rollover(self, data_stream: str) -> None:
        """Begin a new backing index: from here on, the `_id`s before are free again."""
        self.request("POST", f"/{data_stream}/_rollover")

    def alive(self) -> bool:
        """Whether there is any point in waiting."""
        return True

    def wait(self, timeout_s: float = 120) -> None:
        """Until the server answers and has its shards."""
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                self.request("GET", "/_cluster/health?wait_for_status=yellow&timeout=30s")
                return
            except OSError:
                if time.monotonic() > deadline or not self.alive():
                    raise
                time.sleep(0.2)


class Container(Server):
    """The official image, in Docker; with a password, it asks for one."""

    def __init__(self, password: str | None = None) -> None:
        from testcontainers.core.container import DockerContainer  # noqa: PLC0415 - slow to import

        port = free_port()
        super().__init__(f"http://127.0.0.1:{port}", ("elastic", password) if password else None)
        self._container = DockerContainer(IMAGE).with_bind_ports(9200, port)
        secured = {**SECURED, "ELASTIC_PASSWORD": password} if password else {}
        for name, value in {**SETTINGS, "ES_JAVA_OPTS": HEAP, **secured}.items():
            self._container.with_env(name, value)
        self._container.start()

    @property
    def id(self) -> str:
        """What Docker calls it."""
        return str(self._container.get_wrapped_container().id)

    def start(self) -> None:
        self._container.get_wrapped_container().start()
        self.wait()

    def kill(self) -> None:
        self._container.get_wrapped_container().kill()

    def stop(self) -> None:
        self._container.stop()


class Distribution(Server):
    """The server from Maven's zip, as a process of another user than root."""

    def __init__(
        self,
        archive: Path,
        java: Path,
        settings: Mapping[str, str] | None = None,
        password: str | None = None,
        files: Mapping[str, str] | None = None,
    ) -> None:
        """`settings` are added to the usual ones, `files` to its folder config/.

        With a password (of `elastic`), it asks for one.
        """
        secured = SECURED if password else {}
        self._settings = {**SETTINGS, **secured, **(settings or {})}
        self._port, self._transport = free_port(), free_port()
        user = ("elastic", password) if password else None
        super().__init__(f"http://127.0.0.1:{self._port}", user)
        self._folder = Path(tempfile.mkdtemp(prefix="clima-elasticsearch-"))
        self._java = java
        self._process: subprocess.Popen[bytes] | None = None
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(self._folder)
        (self._home,) = self._folder.glob("elasticsearch-*")
        for program in (self._home / "bin").iterdir():
            program.chmod(0o755)
        for name, text in (files or {}).items():
            (self._home / "config" / name).write_text(text, "utf-8")
        if password:
            self._keep("bootstrap.password", password)
        self._user = "nobody" if os.getuid() == 0 else None
        if self._user:
            for path in (self._folder, *self._folder.rglob("*")):
                shutil.chown(path, self._user)

    def start(self) -> None:
        ports = {"http.port": self._port, "transport.port": self._transport}
        options = [f"-E{name}={value}" for name, value in {**self._settings, **ports}.items()]
        with (self._folder / "output.log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._home / "bin/elasticsearch", *options],
                env=self._environ(),
                stdout=log,
                stderr=log,
                user=self._user,
                start_new_session=True,  # the launcher and the server it starts die together
            )
        self.wait()

    def _environ(self) -> dict[str, str]:
        environ = {"ES_JAVA_HOME": self._java, "ES_JAVA_OPTS": HEAP, "HOME": self._folder}
        return {"PATH": os.environ["PATH"], **{k: str(v) for k, v in environ.items()}}

    def _keep(self, name: str, secret: str) -> None:
        """Put a secret into the keystore."""
        program = str(self._home / "bin/elasticsearch-keystore")
        for command in ("create",), ("add", "--stdin", name):
            subprocess.run(
                [program, *command],
                env=self._environ() | {"ES_JAVA_OPTS": "-Xmx64m"},
                input=secret.encode(),
                capture_output=True,
                check=True,
            )

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGKILL)  # its data go too: no need to be gentle
        shutil.rmtree(self._folder, ignore_errors=True)

    def _end(self, how: signal.Signals) -> None:
        if self._process:
            os.killpg(self._process.pid, how)
            self._process.wait()
            self._process = None

    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def wait(self, timeout_s: float = 120) -> None:
        try:
            super().wait(timeout_s)
        except OSError as error:
            log = (self._folder / "output.log").read_text(errors="replace")
            raise RuntimeError(f"Elasticsearch did not start:\n{log[-3000:]}") from error


def provider() -> str:
    """Which of the three there is, in words; empty when none."""
    if url := os.environ.get("CLIMA_TEST_ELASTICSEARCH_URL"):
        return url
    if docker_has(IMAGE):
        return f"container of {IMAGE}"
    if (archive := _archive()) and _java():
        return archive.name
    return ""


def own(
    settings: Mapping[str, str] | None = None,
    password: str | None = None,
    files: Mapping[str, str] | None = None,
) -> Distribution | None:
    """A server of the test's own, not started; None without Maven's zip. See Distribution."""
    if (archive := _archive()) and (java := _java()):
        return Distribution(archive, java, settings, password, files)
    return None


def launch() -> Server | None:
    """A server that answers, or None where there is none."""
    if url := os.environ.get("CLIMA_TEST_ELASTICSEARCH_URL"):
        server = Server(url)
    elif docker_has(IMAGE):
        server = Container()
    elif (archive := _archive()) and (java := _java()):
        server = Distribution(archive, java)
    else:
        return None
    return _started(server)


def launch_full() -> Server | None:
    """A server with security and all modules, or None where there is none."""
    prefix = "CLIMA_TEST_FULL_ELASTICSEARCH_"
    if url := os.environ.get(f"{prefix}URL"):
        name, password = (os.environ[f"{prefix}{each}"] for each in ("USERNAME", "PASSWORD"))
        return _started(Server(url, (name, password)))
    if not (IMAGE.startswith("docker.elastic.co/") and docker_has(IMAGE)):
        return None
    return _started(Container(secrets.token_urlsafe(12)))


def _started(server: Server) -> Server:
    try:
        server.start()
    except BaseException:
        server.stop()
        raise
    return server


def docker_has(image: str) -> bool:
    """Whether an engine is there that has the image or can pull it."""
    if not shutil.which("docker"):
        return False
    ways = (["docker", "image", "inspect", image], ["docker", "pull", "-q", image])
    return any(
        subprocess.run(way, capture_output=True, check=False).returncode == 0 for way in ways
    )


def _archive() -> Path | None:
    """The newest version that Maven has fetched."""
    return max(_ZIPS.glob("*/*.zip"), key=lambda path: _numbers(path.parent.name), default=None)


def _java() -> Path | None:
    """A JDK of version 21 or newer."""
    named = [Path(os.environ[n]) for n in ("ES_JAVA_HOME", "JAVA_HOME") if os.environ.get(n)]
    for home in (*named, *sorted(Path("/usr/lib/jvm").glob("*"), reverse=True)):
        release = home / "release"
        if release.exists():
            version = re.search(r'JAVA_VERSION="(\d+)', release.read_text())
            if version and int(version[1]) >= 21:
                return home
    return None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version))


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])
