"""Docker Compose for tests: an engine that runs, and images that it has or can get.

Those that `.ci/docker` has built of what package registries have, where they are: Python's, and
Elasticsearch's, which is a real server without the optional modules. So users are those of its
file realm, and there is no Kibana and no Logstash. Else the official images, if they can be pulled.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

COMPOSE = Path(__file__).parent.parent.parent / "compose"
OVERRIDES = Path(__file__).parent
OURS = {"CLIMA_FORWARDER_IMAGE": "clima-forwarder:test", "CLIMA_AGENT_IMAGE": "clima-agent:test"}
PYTHON, ELASTICSEARCH = "clima-test/python", "clima-test/elasticsearch"
CA_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")  # it may have a proxy's


@dataclass(frozen=True)
class Engine:
    """What Compose is told on this machine; `lab` when the images are not the official ones."""

    lab: bool
    files: tuple[Path, ...] = ()
    environ: Mapping[str, str] = field(default_factory=lambda: OURS)


@functools.cache
def find() -> Engine | str:
    """The engine, or why there is none."""
    if not shutil.which("docker"):
        return "no docker here"
    if not _works("docker", "version"):
        return "no Docker engine answers: start it"
    if not _works("docker", "compose", "version"):
        return "docker has no Compose v2 here"
    if _works("docker", "image", "inspect", PYTHON, ELASTICSEARCH):
        return _lab()
    file = str(COMPOSE / "compose.yaml")
    if _works("docker", "compose", "--file", file, "pull", "--quiet", "--ignore-buildable"):
        return Engine(lab=False)
    return "the images cannot be pulled, and .ci/docker has not built any in their place"


def _lab() -> Engine:
    files = [OVERRIDES / "lab.yaml"]
    environ = {
        **OURS,
        "PYTHON_IMAGE": PYTHON,
        "ELASTICSEARCH_IMAGE": ELASTICSEARCH,
        "CLIMA_USERS": "file",
    }
    if CA_BUNDLE.exists():
        files.append(COMPOSE / "ca.yaml")
        environ["CLIMA_CA_FILE"] = str(CA_BUNDLE)
    return Engine(lab=True, files=tuple(files), environ=environ)


def _works(*command: str) -> bool:
    """Whether a command ends well."""
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
