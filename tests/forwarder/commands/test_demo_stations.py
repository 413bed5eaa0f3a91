"""`clima demo-stations`, and agents that find all they need in the folders that it makes."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from clima_core import keys
from clima_forwarder.cli import main
from clima_forwarder.stations import Stations


def test_two_stations_are_made_and_let_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their own keys, which a second run keeps; the recording as if it never ended."""
    monkeypatch.setenv("CLIMA_FORWARDER_STATIONS__DIRECTORY", str(tmp_path / "stations"))
    monkeypatch.setenv("CLIMA_FORWARDER_STATIONS__KEY_FILE", str(tmp_path / "forwarder.key"))

    command = ["demo-stations", "--directory", str(tmp_path), "--forwarder", "tcp://host:5570"]
    assert 0 == main(command)
    first = {each.id: each.public_key for each in Stations(tmp_path / "stations").read()[0]}
    assert 0 == main(command)
    again = {each.id: each.public_key for each in Stations(tmp_path / "stations").read()[0]}

    assert 2 == len((tmp_path / "stations" / "changes.log").read_text().splitlines())
    assert {"jfk", "lga"} == first.keys()
    assert first == again
    for station, public in first.items():
        folder = tmp_path / station
        assert public == keys.load(folder / "agent.key").public
        made = tomllib.loads((folder / "agent.toml").read_text("utf-8"))
        assert ("repeated", station) == (made["sensors"][0]["times"], made["station"]["id"])
        assert (folder / made["sensors"][0]["path"]).exists()
        (forwarder,) = made["forwarders"]
        assert "tcp://host:5570" == forwarder["address"]
        assert keys.load(tmp_path / "forwarder.key").public == forwarder["public_key"]
