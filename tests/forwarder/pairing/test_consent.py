"""A person decides: let in only after two yeses, and nobody in place of another."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from clima_core import keys
from clima_core.errors import ConfigurationError
from clima_core.pairing import LIFE_S, Confirm, Withdraw
from clima_forwarder.pairing.consent import NotLetInError
from tests.forwarder.pairing.desk import Desk, desk, public


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Desk]:
    """An endpoint that stations ask at."""
    with desk(tmp_path) as made:
        yield made


def confirmed(running: Desk, station: str = "roof", key: bytes | None = None) -> tuple[str, str]:
    """A station whose person has said yes; attempt and digits."""
    attempt, digits = running.asks(station, key)
    running.tell(Confirm(attempt))
    return attempt, digits


def letting_in(running: Desk) -> list[str]:
    return [each.id for each in running.stations.read()[0]]


def test_let_in_by_digits(running: Desk) -> None:
    """With the key that was compared, and the station hears of it."""
    key = public()
    attempt, digits = confirmed(running, key=key)
    made = running.consent().by_digits("roof", f"{digits[:3]} {digits[3:]}")
    assert key.hex() == keys.hexadecimal(made.public_key)
    assert ["roof"] == letting_in(running)
    assert "accepted" == running.tell(Confirm(attempt))
    assert [] == running.requests.pending()


def test_not_before_the_station_has_said_yes(running: Desk) -> None:
    """The operator's yes alone lets nobody in; both together do."""
    attempt, digits = running.asks()
    said: list[str] = []
    consent = running.consent(said)
    thread = threading.Thread(target=consent.by_digits, args=("roof", digits))
    thread.start()
    while not said:
        assert thread.is_alive()
    assert "waiting for it" in said[0]
    assert [] == letting_in(running)
    running.tell(Confirm(attempt))
    thread.join(15)
    assert ["roof"] == letting_in(running)


def test_the_station_says_no(running: Desk) -> None:
    """Then it is over here, too."""
    attempt, digits = running.asks()
    running.tell(Withdraw(attempt))
    with pytest.raises(NotLetInError, match="does not ask"):
        running.consent().by_digits("roof", digits)
    attempt, digits = running.asks()
    asked = iter(["yes"])

    def answer(_: str) -> str:
        running.tell(Withdraw(attempt))
        return next(asked)

    with pytest.raises(NotLetInError, match="somebody said no"):
        running.consent().by_asking(answer)
    assert [] == letting_in(running)


@pytest.mark.parametrize("end", ["withdrawn", "refused"])
def test_a_no_after_a_yes_is_a_no(running: Desk, end: Literal["withdrawn", "refused"]) -> None:
    """At the station, or by somebody else here, while this one is still asked."""
    attempt, _ = confirmed(running)

    def answer(_: str) -> str:
        running.requests.mark(attempt, end)
        return "yes"

    with pytest.raises(NotLetInError, match="said no"):
        running.consent().by_asking(answer)
    assert [] == letting_in(running)


def test_a_yes_that_comes_too_late_lets_nobody_in(
    running: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who leaves a terminal open does not let in hours later."""
    confirmed(running)
    consent = running.consent()

    def answer(_: str) -> str:
        later = time.time() + LIFE_S
        monkeypatch.setattr(consent._requests, "_now", lambda: later)
        return "yes"

    with pytest.raises(NotLetInError, match="too late"):
        consent.by_asking(answer)
    assert [] == letting_in(running)


def test_the_operator_says_no(running: Desk) -> None:
    """The station hears of it; nobody is let in."""
    attempt, _ = confirmed(running)
    said: list[str] = []
    assert [] == running.consent(said).by_asking(lambda _: "n")
    assert "refused" == running.tell(Confirm(attempt))
    assert ([], "roof is refused") == (letting_in(running), said[-1])


@pytest.mark.parametrize("answer", ["", "later", "482913", "Y E S"])
def test_whatever_is_no_yes_lets_nobody_in(running: Desk, answer: str) -> None:
    """It can be answered again."""
    confirmed(running)
    assert [] == running.consent().by_asking(lambda _: answer)
    assert ([], 1) == (letting_in(running), len(running.requests.pending()))


def test_other_digits_end_the_attempt(running: Desk) -> None:
    """Somebody in between has no second go at the same ones; the message says what it means."""
    attempt, digits = confirmed(running)
    with pytest.raises(NotLetInError, match="somebody sits in between"):
        running.consent().by_digits("roof", "000000" if digits != "000000" else "000001")
    assert "refused" == running.tell(Confirm(attempt))
    with pytest.raises(NotLetInError, match="does not ask"):
        running.consent().by_digits("roof", digits)
    assert [] == letting_in(running)


def test_of_two_with_one_name_the_one_whose_digits_agree(running: Desk) -> None:
    """The table says that only one can be right."""
    key = public()
    _, digits = confirmed(running, key=key)
    confirmed(running)
    said: list[str] = []
    running.consent(said).by_asking(lambda question: "yes" if _shown(digits) in question else "no")
    assert "more than once" in said[0]
    (station,) = running.stations.read()[0]
    assert key.hex() == keys.hexadecimal(station.public_key)


def test_a_name_that_has_another_key_takes_replace(running: Desk) -> None:
    """A station is not taken over by a slip; asked or by digits, nothing changes without."""
    first = keys.generate().public
    running.stations.add("roof", first)
    _, digits = confirmed(running)
    with pytest.raises(ConfigurationError, match="--replace"):
        running.consent().by_digits("roof", digits)
    said: list[str] = []
    assert [] == running.consent(said).by_asking(lambda _: "yes")
    assert "takes --replace" in said[0]
    assert first == running.stations.read()[0][0].public_key
    running.consent(replace=True).by_digits("roof", digits)
    assert first != running.stations.read()[0][0].public_key


def test_the_same_key_again_is_no_replacement(running: Desk) -> None:
    """A station that has lost its configuration, and not its key."""
    key = public()
    running.stations.add("roof", keys.public_key(key.hex(), "test"))
    _, digits = confirmed(running, key=key)
    running.consent().by_digits("roof", digits)


def test_a_key_that_another_name_has(running: Desk) -> None:
    """It stays that one's."""
    key = public()
    running.stations.add("barn", keys.public_key(key.hex(), "test"))
    _, digits = confirmed(running, key=key)
    with pytest.raises(ConfigurationError, match="barn's"):
        running.consent().by_digits("roof", digits)


def test_who_waits_sees_the_station_that_comes(running: Desk) -> None:
    """`clima stations add` may be there first."""
    said: list[str] = []
    found: list[str] = []

    def decide() -> None:
        found.extend(each.id for each in running.consent(said).by_asking(lambda _: "yes"))

    thread = threading.Thread(target=decide)
    thread.start()
    while not said:
        assert thread.is_alive()
    assert "clima-agent enroll" in said[0]
    confirmed(running)
    thread.join(15)
    assert ["roof"] == found


def test_the_table_has_what_is_to_be_compared(running: Desk) -> None:
    """Name, digits, board, address, age."""
    _, digits = confirmed(running)
    said: list[str] = []
    running.consent(said).by_asking(lambda _: "later")
    (row,) = [line for line in said[0].splitlines() if line.startswith("roof")]
    assert ["roof", _shown(digits), "a board", "127.0.0.1"] == re.split(r"  +", row)[:4]
    assert re.search(r"\d+ s ago$", row)


def _shown(digits: str) -> str:
    return f"{digits[:3]} {digits[3:]}"
