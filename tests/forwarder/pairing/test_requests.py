"""The files of those who ask: bounded, expiring, and freed by nobody but the operator and time."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from clima_core.pairing import LIFE_S
from clima_forwarder.pairing.requests import MOST, MOST_OF_ONE, NoRoomError, Pending, Requests


@pytest.fixture
def clock() -> list[float]:
    """The time, to be set."""
    return [1_800_000_000.0]


@pytest.fixture
def requests(tmp_path: Path, clock: list[float]) -> Requests:
    """Of a key directory that is not there yet."""
    return Requests(tmp_path / "stations", lambda: clock[0])


def pending(number: int, station: str = "roof", asked: float = 1_800_000_000.0) -> Pending:
    return Pending(f"{number:032x}", station, "", "ab" * 32, "10.0.0.1", asked, "482913")


def test_who_asks_is_there_for_the_operator_until_it_expires(
    requests: Requests, clock: list[float]
) -> None:
    """And then for nobody, and its files go with the next who asks."""
    requests.add(pending(1))
    assert [pending(1)] == requests.pending() == requests.pending("roof")
    assert [] == requests.pending("barn")
    clock[0] += LIFE_S
    assert ([], None) == (requests.pending(), requests.find(f"{1:032x}"))
    requests.add(pending(2, asked=clock[0]))
    assert [f"{2:032x}.json"] == [path.name for path in requests._paths()]


@pytest.mark.skipif(sys.platform == "win32", reason="modes of POSIX")
def test_files_are_for_their_owner_alone(requests: Requests, tmp_path: Path) -> None:
    """Whatever the umask."""
    before = os.umask(0)
    try:
        requests.add(pending(1))
        requests.mark(f"{1:032x}", "confirmed")
    finally:
        os.umask(before)
    folder = tmp_path / "stations/pairing"
    modes = {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert ({0o600}, 0o700) == (modes, stat.S_IMODE(folder.stat().st_mode))


def test_one_name_has_few_attempts_and_all_names_some_more(requests: Requests) -> None:
    """Each is a chance for somebody in between."""
    for number in range(MOST_OF_ONE):
        requests.add(pending(number))
    with pytest.raises(NoRoomError, match="busy_name"):
        requests.add(pending(99))
    for number in range(MOST_OF_ONE, MOST):
        requests.add(pending(number, f"s{number}"))
    with pytest.raises(NoRoomError, match="busy"):
        requests.add(pending(99, "barn"))
    assert MOST == len(requests.pending())


@pytest.mark.parametrize("mark", ["withdrawn", "confirmed"])
def test_what_the_station_says_makes_no_room(requests: Requests, mark: str) -> None:
    """Else he who does not like the digits would throw them away until they suit him."""
    for number in range(MOST_OF_ONE):
        requests.add(pending(number))
        requests.mark(f"{number:032x}", mark)  # type: ignore[arg-type]
    with pytest.raises(NoRoomError):
        requests.check_room("roof")


@pytest.mark.parametrize("mark", ["accepted", "refused"])
def test_what_the_operator_says_does(requests: Requests, mark: str) -> None:
    """He has looked: the chance is used up."""
    for number in range(MOST_OF_ONE):
        requests.add(pending(number))
    requests.mark(f"{0:032x}", mark)  # type: ignore[arg-type]
    requests.check_room("roof")
    assert MOST_OF_ONE - 1 == len(requests.pending())


def test_who_has_withdrawn_is_shown_to_nobody(requests: Requests) -> None:
    """There is nobody there any more to say yes."""
    requests.add(pending(1))
    requests.mark(f"{1:032x}", "withdrawn")
    assert [] == requests.pending()


def test_the_newest_comes_first(requests: Requests, clock: list[float]) -> None:
    """It is the one that somebody stands before."""
    requests.add(pending(2))
    requests.add(pending(1, asked=clock[0] + 5))
    assert [f"{1:032x}", f"{2:032x}"] == [each.attempt for each in requests.pending()]


@pytest.mark.parametrize("content", [b"", b"{", b'{"attempt":"x"}', b"\xff"])
def test_a_file_that_is_damaged_counts_for_nothing(
    requests: Requests, tmp_path: Path, content: bytes
) -> None:
    """And goes, with what belongs to it."""
    requests.add(pending(1))
    (tmp_path / "stations/pairing" / f"{1:032x}.json").write_bytes(content)
    requests.mark(f"{1:032x}", "confirmed")
    assert [] == requests.pending()
    requests.clean()
    assert [] == requests._paths()


def test_a_clock_that_was_set_back_leaves_nothing_for_days(
    requests: Requests, clock: list[float]
) -> None:
    """Who asked in the future has expired: nobody knows how long ago it was."""
    requests.add(pending(1))
    clock[0] -= 3600
    assert [] == requests.pending()
