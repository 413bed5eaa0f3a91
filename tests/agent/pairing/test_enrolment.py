"""What the person at the station is told at the end of a pairing."""

from __future__ import annotations

from pathlib import Path

import pytest

from clima_agent.clock import System
from clima_agent.connection import Forwarder
from clima_agent.pairing.enrolment import Enrolment, Here
from clima_core import keys

ADDRESS = "tcp://weather.local:5570"


@pytest.mark.parametrize(
    "command",
    ["sudo systemctl restart clima-agent", "docker compose -f agent.compose.yaml restart"],
)
def test_where_no_agent_runs_its_start_is_named(tmp_path: Path, command: str) -> None:
    """For the service, and for the container."""
    file = tmp_path / "agent.toml"
    file.write_text('[station]\nid = "roof"\n', "utf-8")
    here = Here("roof", keys.generate(), "", tmp_path / "agent.key", file, tmp_path / "spool.lock")
    said: list[str] = []

    enrolment = Enrolment(here, say=said.append, machine=System())
    enrolment.use(Forwarder(ADDRESS, keys.generate().public))

    assert f"{file} names {ADDRESS} now, and its key" == said[0]
    assert command in said[1]
