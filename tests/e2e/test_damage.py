"""A spool that the card has spoilt: what can be read arrives, what cannot is counted."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.harness import Site, Station, lanes_of

pytestmark = pytest.mark.slow

PAGE = 1024


def overwrite(path: Path, places: int = 6, pages: int = 4) -> None:
    """Noise over a few pages here and there; the first page is spared."""
    chance = random.Random(7)
    size = path.stat().st_size
    with path.open("r+b") as file:
        for place in range(places):
            file.seek((10 + (size // PAGE - 20) * (place + 1) // (places + 1)) * PAGE)
            file.write(chance.randbytes(pages * PAGE))
        file.flush()
        os.fsync(file.fileno())


def truncate(path: Path) -> None:
    """The last fifth is gone."""
    os.truncate(path, path.stat().st_size * 4 // 5 // PAGE * PAGE)


def blank_head(path: Path) -> None:
    """The first pages are zeros: SQLite does not know the file any more."""
    with path.open("r+b") as file:
        file.write(bytes(2 * PAGE))


def alive(site: Site, *, speed: float | str, total: int | None = None) -> Station:
    """A station whose sensor says nothing twice: what its spool has lost is lost."""
    roof = site.station("roof", speed=speed, total=total)
    roof.environ = {"CLIMA_WITNESS_ONCE": "1"}
    return roof


def assert_accounted(site: Site, roof: Station, most_lost: int) -> None:
    """Stored or counted as given up; few are; the damaged file is kept."""
    account = site.account(roof)
    assert ([], []) == (account.doubled, account.strange)
    assert len(account.lost) <= most_lost
    code, lanes = site.audit("--station", "roof")
    weather = lanes_of(lanes)
    assert (0, 0, 0, 0) == (code, weather["gaps"], weather["doubled"], weather["waiting"])
    assert len(account.lost) == weather["dropped"]
    assert list(roof.spool.glob("*damaged*"))
    assert {"error"} == {event["level"] for event in roof.events("spool_damaged")}


@pytest.mark.parametrize("harm", [overwrite, blank_head, truncate])
def test_a_file_damaged_while_the_agent_was_off(site: Site, harm: Callable[[Path], None]) -> None:
    """With the forwarder away it held a thousand readings; all but the damaged ones arrive."""
    roof = alive(site, speed="max", total=1000)
    roof.start()
    roof.wait_read(1000)
    roof.stop()
    harm(roof.spool / "spool.db")
    site.start_forwarder()
    roof.finish()
    site.assert_serves()
    site.forwarder.stop()
    assert_accounted(site, roof, 300)


def test_a_file_truncated_while_the_agent_was_off(site: Site) -> None:
    """What the forwarder was told of, and is gone, is counted as given up."""
    site.start_forwarder()
    roof = alive(site, speed=400)
    roof.start()
    site.wait_stored(roof, 300)
    roof.stop()
    truncate(roof.spool / "spool.db")
    roof.finish()
    site.assert_serves()
    site.forwarder.stop()
    # Of the fifth that is gone, as much as a forwarder on a busy machine had not stored yet.
    assert_accounted(site, roof, max(300, len(roof.read) // 3))


def test_a_file_damaged_while_the_agent_runs(site: Site) -> None:
    """It notices when it next reads there, puts the file aside, and goes on without a stop."""
    roof = alive(site, speed=2000)
    roof.start()
    roof.wait_read(6000)  # more than SQLite keeps in memory
    overwrite(roof.spool / "spool.db")
    site.start_forwarder()
    roof.wait_for("spool_damaged")
    assert roof.running
    site.wait_stored(roof, 300)
    roof.finish()
    site.assert_serves()
    site.forwarder.stop()
    assert_accounted(site, roof, 200)
