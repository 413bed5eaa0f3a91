"""All checks together: side by side, within a bound, whatever one of them does."""

from __future__ import annotations

import time
from types import ModuleType

from clima_core.errors import UnavailableError
from clima_forwarder.config import Feed, Http
from clima_forwarder.doctor.examination import CHECKS
from clima_forwarder.doctor.finding import Finding, ok
from clima_forwarder.doctor.site import Site
from clima_forwarder.outputs import elasticsearch, logstash
from tests.forwarder.doctor.conftest import Patient
from tests.forwarder.doctor.overlay import Overlay

MOST_S = 30.0  # a check may take nine seconds; for ever is what it must not take


def check(name: str, error: Exception | None) -> ModuleType:
    """One that says ok, or raises."""
    module = ModuleType(name)

    async def look(_: Site) -> list[Finding]:
        if error:
            raise error
        return [ok("well")]

    module.NAME = name  # type: ignore[attr-defined]
    module.look = look  # type: ignore[attr-defined]
    return module


async def test_a_check_that_fails_hides_nothing(patient: Patient) -> None:
    """Not a server that is away, nor a fault of ours; each says why, and is no finding."""
    away = UnavailableError("it is\naway")
    checks = [check("a", away), check("b", KeyError("x")), check("c", None), check("d", away)]
    found = await patient.looked(*checks)
    assert [
        Finding("ok", "well", "", "c"),
        Finding("unchecked", "it is away", "", "a, d"),
        Finding("unchecked", "a fault in Clima, please report it: KeyError('x')", "", "b"),
    ] == found


def down(patient: Patient, url: str) -> None:
    """Everything at one place."""
    patient.output = logstash.Options(
        url=url, statistics_url=url, elasticsearch=elasticsearch.Options(url=url)
    )
    patient.kibana = url
    port = int(url.rpartition(":")[2])
    patient.http, patient.feed = Http(port=port), Feed(address=f"tcp://127.0.0.1:{port}")
    patient.stations = type(patient.stations)(
        listen=f"tcp://127.0.0.1:{port}",
        directory=patient.stations.directory,
        key_file=patient.stations.key_file,
    )


async def test_with_everything_down_it_is_over_soon(patient: Patient) -> None:
    """No port answers."""
    down(patient, "http://127.0.0.1:1")
    began = time.monotonic()
    found = await patient.looked(*CHECKS)
    assert time.monotonic() - began < MOST_S
    assert 7 == sum(each.state == "broken" and each.check == "links" for each in found)


async def test_with_everything_hanging_it_is_over_soon(patient: Patient, other: Overlay) -> None:
    """Every port takes the connection and then says nothing: the worst there is."""
    other.hangs = True
    down(patient, other.url)
    began = time.monotonic()
    found = await patient.looked(*CHECKS)
    assert time.monotonic() - began < MOST_S
    assert 7 == sum(each.state == "broken" and each.check == "links" for each in found)
    assert not [each for each in found if "fault" in each.text]
