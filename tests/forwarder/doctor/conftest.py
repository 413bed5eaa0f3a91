"""A user station to look at: its configuration, and servers that may be in trouble."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from clima_forwarder.config import Configuration, Feed, Http, Pairing, Stations
from clima_forwarder.doctor.examination import examine
from clima_forwarder.doctor.finding import Finding
from clima_forwarder.doctor.site import Site
from clima_forwarder.outputs import Options, elasticsearch, logstash, sqlite
from tests.elasticsearch_server import Server
from tests.forwarder.doctor.overlay import Overlay


class Patient:
    """What one check is to look at; `output` is replaced as a test likes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.output: Options = sqlite.Options(path=folder / "readings.sqlite")
        self.stations = Stations(directory=folder / "stations", key_file=folder / "forwarder.key")
        self.http = Http(port=1)
        self.feed = Feed()
        self.pairing = Pairing(enabled=False)
        self.kibana: str | None = None

    async def looked(self, *checks: ModuleType) -> list[Finding]:
        """What the checks find."""
        configured = Configuration(
            stations=self.stations,
            pairing=self.pairing,
            output=self.output,
            http=self.http,
            feed=self.feed,
        )
        vault = self.folder / "vault"
        async with Site(configured, kibana=self.kibana, vault=vault) as site:
            return await examine(site, checks)

    async def states(self, *checks: ModuleType) -> list[tuple[str, str]]:
        """State and text of each finding."""
        return [(each.state, each.text) for each in await self.looked(*checks)]


@pytest.fixture
def patient(tmp_path: Path) -> Patient:
    """One with nothing in it."""
    return Patient(tmp_path)


@pytest.fixture
def server(elasticsearch: Server) -> Iterator[Overlay]:
    """The real Elasticsearch, but for what a test has it answer."""
    overlay = Overlay(elasticsearch.url)
    yield overlay
    overlay.close()


@pytest.fixture
def other() -> Iterator[Overlay]:
    """Some server that knows only what a test has it answer."""
    overlay = Overlay()
    yield overlay
    overlay.close()


def straight(url: str) -> elasticsearch.Options:
    return elasticsearch.Options(url=url)


def by_logstash(url: str, store: str) -> logstash.Options:
    return logstash.Options(url=url, statistics_url=url, elasticsearch=straight(store))
