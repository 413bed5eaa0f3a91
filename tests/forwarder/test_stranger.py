"""docs/protocol.md is enough: a client that knows nothing else, and a real forwarder."""

from __future__ import annotations

import re
from pathlib import Path

from tests.forwarder import stranger
from tests.forwarder.daemon import configuration, daemon
from tests.forwarder.stranger import Stranger, record


def test_the_client_knows_nothing_of_ours() -> None:
    """Else it would prove nothing."""
    text = Path(stranger.__file__).read_text("utf-8")
    assert not re.search(r"^\s*(from|import) (clima|tests)", text, re.MULTILINE)


async def test_a_client_written_from_the_document_is_understood(tmp_path: Path) -> None:
    """Every answer that the page tells of a batch, each for the reason that it gives."""
    async with daemon(tmp_path, configuration(tmp_path, heartbeat_s="30")) as running:
        pair, listen = running.admit("roof"), running.started["listen"]
        keys = running.started["public_key"], pair.public, pair.secret.reveal()
        async with Stranger(listen, *keys, "roof") as station:
            await running.logged("store_available")
            welcome = await station.open()
            assert ("welcome", 1, []) == tuple(welcome[it] for it in ("type", "version", "seen"))
            bodies = [record("roof", each) for each in (1, 2, 3)]
            await station.batch(1, bodies)
            assert [[1, 3]] == (await station.hear())["ranges"]
            welcome = await station.open(3)
            assert [{"journal": stranger.JOURNAL, "stream": "w", "highest": 3}] == welcome["seen"]
            await station.batch(2, [*bodies[1:], b"no JSON"])
            nack, ack = await station.hear(), await station.hear()
            assert ("dead_letter", "malformed", [[4, 4]]) == said(nack)
            assert ("ack", [[2, 4]]) == (ack["type"], ack["ranges"])
            await station.batch(1, [record("roof", 1, weather={"air_temperature": 1.0})])
            assert ("conflict", "conflict", [[1, 1]]) == said(await station.hear())
            await station.batch(5, [record("roof", 5, **{"@timestamp": "9999-01-01T00:00:00Z"})])
            assert ("retry", "clock_ahead", [[5, 5]]) == said(await station.hear())
            lane = {"journal": stranger.JOURNAL, "stream": "w"}
            odd = {"type": "batch", **lane, "first": 5, "count": 1, "size": 2}
            await station.say(odd, b"no zstd")
            assert ("retry", "malformed", [[5, 5]]) == said(await station.hear())
            await station.say({"type": "ping", "time": "2026-06-01T12:00:00Z", "lanes": []})
            assert "2026-06-01T12:00:00Z" == (await station.hear())["asked"]


def said(nack: dict[str, object]) -> tuple[object, ...]:
    """What a NACK says: action, code and ranges."""
    assert "nack" == nack["type"]
    return nack["action"], nack["code"], nack["ranges"]
