"""A user's station in containers of its own: to be looked at, broken, and proven complete.

Everything goes by Docker's and Compose's own commands, as a person would do it; nothing here
sleeps without a condition that it waits for. Elasticsearch is asked by `curl` within its own
container, with the password on standard input, so that nobody's counters are believed and no
secret is on a command line.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.compose.engine import COMPOSE, Engine

PATIENCE_S = 300.0
EVERYTHING = ("--profile", "*")


def docker(*arguments: str, given: str | None = None) -> str:
    """Standard output of `docker …`; AssertionError with all that it said if it fails."""
    done = _run(["docker", *arguments], {}, given)
    assert 0 == done.returncode, f"docker {' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def _run(
    command: Sequence[str], environ: Mapping[str, str], given: str | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        env={**os.environ, **environ},
        input=given or "",
        capture_output=True,
        text=True,
        errors="replace",
        timeout=600,
        check=False,
    )


class Station:
    """The containers, volumes and networks of one Compose project."""

    def __init__(self, engine: Engine, *files: Path, **environ: str) -> None:
        self.project = f"clima-test-{secrets.token_hex(4)}"
        self.environ = {**engine.environ, **environ}
        self._files = (COMPOSE / "compose.yaml", *files, *engine.files)

    @property
    def names(self) -> tuple[str, ...]:
        """What its Compose files are called."""
        return tuple(file.name for file in self._files)

    # -- running ----------------------------------------------------------------------------

    def tried(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """`docker compose …` on this station, with these variables besides; it may fail."""
        files = [part for file in self._files for part in ("--file", str(file))]
        command = ["docker", "compose", "--project-name", self.project, *files]
        return _run([*command, *arguments], {**self.environ, **environ})

    def compose(self, *arguments: str, **environ: str) -> str:
        """Standard output of `docker compose …`; AssertionError if it fails."""
        done = self.tried(*arguments, **environ)
        said = f"{done.stdout}\n{done.stderr}"
        assert 0 == done.returncode, f"docker compose {' '.join(arguments)}\n{said}\n{self.ends()}"
        return done.stdout

    def clima(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`docker compose run --rm cli …`."""
        return self.tried("run", "--rm", "--no-TTY", "cli", *arguments)

    def up(self, *services: str) -> None:
        """`docker compose up`, until all is healthy."""
        self.compose("--profile", "demo", "up", "--detach", "--wait", *services)

    def remove(self) -> None:
        """All of it, data included."""
        down = ("down", "--volumes", "--remove-orphans", "--timeout", "5")
        self.compose(*EVERYTHING, *down)

    # -- breaking ---------------------------------------------------------------------------

    def kill(self, service: str) -> None:
        """`docker kill`; it stays away until `start`."""
        docker("kill", self.container(service))

    def start(self, service: str) -> None:
        """`docker start`."""
        docker("start", self.container(service))

    def crash(self, service: str) -> None:
        """`kill -9` of its process, which is not Docker's doing: it comes back by itself."""
        container = self.container(service)
        before = docker("inspect", "--format={{.State.Pid}}", container).strip()
        image = self.containers()["init"]["Image"]
        python = ("--entrypoint=python3", image, "-c", f"import os; os.kill({before}, 9)")
        docker("run", "--rm", "--user=0", "--pid=host", *python)

        def back() -> bool:
            form = "--format={{.State.Running}} {{.State.Pid}}"
            running, now = docker("inspect", form, container).split()
            return running == "true" and now != before

        self.wait(f"{service} is back", back)

    def pause(self, service: str) -> None:
        """`docker pause`: it neither answers nor closes a connection."""
        docker("pause", self.container(service))

    def unpause(self, service: str) -> None:
        """`docker unpause`."""
        docker("unpause", self.container(service))

    def cut(self, service: str, network: str) -> None:
        """`docker network disconnect`."""
        docker("network", "disconnect", f"{self.project}_{network}", self.container(service))

    def join(self, service: str, network: str) -> None:
        """`docker network connect`, by its name in Compose."""
        name = f"{self.project}_{network}"
        docker("network", "connect", f"--alias={service}", name, self.container(service))

    # -- looking ----------------------------------------------------------------------------

    def container(self, service: str) -> str:
        """The id of the service's container, running or not."""
        found = self._ids(f"service={service}", "oneoff=False")
        assert found, f"{service} has no container"
        return found[0]

    def containers(self) -> dict[str, dict[str, Any]]:
        """`docker inspect` of all containers of this station, by service."""
        return {
            each["Config"]["Labels"]["com.docker.compose.service"]: each
            for each in json.loads(docker("inspect", *self._ids()))
        }

    def _ids(self, *labels: str) -> list[str]:
        """Of this station's containers with these labels; twenty times as fast as `compose ps`."""
        wanted = (f"project={self.project}", *labels)
        filters = [f"--filter=label=com.docker.compose.{label}" for label in wanted]
        return docker("ps", "--all", "--quiet", *filters).split()

    def health(self, service: str) -> str:
        """What Docker calls it."""
        return str(self.containers()[service]["State"].get("Health", {}).get("Status"))

    def ends(self) -> str:
        """The last lines of every service's log."""
        return self.tried(*EVERYTHING, "logs", "--no-color", "--tail", "8").stdout

    def wait(self, what: str, condition: Callable[[], bool], timeout_s: float = PATIENCE_S) -> None:
        """Until the condition holds; AssertionError with the ends of the logs if it does not."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"still not, after {timeout_s:g} s: {what}\n{self.ends()}")
            time.sleep(0.2)

    # -- the vault and the store --------------------------------------------------------------

    def volume(self, name: str) -> str:
        """The full name of one of its volumes."""
        return f"{self.project}_{name}"

    def read(self, volume: str) -> dict[str, str]:
        """The files of a volume, by their paths in it."""
        script = (
            "import json, pathlib; folder = pathlib.Path('/volume');"
            "files = [path for path in folder.rglob('*') if path.is_file()];"
            "print(json.dumps({str(path.relative_to(folder)):"
            " path.read_text(errors='replace') for path in files}))"
        )
        mount = f"{self.volume(volume)}:/volume:ro"
        image = self.containers()["init"]["Image"]
        python = ("--user=0", "--entrypoint=python3", image, "-c", script)
        found: dict[str, str] = json.loads(docker("run", "--rm", f"--volume={mount}", *python))
        return found

    @cached_property
    def _elastic(self) -> str:
        return self.read("vault")["elastic"].strip()

    def elasticsearch(self, path: str, body: Any = None) -> Any:
        """What Elasticsearch answers its own superuser, as soon as it answers well."""
        settings = [
            f'url = "http://127.0.0.1:9200{path}"',
            f'user = "elastic:{self._elastic}"',
            'header = "content-type: application/json"',
        ]
        if body is not None:
            settings.append(f"data = {json.dumps(json.dumps(body))}")
        curl = ("curl", "--silent", "--fail", "--config", "-")
        asked = ("docker", "exec", "--interactive", self.container("elasticsearch"), *curl)
        answers: list[str] = []

        def answered() -> bool:
            done = _run(asked, {}, "\n".join(settings))
            answers.append(done.stdout)
            return done.returncode == 0

        self.wait(f"Elasticsearch answers {path}", answered)
        return json.loads(answers[-1])

    def waiting(self, agent: str) -> int:
        """How many records the agent's spool holds that are not acknowledged."""
        status = ("clima-agent", "status", "--json", "--config=/var/lib/clima-agent/agent.toml")
        return int(json.loads(docker("exec", self.container(agent), *status))["waiting"])

    def stored(self, station: str) -> int:
        """How many readings of a station can be found in Elasticsearch now."""
        query = {"query": {"term": {"station.id": station}}}
        return int(self.elasticsearch("/metrics-clima.weather-*/_count", query)["count"])

    def moments(self, station: str) -> int:
        """How many readings of a station differ in time, to the millisecond."""
        moment = {"date_histogram": {"field": "@timestamp", "fixed_interval": "1ms"}}
        after: dict[str, Any] = {}
        found = 0
        while True:
            composite = {"size": 10_000, "sources": [{"at": moment}], **after}
            query = {
                "size": 0,
                "query": {"term": {"station.id": station}},
                "aggs": {"moments": {"composite": composite}},
            }
            answer = self.elasticsearch("/metrics-clima.weather-*/_search", query)
            page = answer["aggregations"]["moments"]
            found += len(page["buckets"])
            if "after_key" not in page:
                return found
            after = {"after": page["after_key"]}
