"""The forwarder in the station's file: added, or its key replaced, and nothing else changed."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from clima_agent import config, settings_file
from clima_core import keys
from clima_core.errors import ConfigurationError

ADDRESS = "tcp://weather.local:5570"
STATION = '# mine\n[station]\nid = "roof"\n'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of a person's."""
    made = tmp_path / "agent.toml"
    made.write_text(STATION, "utf-8")
    return made


def key() -> str:
    return keys.hexadecimal(keys.generate().public)


def keys_in(path: Path) -> dict[str, str]:
    """Addresses and keys, as the agent reads them."""
    found = config.load(path, {}).forwarders
    return {each.address: keys.hexadecimal(each.key()) for each in found}


def test_a_forwarder_is_added_after_what_is_there(path: Path) -> None:
    """Comments and all; the first one is still preferred."""
    one, other = key(), key()
    settings_file.add_forwarder(path, ADDRESS, one)
    settings_file.add_forwarder(path, "tcp://[fe80::1]:5570", other)
    assert [(ADDRESS, one), ("tcp://[fe80::1]:5570", other)] == list(keys_in(path).items())
    assert path.read_text("utf-8").startswith(STATION)


def test_the_same_again_changes_nothing(path: Path) -> None:
    """Pairing may be done twice."""
    one = key()
    settings_file.add_forwarder(path, ADDRESS, one)
    settings_file.add_forwarder(path, ADDRESS, one)
    assert {ADDRESS: one} == keys_in(path)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root gives files away")
def test_who_may_read_it_may_still_read_it(path: Path) -> None:
    """Also what root writes: owner, group and mode stay as they are."""
    os.chown(path, 4321, 4322)
    path.chmod(0o640)
    settings_file.add_forwarder(path, ADDRESS, key())
    now = path.stat()
    assert (4321, 4322, 0o640) == (now.st_uid, now.st_gid, stat.S_IMODE(now.st_mode))


def test_another_key_takes_replace(path: Path) -> None:
    """And names the field, the key that is there, and the mend."""
    one, other, third = key(), key(), key()
    settings_file.add_forwarder(path, "tcp://barn.local:5570", third)
    settings_file.add_forwarder(path, ADDRESS, one)
    before = path.read_text("utf-8")
    with pytest.raises(ConfigurationError, match=r"forwarders\[1\].public_key.*--replace"):
        settings_file.add_forwarder(path, ADDRESS, other)
    assert before == path.read_text("utf-8")
    settings_file.add_forwarder(path, ADDRESS, other, replace=True)
    assert {"tcp://barn.local:5570": third, ADDRESS: other} == keys_in(path)
    assert before.replace(one, other) == path.read_text("utf-8")


def test_a_key_from_a_file_is_replaced_by_one_in_the_text(path: Path, tmp_path: Path) -> None:
    """The file itself stays."""
    keys.write_certificate(tmp_path / "forwarder.pub", keys.generate().public, {})
    path.write_text(
        f'{STATION}[[forwarders]]\npublic_key_file = "forwarder.pub"\naddress = "{ADDRESS}"\n'
        '[log]\nlevel = "info"\n'
    )
    other = key()
    settings_file.add_forwarder(path, ADDRESS, other, replace=True)
    assert {ADDRESS: other} == keys_in(path)


def test_what_cannot_be_changed_is_left_as_it_was(path: Path) -> None:
    """Forwarders in one line: the message has what to put there."""
    text = f'forwarders = [{{ address = "{ADDRESS}", public_key = "{key()}" }}]\n{STATION}'
    path.write_text(text, "utf-8")
    for address in (ADDRESS, "tcp://barn.local:5570"):
        with pytest.raises(ConfigurationError) as raised:
            settings_file.add_forwarder(path, address, key(), replace=True)
        assert str(path) in str(raised.value)
        assert text == path.read_text("utf-8")
