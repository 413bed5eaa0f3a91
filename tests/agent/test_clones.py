"""A card and its clone at the same time, each an agent of its own, before a real forwarder."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from clima_agent import board, config
from clima_agent.agent import open_spool
from clima_agent.cli import main
from clima_agent.clock import Keeper
from clima_core import keys
from tests.agent.test_board import A, B, dated
from tests.forwarder.running import Running, forwarder, until


def made(folder: Path, running: Running) -> Path:
    """The configuration of a station on a card."""
    folder.mkdir()
    (folder / "serial").write_text(A)
    (folder / "agent.toml").write_text(
        '[station]\nid = "roof"\n[sampling]\ninterval_s = 0.2\n[clock]\ntrust = "system"\n'
        '[spool]\ndirectory = "spool"\ncommit_window_s = 0.2\n'
        '[identity]\nkey_file = "agent.key"\nserial_file = "serial"\n'
        '[[sensors]]\ndriver = "simulated"\n[[forwarders]]\n'
        f"address = \"{running.router.address}\"\npublic_key = '{running.server_key}'\n"
    )
    return folder


def let_in(card: Path, running: Running) -> str:
    """As a person does, by the key that `enroll` makes; the station's id."""
    here = board.place(config.load(card / "agent.toml", {})).config
    running.stations.add(here.station.id, keys.load_or_create(here.identity.key_file).public)
    return here.station.id


@contextmanager
def agent(card: Path, name: str = "agent.toml") -> Iterator[None]:
    """It runs on this card."""
    command = [sys.executable, "-m", "clima_agent", "run", "-c", str(card / name)]
    with (card / "log").open("a") as log, subprocess.Popen(command, stderr=log) as process:
        try:
            yield
        finally:
            process.terminate()


def readings(running: Running, station: str) -> int:
    """How many of a station are stored."""
    return sum(each.startswith(f"{station}:") and ":w:" in each for each in running.output.stored)


def cloned(card: Path) -> Path:
    """A copy, in another board."""
    copy = card.with_name("clone")
    shutil.copytree(card, copy)
    (copy / "serial").write_text(B)
    return copy


async def test_a_clone_beside_its_original(tmp_path: Path) -> None:
    """It sends nothing until it is let in; then there are two stations, and no alarm."""
    async with forwarder(tmp_path / "stations") as running:
        card = made(tmp_path / "card", running)
        let_in(card, running)
        with agent(card):
            await until(lambda: readings(running, "roof") > 2)
        clone = cloned(card)
        with agent(card):
            with agent(clone):
                await until(lambda: "key_refused" in (clone / "log").read_text())
                before = readings(running, "roof")
                await until(lambda: readings(running, "roof") > before + 5)
            assert {"roof"} == {each.split(":")[0] for each in running.output.stored}

            station = let_in(clone, running)
            with agent(clone):  # or it would wait out its back-off
                await until(lambda: readings(running, station) > 5)
        assert not running.counted("clima_cloned_keys_total")
        assert not running.output.letters
        assert station.startswith("roof-")


async def test_a_replaced_board_goes_on(tmp_path: Path) -> None:
    """What was read on the new board before somebody said so arrives under the old name, too."""
    async with forwarder(tmp_path / "stations") as running:
        card = made(tmp_path / "card", running)
        let_in(card, running)
        with agent(card):
            await until(lambda: readings(running, "roof") > 2)
        journals = {each.split(":")[1] for each in running.output.stored}
        (card / "serial").write_text(B)
        with agent(card):
            await until(lambda: "key_refused" in (card / "log").read_text())
        board.moved(board.place(config.load(card / "agent.toml", {})))
        with agent(card):
            await until(lambda: len({each.split(":")[1] for each in running.output.stored}) == 2)
        assert {"roof"} == {each.split(":")[0] for each in running.output.stored}
        assert journals < {each.split(":")[1] for each in running.output.stored}
        assert not running.output.letters


async def test_what_was_left_under_another_name_can_be_sent(tmp_path: Path) -> None:
    """As docs/operations.md says, where the new board was let in before it took the old's place."""
    async with forwarder(tmp_path / "stations") as running:
        card = settled(made(tmp_path / "card", running))
        (card / "serial").write_text(B)
        station, folder = let_in(card, running), leave_records(card, 3)
        board.moved(board.place(config.load(card / "agent.toml", {})))
        with agent(card):
            await until(lambda: "records_left" in (card / "log").read_text())

        (card / "left.toml").write_text(
            (card / "agent.toml")
            .read_text()
            .replace('id = "roof"', f'id = "{station}"')
            .replace('directory = "spool"', f'directory = "{folder}"')
            .replace('key_file = "agent.key"', f'key_file = "{folder}/board.key"')
            .replace("interval_s = 0.2", "interval_s = 86400")
        )
        with agent(card, "left.toml"):
            await until(lambda: readings(running, station) == 3)
        assert not running.output.letters


def leave_records(card: Path, count: int) -> Path:
    """Some that may have been sent, and nobody acknowledged; the folder that they are in."""
    here = board.place(config.load(card / "agent.toml", {}))
    spool = open_spool(here.config, Keeper("system").now)
    board.settle(here, spool)
    for number in range(count):
        spool.append("w", dated(number))
    spool.sync()
    spool.mark_sending()
    spool.close()
    return here.config.spool.directory


async def test_enroll_goes_by_the_name_that_holds_here(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By hand, on a clone: the id and the key that it says are those to let in."""
    async with forwarder(tmp_path / "stations") as running:
        card = cloned(settled(made(tmp_path / "card", running)))
        asked = ["enroll", running.router.address.removeprefix("tcp://"), "--json"]
        command = [*asked, "--key", running.server_key, "-c", str(card / "agent.toml")]
        code = await asyncio.to_thread(main, command)
        found = json.loads(capsys.readouterr().out.splitlines()[-1])

        running.stations.add(found["station"], keys.public_key(found["public_key"], "enroll"))
        assert (1, 0) == (code, await asyncio.to_thread(main, command))
    assert found["station"].startswith("roof-")


def settled(card: Path) -> Path:
    """It has run on its own board once."""
    here = board.place(config.load(card / "agent.toml", {}))
    keys.load_or_create(here.config.identity.key_file)
    board.bind(here)
    return card
