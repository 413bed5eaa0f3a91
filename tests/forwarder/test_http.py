"""What the forwarder says over HTTP, and the repair that may be asked of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from clima_core import wire
from clima_core.errors import UnavailableError
from clima_forwarder.http import Http
from tests.forwarder.client import JOURNAL
from tests.forwarder.running import Running, forwarder

REPAIR = {"station": "roof", "journal": JOURNAL, "stream": "w", "ranges": [[3, 5], [9, 9]]}


@asynccontextmanager
async def served(tmp_path: Path) -> AsyncIterator[tuple[Running, aiohttp.ClientSession]]:
    """A running forwarder, and a client of its HTTP server."""
    async with forwarder(tmp_path) as running:
        http = Http(running.router, running.health, running.metrics)
        url = await http.open("127.0.0.1", 0)
        try:
            async with aiohttp.ClientSession(url) as client:
                yield running, client
        finally:
            await http.close()


async def test_alive_is_whoever_answers(tmp_path: Path) -> None:
    """Also while the store is away: a new process would not bring it back."""
    async with served(tmp_path) as (running, client):
        running.health.store_failed("the disk is full")
        async with client.get("/healthz") as answer:
            assert (200, "ok\n") == (answer.status, await answer.text())


async def test_ready_says_why_not(tmp_path: Path) -> None:
    """And is ready again as soon as the store works."""
    async with served(tmp_path) as (running, client):
        async with client.get("/readyz") as answer:
            assert (200, {"ready": True, "problems": {}}) == (answer.status, await answer.json())
        running.health.store_failed("the disk is full")
        async with client.get("/readyz") as answer:
            expected = {"ready": False, "problems": {"store": "the disk is full"}}
            assert (503, expected) == (answer.status, await answer.json())
        running.health.store_worked()
        async with client.get("/readyz") as answer:
            assert 200 == answer.status


async def test_metrics_count_what_became_of_records(tmp_path: Path) -> None:
    """In Prometheus' text format."""
    async with served(tmp_path) as (running, client):
        async with running.client() as station:
            await station.open()
            await station.records(1, 3)
            await station.expect(wire.Ack)
            await station.batch(4, [b"no record"])
            await station.expect(wire.Nack)
            await station.expect(wire.Ack)
        async with client.get("/metrics") as answer:
            text = await answer.text()
            assert (200, "text/plain") == (answer.status, answer.content_type)
    assert 'clima_records_total{outcome="stored"} 3.0' in text
    assert 'clima_records_total{outcome="dead_letter"} 1.0' in text
    assert "clima_batches_in_delivery 0.0" in text


async def test_a_repair_reaches_the_station(tmp_path: Path) -> None:
    """As a RESEND with the ranges that were asked for."""
    async with served(tmp_path) as (running, client), running.client() as station:
        await station.open()
        async with client.post("/repair", json=REPAIR) as answer:
            assert (202, {"asked": "roof"}) == (answer.status, await answer.json())
        assert wire.Resend(JOURNAL, "w", [(3, 5), (9, 9)]) == await station.expect(wire.Resend)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"[]",
        b'{"station":"roof"}',
        b'{"station":"roof","journal":"x","stream":"w","ranges":[]}',
        b'{"station":"roof","journal":"0123456789ab","stream":"q","ranges":[]}',
        b'{"station":"roof","journal":"0123456789ab","stream":"w","ranges":[[0,1]]}',
        b'{"station":"roof","journal":"0123456789ab","stream":"w","ranges":[[1]]}',
        b'{"station":"roof","journal":"0123456789ab","stream":"w","ranges":[],"more":1}',
    ],
)
async def test_a_repair_that_makes_no_sense_is_refused(tmp_path: Path, body: bytes) -> None:
    """With what is wrong about it."""
    async with served(tmp_path) as (_, client), client.post("/repair", data=body) as answer:
        assert 400 == answer.status
        assert (await answer.json())["error"]


async def test_a_repair_of_a_station_that_is_not_there_says_so(tmp_path: Path) -> None:
    """Nothing is kept for later: `clima audit --repair` can be run again."""
    async with served(tmp_path) as (running, client):
        async with client.post("/repair", json=REPAIR) as answer:
            assert 404 == answer.status
            assert "roof is not connected" in (await answer.json())["error"]
        async with running.client() as station:
            await station.open()
            running.stations.revoke("roof")
            async with client.post("/repair", json=REPAIR) as answer:
                assert 404 == answer.status


async def test_a_large_body_is_not_read(tmp_path: Path) -> None:
    """What anyone on this machine may send is bounded."""
    body = b" " * 70_000
    async with served(tmp_path) as (_, client), client.post("/repair", data=body) as answer:
        assert 413 == answer.status


async def test_a_taken_port_is_said(tmp_path: Path) -> None:
    """With a guess at who has it."""
    async with served(tmp_path) as (running, client):
        second = Http(running.router, running.health, running.metrics)
        port = client._base_url.port if client._base_url else 0
        with pytest.raises(UnavailableError, match=rf"http 127.0.0.1:{port}: .* another forwarder"):
            await second.open("127.0.0.1", port or 0)
        await second.close()
