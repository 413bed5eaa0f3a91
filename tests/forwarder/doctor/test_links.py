"""Names, ports, and what answers there."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest

from clima_forwarder.config import Feed, Http, Pairing
from clima_forwarder.doctor import links
from tests.forwarder.daemon import daemon
from tests.forwarder.doctor.conftest import Patient, by_logstash, straight
from tests.forwarder.doctor.overlay import Overlay


async def test_a_forwarder_that_runs_answers_everywhere(patient: Patient, tmp_path: Path) -> None:
    """HTTP, the stations' port with CURVE, the live feed without, and where stations pair."""
    async with daemon(tmp_path) as running:
        port = urlsplit(running.started["http"]).port
        assert port is not None
        patient.http = Http(port=port)
        patient.feed = Feed(address=running.started["feed"])
        patient.stations = type(patient.stations)(listen=running.started["listen"])
        patient.pairing = Pairing(listen=running.started["pairing"])
        assert ["ok"] * 4 == [state for state, _ in await patient.states(links)]


async def test_a_closed_port_is_broken_and_the_mend_starts_what_is_missing(
    patient: Patient,
) -> None:
    """Here the forwarder."""
    found = (await patient.looked(links))[0]
    assert ("broken", "clima forward -c forwarder.toml") == (found.state, found.mend)
    assert "127.0.0.1:1: no connection: Connection refused" in found.text


async def test_a_pairing_port_that_is_closed_is_no_more_than_a_warning(patient: Patient) -> None:
    """No reading depends on it."""
    patient.pairing = Pairing(listen="tcp://127.0.0.1:1")
    (found,) = [each for each in await patient.looked(links) if "pairing port" in each.text]
    assert ("warning", True) == (found.state, "pairing_not_open" in found.mend)


async def test_a_name_that_does_not_resolve(patient: Patient) -> None:
    """Outside of Compose's network, the services' names are nobody's."""
    patient.output = straight("http://elasticsearch.invalid:9200")
    texts = [text for state, text in await patient.states(links) if state == "broken"]
    assert any('the name "elasticsearch.invalid" does not resolve' in text for text in texts)


async def test_another_program_on_the_stations_port(patient: Patient, other: Overlay) -> None:
    """It takes connections, so that every station believes to be nearly there."""
    patient.stations = type(patient.stations)(listen=f"tcp://127.0.0.1:{other.port}")
    (said,) = [text for _, text in await patient.states(links) if "stations' port" in text]
    assert "does not speak ZeroMQ" in said


async def test_a_feed_where_the_stations_port_should_be(patient: Patient, tmp_path: Path) -> None:
    """ZeroMQ, but not with CURVE."""
    async with daemon(tmp_path) as running:
        patient.stations = type(patient.stations)(listen=running.started["feed"])
        (said,) = [text for _, text in await patient.states(links) if "stations' port" in text]
    assert "does not speak ZeroMQ with CURVE" in said


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_server_that_answers_everything_badly(
    status: int, patient: Patient, other: Overlay
) -> None:
    """Its port is open, and it is no use."""
    other.answers["/"] = (status, {})
    patient.output = straight(other.url)
    (said,) = [each for each in await patient.states(links) if "Elasticsearch" in each[1]]
    assert ("broken", f"Elasticsearch at 127.0.0.1:{other.port}: answers {status}") == said


async def test_a_server_that_asks_for_a_password_is_well(patient: Patient, other: Overlay) -> None:
    """This check has none to give."""
    other.answers["/"] = (401, {})
    patient.output = by_logstash(other.url, other.url)
    said = [state for state, text in await patient.states(links) if f":{other.port}" in text]
    assert ["ok"] * 3 == said


async def test_a_server_that_hangs_is_found_out(patient: Patient, other: Overlay) -> None:
    """It takes the connection, and never says a word."""
    other.hangs = True
    patient.output = straight(other.url)
    (said,) = [each for each in await patient.states(links) if "Elasticsearch" in each[1]]
    assert "broken" == said[0]
    assert "the port is open, but" in said[1]
