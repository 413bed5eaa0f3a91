"""A computer whose clocks are a test's to set, and whose power is a test's to cut."""

from __future__ import annotations

import threading

START = 1_700_000_000.0  # the true time when a test begins


class Machine:
    """True time passes by `pass_`; what the system's clock shows of it is another matter."""

    def __init__(self, *, shows: float | None = None) -> None:
        self.true = START
        self.booted = self.true
        self.boots = 1
        self.ahead = 0.0 if shows is None else shows - self.true
        self.synchronised = False

    @property
    def boot(self) -> str:
        return f"boot-{self.boots}"

    def wall(self) -> float:
        return self.true + self.ahead

    def moment(self) -> float:
        return self.true - self.booted

    def disciplined(self) -> bool:
        return self.synchronised

    def pass_(self, seconds: float) -> None:
        self.true += seconds

    def power_cut(self, off_s: float, *, shows: float) -> None:
        """Off for so long; then it boots, and its clock shows something."""
        self.true += off_s
        self.booted = self.true
        self.boots += 1
        self.synchronised = False
        self.ahead = shows - self.true

    def set_right(self) -> None:
        """What an NTP daemon does."""
        self.ahead, self.synchronised = 0.0, True

    def set_by_hand(self, ahead: float) -> None:
        """What the kernel makes of `date -s`: nobody vouches for its clock any more."""
        self.ahead, self.synchronised = ahead, False

    # -- the sampler's clock ---------------------------------------------------------------

    def wait(self, stop: threading.Event, seconds: float) -> bool:
        self.pass_(max(0.0, seconds))
        return stop.is_set()
