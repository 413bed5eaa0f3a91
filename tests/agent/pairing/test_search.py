"""mDNS, on loopback: a forwarder that says that it is there is found."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from clima_agent.cli import main
from clima_agent.pairing import search
from clima_core.errors import ConfigurationError
from clima_forwarder.pairing.advertisement import Advertisement
from tests.forwarder.pairing.desk import desk

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("alone_on_loopback")]
HERE = ["127.0.0.1"]


async def test_who_advertises_is_found_until_it_stops() -> None:
    """With its address and the port to pair at; nobody else on this interface is."""
    advertisement = Advertisement(15573, HERE)
    await advertisement.start()
    found = await asyncio.to_thread(search.forwarders, HERE)
    await advertisement.stop()
    assert ("127.0.0.1", 15573) in [tuple(each.peer) for each in found]
    assert 15573 not in [
        each.peer.port for each in await asyncio.to_thread(search.forwarders, HERE)
    ]


async def test_enroll_without_an_address_pairs_with_the_one_that_is_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And where there are two it says how to name one, and asks neither."""
    config = tmp_path / "agent.toml"
    config.write_text(
        '[station]\nid = "roof"\n[spool]\ndirectory = "spool"\n[identity]\nkey_file = "agent.key"\n'
    )
    command = ["enroll", "--json", "--interface", *HERE, "-c", str(config)]
    with desk(tmp_path / "stations") as one, desk(tmp_path / "others") as two:
        first = Advertisement(one.port, HERE, "one")
        second = Advertisement(two.port, HERE, "two")
        await first.start()
        assert 1 == await asyncio.to_thread(main, command)
        (pending,) = one.requests.pending()
        assert pending.digits == json.loads(capsys.readouterr().out.splitlines()[-1])["digits"]
        (tmp_path / "agent.pairing").unlink()
        await second.start()
        assert 69 == await asyncio.to_thread(main, command)
        said = capsys.readouterr().err
        await second.stop()
        await first.stop()
        assert (1, 0) == (len(one.requests.pending()), len(two.requests.pending()))
    for each in (one, two):
        assert f"clima-agent enroll 127.0.0.1:{each.port} " in said


def test_an_interface_that_is_no_address_is_said() -> None:
    """As `ip address` shows them first: by name."""
    with pytest.raises(ConfigurationError, match=r"--interface: 'eth0' .* an IP address of this"):
        search.forwarders(["eth0"])


async def test_a_network_that_does_not_let_one_say_so_is_no_fault(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The forwarder goes on."""
    advertisement = Advertisement(15573, ["no such interface"])
    await advertisement.start()
    await advertisement.stop()
    assert "pairing_not_advertised" in capsys.readouterr().out
