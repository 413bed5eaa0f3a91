"""What keeps a station from coming up is said in one message, with the mend."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator

import pytest

from tests.compose.engine import COMPOSE, Engine
from tests.compose.flow import standing
from tests.compose.station import Station

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def station(engine: Engine) -> Iterator[Station]:
    """A small host's, of which nothing runs."""
    with standing(engine, COMPOSE / "single.yaml") as made:
        yield made


@pytest.mark.parametrize("version", ["9.5", "newest", "7.17.29"])
def test_a_wrong_stack_version_is_said_by_init(station: Station, version: str) -> None:
    """In one line that names the variable; and nothing is started."""
    done = station.tried("run", "--rm", "--no-TTY", "init", STACK_VERSION=version)
    assert 78 == done.returncode
    (line,) = re.findall(r"^.*STACK_VERSION.*$", done.stderr, re.MULTILINE)
    assert version in line


def test_a_wrong_choice_is_said_by_init(station: Station) -> None:
    """With what is allowed."""
    done = station.tried("run", "--rm", "--no-TTY", "init", CLIMA_USERS="ldap")
    assert 78 == done.returncode
    assert 'CLIMA_USERS: "ldap" is none of native, file' in done.stderr


def test_a_port_in_use_is_said_by_docker(station: Station) -> None:
    """By its number; CLIMA_STATIONS_PORT in .env.example is the mend."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = station.tried(
            *("up", "--detach", "--no-deps", "forwarder"),
            CLIMA_STATIONS_PORT=port,
            CLIMA_STATIONS_ADDRESS="127.0.0.1",
            CLIMA_PAIRING_ADDRESS="127.0.0.1",
        )
    assert 0 != done.returncode
    assert port in done.stderr
    assert "in use" in done.stderr
