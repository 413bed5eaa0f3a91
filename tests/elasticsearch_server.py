"""A real Elasticsearch for tests: the first that this machine has of

1. the server at `CLIMA_TEST_ELASTICSEARCH_URL`, which the caller looks after;
2. a container of the official image, where a Docker engine runs;
3. the distribution that Maven keeps, where there is a JDK 21 or newer:
   `mvn dependency:get -Dtransitive=false
   -Dartifact=org.elasticsearch.distribution.integ-test-zip:elasticsearch:9.5.0:zip`
   fetches it. It is a whole server without the optional modules.

2 and 3 listen on a loopback port of their own, keep their data in a temporary folder, and can be
killed and started again with it.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import msgspec
import pytest

IMAGE = os.environ.get("ELASTICSEARCH_IMAGE", "docker.elastic.co/elasticsearch/elasticsearch:9.5.1")
HEAP = "-Xms512m -Xmx512m"
SETTINGS = {"discovery.type": "single-node", "xpack.security.enabled": "false"}
_ZIPS = Path.home() / ".m2/repository/org/elasticsearch/distribution/integ-test-zip/elasticsearch"


class Server:
    """A server that somebody else looks after; the subclasses look after theirs themselves."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    def start(self) -> None:
        """Start, or start again after `kill`, and wait until it answers."""
        self.wait()

    def kill(self) -> None:
        """`kill -9`, at once."""
        pytest.skip("CLIMA_TEST_ELASTICSEARCH_URL is not ours to kill")

    def stop(self) -> None:
        """The end of the tests."""

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """One request with JSON both ways."""
        data = None if body is None else msgspec.json.encode(body)
        headers = {"content-type": "application/json"}
        with urlopen(Request(self.url + path, data, headers, method=method)) as answer:
            return msgspec.json.decode(answer.read())

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
    """The official image, in Docker."""

    def __init__(self) -> None:
        from testcontainers.core.container import DockerContainer  # noqa: PLC0415 - slow to import

        port = _free_port()
        super().__init__(f"http://127.0.0.1:{port}")
        self._container = DockerContainer(IMAGE).with_bind_ports(9200, port)
        for name, value in {**SETTINGS, "ES_JAVA_OPTS": HEAP}.items():
            self._container.with_env(name, value)
        self._container.start()

    def start(self) -> None:
        self._container.get_wrapped_container().start()
        self.wait()

    def kill(self) -> None:
        self._container.get_wrapped_container().kill()

    def stop(self) -> None:
        self._container.stop()


class Distribution(Server):
    """The server from Maven's zip, as a process of another user than root."""

    def __init__(self, archive: Path, java: Path) -> None:
        self._port, self._transport = _free_port(), _free_port()
        super().__init__(f"http://127.0.0.1:{self._port}")
        self._folder = Path(tempfile.mkdtemp(prefix="clima-elasticsearch-"))
        self._java = java
        self._process: subprocess.Popen[bytes] | None = None
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(self._folder)
        (self._home,) = self._folder.glob("elasticsearch-*")
        for program in (self._home / "bin").iterdir():
            program.chmod(0o755)
        self._user = "nobody" if os.getuid() == 0 else None
        if self._user:
            for path in (self._folder, *self._folder.rglob("*")):
                shutil.chown(path, self._user)

    def start(self) -> None:
        ports = {"http.port": self._port, "transport.port": self._transport}
        options = [f"-E{name}={value}" for name, value in {**SETTINGS, **ports}.items()]
        environ = {"ES_JAVA_HOME": self._java, "ES_JAVA_OPTS": HEAP, "HOME": self._folder}
        with (self._folder / "output.log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._home / "bin/elasticsearch", *options],
                env={"PATH": os.environ["PATH"], **{k: str(v) for k, v in environ.items()}},
                stdout=log,
                stderr=log,
                user=self._user,
                start_new_session=True,  # the launcher and the server it starts die together
            )
        self.wait()

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
    if _docker():
        return f"container of {IMAGE}"
    if (archive := _archive()) and _java():
        return archive.name
    return ""


def launch() -> Server | None:
    """A server that answers, or None where there is none."""
    if url := os.environ.get("CLIMA_TEST_ELASTICSEARCH_URL"):
        server = Server(url)
    elif _docker():
        server = Container()
    elif (archive := _archive()) and (java := _java()):
        server = Distribution(archive, java)
    else:
        return None
    try:
        server.start()
    except BaseException:
        server.stop()
        raise
    return server


def _docker() -> bool:
    """Whether an engine is there that has the image or can pull it."""
    if not shutil.which("docker"):
        return False
    known = subprocess.run(["docker", "image", "inspect", IMAGE], capture_output=True, check=False)
    if known.returncode == 0:
        return True
    return (
        subprocess.run(["docker", "pull", "-q", IMAGE], capture_output=True, check=False).returncode
        == 0
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


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])
