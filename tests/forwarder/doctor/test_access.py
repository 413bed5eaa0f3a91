"""Credentials and privileges."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from clima_core.configuration import Secret
from clima_forwarder.doctor import access
from clima_forwarder.outputs import logstash
from tests import logstash_standin
from tests.elasticsearch_server import Server
from tests.forwarder.doctor.conftest import Patient, straight
from tests.forwarder.doctor.overlay import Overlay
from tests.logstash_standin import StandIn

KEY = {
    "username": "clima_forwarder",
    "authentication_type": "api_key",
    "api_key": {"id": "abc", "name": "clima-forwarder"},
}
ALL: dict[str, Any] = {"has_all_requested": True, "cluster": {}, "index": {}}
DAY_MS = 86_400_000


@pytest.fixture
def keyed(patient: Patient, other: Overlay) -> Overlay:
    """A server that takes the forwarder's API key, which may do everything."""
    patient.output = msgspec.structs.replace(straight(other.url), api_key=Secret("a2V5"))
    other.answers = {
        "/_security/_authenticate": (200, KEY),
        "/_security/api_key": (200, {"api_keys": [{"id": "abc"}]}),
        "/_security/user/_has_privileges": (200, ALL),
    }
    return other


@pytest.mark.usefixtures("keyed")
async def test_a_key_that_counts_and_may_do_all(patient: Patient) -> None:
    """By its name, and by what the server says that it may."""
    states = await patient.states(access)
    assert ["ok", "ok"] == [state for state, _ in states]
    assert 'Elasticsearch takes the API key "clima-forwarder"' == states[0][1]


async def test_missing_privileges_are_named(keyed: Overlay, patient: Patient) -> None:
    """Each, and on what."""
    lacking = {"logs-clima.*": {"create_doc": False, "read": True}}
    answer = {"has_all_requested": False, "cluster": {}, "index": lacking}
    keyed.answers["/_security/user/_has_privileges"] = (200, answer)
    found = (await patient.looked(access))[1]
    assert "broken" == found.state
    assert "lacks privileges: create_doc on logs-clima.*" in found.text
    assert found.mend.endswith("clima provision")


async def test_a_key_that_will_expire(keyed: Overlay, patient: Patient) -> None:
    """While there is time to renew it."""
    ends = int(time.time() * 1000) + 3 * DAY_MS
    keyed.answers["/_security/api_key"] = (200, {"api_keys": [{"expiration": ends}]})
    found = (await patient.looked(access))[0]
    assert ("warning", "clima rotate") == (found.state, found.mend)
    ends += 300 * DAY_MS
    keyed.answers["/_security/api_key"] = (200, {"api_keys": [{"expiration": ends}]})
    assert "ok" == (await patient.looked(access))[0].state


async def test_a_key_that_does_not_count(keyed: Overlay, patient: Patient) -> None:
    """Expired, invalidated, mistyped: the server says the same to all."""
    keyed.answers["/_security/_authenticate"] = (401, {"error": "no"})
    (found,) = await patient.looked(access)
    assert "broken" == found.state
    assert "refuses the forwarder's API key" in found.text


async def test_a_wrong_password_and_none(keyed: Overlay, patient: Patient) -> None:
    """Which of the two it is."""
    keyed.answers["/_security/_authenticate"] = (401, {"error": "no"})
    patient.output = msgspec.structs.replace(
        straight(keyed.url), username="clima", password=Secret("x")
    )
    assert 'refuses the user "clima"' in (await patient.looked(access))[0].text
    patient.output = straight(keyed.url)
    assert "and the output has none" in (await patient.looked(access))[0].text


async def test_a_server_without_security_is_said(patient: Patient, elasticsearch: Server) -> None:
    """The server of the tests is one."""
    patient.output = straight(elasticsearch.url)
    (found,) = await patient.looked(access)
    assert "warning" == found.state
    assert "security is off" in found.text


async def test_a_server_that_is_not_there_is_no_finding_about_credentials(
    patient: Patient,
) -> None:
    """Nobody knows whether they are right."""
    patient.output = straight("http://127.0.0.1:1")
    (found,) = await patient.looked(access)
    assert "unchecked" == found.state
    assert "Elasticsearch cannot be asked" in found.text


def _through(stand_in: StandIn, store: str, password: str) -> logstash.Options:
    return logstash.Options(
        url=stand_in.url,
        username=stand_in.username,
        password=Secret(password),
        elasticsearch=straight(store),
    )


async def test_logstashs_input_is_asked_and_gets_no_event(
    patient: Patient, elasticsearch: Server, tmp_path: Path
) -> None:
    """The right password, a wrong one; and neither puts anything into its queue."""
    for stand_in in logstash_standin.running(tmp_path / "logstash", elasticsearch.url):
        patient.output = _through(stand_in, elasticsearch.url, stand_in.password)
        found = (await patient.looked(access))[-1]
        assert "ok" == found.state, found
        patient.output = _through(stand_in, elasticsearch.url, "wrong")
        found = (await patient.looked(access))[-1]
        assert ("broken", f'Logstash\'s input refuses the user "{stand_in.username}"') == (
            found.state,
            found.text,
        )
        assert 0 == stand_in.counts().accepted
