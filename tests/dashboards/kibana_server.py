"""A real Kibana for tests: the first that this machine has of

1. the one at `CLIMA_TEST_KIBANA_URL`, with `…_USERNAME` and `…_PASSWORD`, which must be in front of
   the Elasticsearch at `CLIMA_TEST_FULL_ELASTICSEARCH_URL`;
2. a container of the official image, in front of a full Elasticsearch that is one too.

The tests replace Clima's own dashboards and alert rules there, and touch nothing else.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager

from clima_core.errors import UnavailableError
from clima_dashboards.kibana import Kibana
from tests.elasticsearch_server import Container, docker_has, free_port

IMAGE = os.environ.get("KIBANA_IMAGE", "docker.elastic.co/kibana/kibana:9.5.1")
USER = "kibana_system"  # as whom Kibana itself logs in; people do as `elastic`
BEHIND = "elasticsearch"  # what Kibana's container calls the other one
STARTS_S = 300


def given() -> Kibana | None:
    """The Kibana that the caller looks after."""
    if not (url := os.environ.get("CLIMA_TEST_KIBANA_URL")):
        return None
    return Kibana(
        url,
        username=os.environ.get("CLIMA_TEST_KIBANA_USERNAME", "elastic"),
        password=os.environ.get("CLIMA_TEST_KIBANA_PASSWORD", ""),
    )


def can_launch() -> bool:
    """Whether Docker has the image, or can pull it."""
    return docker_has(IMAGE)


@contextmanager
def launched(elasticsearch: Container) -> Iterator[Kibana]:
    """One of the tests' own, in front of that server, until the end."""
    from testcontainers.core.container import DockerContainer  # noqa: PLC0415 - slow to import

    password = secrets.token_urlsafe(12)
    path = f"/_security/user/{USER}/_password"
    elasticsearch.request("POST", path, {"password": password})
    name, own = elasticsearch.user or ("", "")
    port = free_port()
    with shared_network(elasticsearch) as network:
        container = DockerContainer(IMAGE).with_kwargs(network=network).with_bind_ports(5601, port)
        for variable, value in _settings(password).items():
            container.with_env(variable, value)
        with container:
            kibana = Kibana(f"http://127.0.0.1:{port}", username=name, password=own)
            wait(kibana)
            yield kibana


@contextmanager
def shared_network(elasticsearch: Container) -> Iterator[str]:
    """The name of a network in which that server is called `BEHIND`."""
    from testcontainers.core.docker_client import DockerClient  # noqa: PLC0415

    network = DockerClient().client.networks.create(f"clima-kibana-{secrets.token_hex(4)}")
    network.connect(elasticsearch.id, aliases=[BEHIND])
    try:
        yield str(network.name)
    finally:
        network.disconnect(elasticsearch.id)
        network.remove()


def _settings(password: str) -> dict[str, str]:
    """By environment; keys are random, for they are of this one life."""
    return {
        "ELASTICSEARCH_HOSTS": f"http://{BEHIND}:9200",
        "ELASTICSEARCH_USERNAME": USER,
        "ELASTICSEARCH_PASSWORD": password,
        "XPACK_ENCRYPTEDSAVEDOBJECTS_ENCRYPTIONKEY": secrets.token_hex(16),
        "XPACK_SECURITY_ENCRYPTIONKEY": secrets.token_hex(16),
        "TELEMETRY_ENABLED": "false",
        "NODE_OPTIONS": "--max-old-space-size=1024",
    }


def wait(kibana: Kibana, timeout_s: float = STARTS_S) -> None:
    """Until it answers and is ready; UnavailableError when it is not by then."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            kibana.version()
        except UnavailableError:
            if time.monotonic() > deadline:
                raise
            time.sleep(1)
        else:
            return
