"""A person looks at the stations that ask to be let in, and says yes or no.

What always holds: a station is let in only when a person here has said that its digits agree *and*
the station has said that a person there has; whoever says no, or goes away, ends the attempt. A
name that has another key already is not up for a question: that takes `--replace`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from clima_core.errors import ClimaError, ConfigurationError
from clima_core.pairing import LIFE_S, shown, typed
from clima_forwarder.pairing.requests import Pending, Requests
from clima_forwarder.stations import Station, Stations

LOOK_S = 0.2

COMPARE = """\
Compare with what the station itself shows. Other digits mean that somebody sits in between, or
that it is another station."""


class NotLetInError(ClimaError):
    """The two did not come together; the message says why, and what to do."""

    exit_code = 1


class Consent:
    """Decisions on the stations that ask."""

    def __init__(
        self,
        requests: Requests,
        stations: Stations,
        *,
        say: Callable[[str], None],
        replace: bool = False,
        name: str = "",
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`replace` and `name` are those of `Stations.add`."""
        self._requests = requests
        self._stations = stations
        self._say = say
        self._replace = replace
        self._name = name
        self._sleep = sleep

    def by_digits(self, station: str, digits: str) -> Station:
        """Let in the station that shows these digits; nobody is asked.

        Digits that none of that name has, or more than one, end all of them: these were the ones
        to compare with.
        """
        wanted = typed(digits)
        found = self._requests.pending(station)
        agreeing = [each for each in found if each.digits == wanted]
        if not found:
            raise NotLetInError(f"{station} does not ask to be let in; {_how(station)}")
        if len(agreeing) != 1:
            for each in found:
                self._requests.mark(each.attempt, "refused")
            raise NotLetInError(
                f"{station} shows other digits here than {shown(wanted)}: refused. Mistyped? Then"
                f" {_how(station)} once more. If not, somebody sits in between"
            )
        return self._let_in(agreeing[0])

    def by_asking(self, ask: Callable[[str], str], station: str | None = None) -> list[Station]:
        """Show those who ask (one name, or all), and ask about each; returns who is let in."""
        found = self._wait_for_some(station)
        self._say(table(found, self._stations, time.time()))
        self._say(COMPARE)
        admitted = []
        for each in found:
            try:
                self._stations.check(each.station, each.key, replace=self._replace)
            except ConfigurationError as error:
                if station:
                    raise
                self._say(f"{each.station} is passed over: {error}")
                continue
            answer = ask(f'Does "{each.station}" show {shown(each.digits)}? [yes/no/later] ')
            match answer:
                case "y" | "yes":
                    admitted.append(self._let_in(each))
                case "n" | "no":
                    self._requests.mark(each.attempt, "refused")
                    self._say(f"{each.station} is refused")
                case _:
                    self._say(f"{each.station} stays as it is")
        return admitted

    def _wait_for_some(self, station: str | None) -> list[Pending]:
        found = self._requests.pending(station)
        if not found:
            self._say(f"No station asks yet; {_how(station)}. Waiting for it (Ctrl-C ends that)")
        deadline = time.monotonic() + LIFE_S
        while not found:
            if time.monotonic() > deadline:
                raise NotLetInError(f"no station has asked; {_how(station)}")
            self._sleep(LOOK_S)
            found = self._requests.pending(station)
        return found

    def _let_in(self, pending: Pending) -> Station:
        """Wait until the person at the station has said yes, too, and write the certificate."""
        self._stations.check(pending.station, pending.key, replace=self._replace)
        if not self._requests.has(pending.attempt, "confirmed"):
            self._say(f"{pending.station}: now say yes at the station, too (waiting for it)")
        while True:
            self._check(pending)
            if self._requests.has(pending.attempt, "confirmed"):
                break
            self._sleep(LOOK_S)
        station = self._stations.add(
            pending.station, pending.key, self._name, replace=self._replace
        )
        self._requests.mark(pending.attempt, "accepted")
        self._say(f"{station.id} is let in; its key reads {station.fingerprint}")
        return station

    def _check(self, pending: Pending) -> None:
        """NotLetInError when it is over, by whomever, and whatever was said before."""
        if self._requests.has(pending.attempt, "refused"):
            raise NotLetInError(f"{pending.station}: somebody else here said no")
        if self._requests.has(pending.attempt, "withdrawn"):
            raise NotLetInError(f"{pending.station}: at the station somebody said no")
        if self._requests.find(pending.attempt) is None:
            raise NotLetInError(
                f"{pending.station}: too late, or nobody said yes at the station;"
                f" {_how(pending.station)} once more"
            )


def table(pending: Iterable[Pending], stations: Stations, now: float) -> str:
    """Who asks, a line each."""
    known = {each.id: each.public_key for each in stations.read()[0]}
    rows = [("station", "digits", "board", "address", "asked", "")]
    for each in pending:
        other = known.get(each.station, each.key) != each.key
        note = "has another key: takes --replace" if other else ""
        asked = f"{max(0, now - each.asked):.0f} s ago"
        board = each.board or "unknown"
        rows.append((each.station, shown(each.digits), board, each.address, asked, note))
    names = [row[0] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    lines += [
        f'"{name}" is there more than once: only one can be yours'
        for name in sorted({name for name in names if names.count(name) > 1})
    ]
    return "\n".join(lines)


def _how(station: str | None) -> str:
    named = f" of {station}" if station else ""
    return f"on the Pi{named}: sudo clima-agent enroll ADDRESS-OF-THIS-HOST"
