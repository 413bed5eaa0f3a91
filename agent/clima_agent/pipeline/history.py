"""What the pipeline remembers of one station: just enough for checks and tendencies.

Owned by the pipeline and passed to its stages, which only read it; `add` is the only thing that
changes it. After a restart it is filled by `add` from the readings stored last. Memory is
bounded: one value, one run and at most one pressure a minute for a little over three hours.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

from clima_agent.pipeline.draft import Draft

PRESSURES = ("air_pressure", "air_pressure_at_mean_sea_level")  # the first one measured counts
TENDENCY_S = 3 * 3600
TOLERANCE_S = 5 * 60  # how far from three hours ago the earlier pressure may lie
LONGEST_GAP_S = 10 * 60  # sparser values cannot show that nothing moved in between
SUSPECT = frozenset({"range", "spike", "failed"})


class Run(NamedTuple):
    """A stretch of values that all lie within a band narrower than the least change expected."""

    since: float
    last: float
    low: float
    high: float

    def with_value(self, at: float, value: float, least_change: float) -> Run:
        """The run with one more value, or a new one where that value breaks it."""
        low, high = min(self.low, value), max(self.high, value)
        if high - low >= least_change or not 0 <= at - self.last <= LONGEST_GAP_S:
            return Run(at, at, value, value)
        return Run(self.since, at, low, high)


class History:
    """The past of one station; times are seconds since 1970."""

    def __init__(self, least_changes: Mapping[str, float]) -> None:
        """`least_changes`: per quantity, what must move for its sensor to count as alive."""
        self._least_changes = least_changes
        self._accepted: dict[str, tuple[float, float]] = {}
        self._runs: dict[str, Run] = {}
        self._pressures: deque[tuple[float, str, float]] = deque()

    def accepted(self, quantity: str) -> tuple[float, float] | None:
        """Time and value of the last reading of it that nothing spoke against."""
        return self._accepted.get(quantity)

    def run(self, quantity: str, at: float, value: float) -> Run | None:
        """The run of like values that this one would end, where the quantity has a limit."""
        least_change = self._least_changes.get(quantity)
        if least_change is None:
            return None
        run = self._runs.get(quantity) or Run(at, at, value, value)
        return run.with_value(at, value, least_change)

    def pressure_before(self, quantity: str, at: float) -> float | None:
        """The pressure three hours before, within the tolerance; the nearest there is."""
        then = at - TENDENCY_S
        best: tuple[float, float] | None = None
        for time, name, value in self._pressures:
            if time > then + TOLERANCE_S:
                break
            distance = abs(time - then)
            if name == quantity and distance <= TOLERANCE_S and (not best or distance < best[0]):
                best = (distance, value)
        return best[1] if best else None

    def add(self, draft: Draft) -> None:
        """Take in a finished reading; derived values teach nothing and are left out."""
        at = draft.time.timestamp()
        for quantity, value in draft.weather.items():
            flags = draft.quality.get(quantity, ())
            if value is None or "derived" in flags:
                continue
            run = self.run(quantity, at, value)
            if run:
                self._runs[quantity] = run
            if SUSPECT.isdisjoint(flags):
                self._accepted[quantity] = (at, value)
        self._keep_pressure(at)

    def _keep_pressure(self, at: float) -> None:
        """Keep at most one a minute, and none older than a tendency can need."""
        pressures = self._pressures
        if pressures and pressures[-1][0] > at:
            pressures.clear()  # the clock went back: times before and after cannot be compared
        if not pressures or at - pressures[-1][0] >= 60:
            for quantity in PRESSURES:
                accepted = self._accepted.get(quantity)
                if accepted and accepted[0] == at:
                    pressures.append((at, quantity, accepted[1]))
                    break
        while pressures and pressures[0][0] < at - TENDENCY_S - TOLERANCE_S:
            pressures.popleft()
