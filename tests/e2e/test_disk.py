"""A card with no room left: what is given up is counted, said, and no more than must be."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.harness import Site, Station, lanes_of

SIZE = "5m"
MORE_THAN_FITS = 5000

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        os.name != "posix" or os.geteuid() != 0 or not shutil.which("mount"),
        reason="mounting a small file system needs root",
    ),
]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder that holds a few megabytes."""
    folder = tmp_path / "card"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount a tmpfs here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def on_card(site: Site, card: Path) -> Station:
    """A station whose spool is on the small disk, with its forwarder away."""
    roof = site.station("roof", speed="max")
    roof.config.write_text(
        roof.config.read_text().replace('directory = "spool"', f'directory = "{card}/spool"')
    )
    return roof


def assert_accounted(site: Site, roof: Station) -> None:
    """What was read is stored or was given up, in numbers and by name; nothing else is missing."""
    account = site.account(roof)
    assert ([], []) == (account.doubled, account.strange)
    code, lanes = site.audit("--station", "roof")
    weather = lanes_of(lanes)
    assert (0, 0, 0, 0) == (code, weather["gaps"], weather["doubled"], weather["waiting"])
    assert len(account.lost) == weather["dropped"]
    assert len(roof.read) == weather["stored"] + weather["dropped"]


def test_a_full_disk_costs_the_oldest_readings_and_says_so(site: Site, small_disk: Path) -> None:
    """The forwarder is away until the card has long been full; then all that is left arrives."""
    roof = on_card(site, small_disk)
    roof.start()
    roof.wait_read(MORE_THAN_FITS)
    dropped = roof.wait_for("records_dropped")
    assert {"error"} == {event["level"] for event in dropped}
    site.start_forwarder()
    roof.finish()
    site.assert_serves()
    site.forwarder.stop()
    assert 1000 < site.stored("roof")
    assert_accounted(site, roof)


def test_an_agent_starts_on_a_full_disk(site: Site, small_disk: Path) -> None:
    """A full card, and the power comes back: it makes room for itself, reads on, and delivers."""
    roof = on_card(site, small_disk)
    roof.start()
    roof.wait_read(MORE_THAN_FITS)
    roof.wait_for("records_dropped")
    roof.kill()
    (small_disk / "rest").write_bytes(b"")
    with (small_disk / "rest").open("ab", buffering=0) as rest:  # not a byte is left
        try:
            while rest.write(bytes(4096)):
                pass
        except OSError:
            pass
    roof.start()
    roof.wait_read(500)
    roof.kill()
    site.start_forwarder()
    roof.finish()
    site.assert_serves()
    site.forwarder.stop()
    account = site.account(roof)
    assert ([], []) == (account.doubled, account.strange)
    code, lanes = site.audit("--station", "roof")
    assert (0, 0, 0) == (code, lanes_of(lanes)["gaps"], lanes_of(lanes)["waiting"])
    assert len(account.lost) <= lanes_of(lanes)["dropped"]
