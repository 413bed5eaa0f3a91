"""The vault: real files, as the user who runs the tests may have them."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

import pytest

from clima_core.errors import ConfigurationError
from clima_elk.vault import CLIMA, NAMES, PERSON, Vault, fresh

posix = pytest.mark.skipif(os.name != "posix", reason="modes and owners are POSIX's")


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    made = Vault(tmp_path / "vault")
    made.make()
    return made


def test_every_secret_is_made_once(vault: Vault) -> None:
    """A second time nothing is made and nothing changes; a new one is added to those there."""
    before = {name: vault.read(name) for name in NAMES}
    assert [] == vault.make()
    assert ["another"] == vault.make([*NAMES, "another"])
    assert before == {name: vault.read(name) for name in NAMES}
    assert len(NAMES) == len({secret.reveal() for secret in before.values()})


@posix
def test_nobody_else_can_read_it(vault: Vault) -> None:
    """0600 in 0700, and where the maker is root it belongs to the user of our images."""
    for path in [vault.folder, *vault.folder.iterdir()]:
        found = path.stat()
        assert (0o700 if path == vault.folder else 0o600) == stat.S_IMODE(found.st_mode), path
        if os.geteuid() == 0:
            assert CLIMA == (found.st_uid, found.st_gid), path
    assert set(NAMES) == {path.name for path in vault.folder.iterdir()}, "nothing half-made"


def test_secrets_fit_wherever_they_go() -> None:
    """Letters and digits for machines; for a person what can be typed, and as hard to guess."""
    assert re.fullmatch(r"[A-Za-z0-9]{32}", fresh("elastic").reveal())
    assert re.fullmatch(r"([a-z2-9]{4}-){4}[a-z2-9]{4}", fresh(PERSON).reveal())


def test_a_renewal_can_be_stopped_at_any_moment(vault: Vault) -> None:
    """The new one is on disk before it counts, and proposed again it is the same one."""
    old = vault.read("elastic")
    assert vault.proposed("elastic") is None

    new = vault.propose("elastic")
    assert new == vault.propose("elastic") == vault.proposed("elastic")
    assert old == vault.read("elastic") != new

    vault.adopt("elastic")
    assert new == vault.read("elastic")
    assert vault.proposed("elastic") is None


def test_what_is_missing_or_broken_is_said_with_the_mend(vault: Vault) -> None:
    """And never with what is in it."""
    (vault.folder / "elastic").unlink()
    (vault.folder / "kibana_system").write_bytes(b"")
    (vault.folder / "clima").write_bytes(b"\xff hush")
    for name, said in (("elastic", "init"), ("kibana_system", "empty"), ("clima", "damaged")):
        with pytest.raises(ConfigurationError, match=said) as failure:
            vault.read(name)
        assert str(vault.folder / name) in str(failure.value)
        assert "hush" not in str(failure.value)


def test_a_secret_shows_in_no_repr(vault: Vault) -> None:
    """Nor in that of the vault."""
    assert "Secret(…)" == repr(vault.read("elastic"))
    assert vault.read("elastic").reveal() not in repr(vars(vault))
