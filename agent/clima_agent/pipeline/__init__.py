"""From what the sensors said to what is recorded: an ordered tuple of pure functions.

convert -> calibrate -> choose -> check -> derive -> rounded. Each takes a draft and the station's
past and gives a new draft; only the pipeline itself adds the finished one to that past.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from msgspec import structs

from clima_agent.pipeline.calibrate import Calibration, Calibrations, calibrate
from clima_agent.pipeline.check import Limits, check, limits_with
from clima_agent.pipeline.choose import choose
from clima_agent.pipeline.convert import convert
from clima_agent.pipeline.derive import derive
from clima_agent.pipeline.draft import Draft, Sample
from clima_agent.pipeline.history import History
from clima_agent.units import KNOWN
from clima_core.reading import Values

Stage = Callable[[Draft, History], Draft]


class Pipeline:
    """The stages of one station, and its history (public: seed it by `history.add`)."""

    def __init__(
        self,
        *,
        calibrations: Calibrations | None = None,
        checks: Mapping[str, Limits] | None = None,
        elevation_m: float | None = None,
        last: Callable[[Draft], Draft] = lambda draft: draft,
    ) -> None:
        """`last` has the finished draft before it is recorded."""
        limits = limits_with(checks or {})
        self.history = History(
            {
                quantity: limit.least_change_per_hour
                for quantity, limit in limits.items()
                if limit.least_change_per_hour
            }
        )
        self._last = last
        self.stages: tuple[Stage, ...] = (
            partial(calibrate, calibrations=calibrations or {}),
            partial(choose, limits=limits),
            partial(check, limits=limits),
            partial(derive, elevation_m=elevation_m),
            _rounded,
        )

    def __call__(self, sample: Sample) -> Draft:
        """The finished draft of one sample; the history takes it in."""
        draft = convert(sample)
        for stage in self.stages:
            draft = stage(draft, self.history)
        self.history.add(draft)
        return self._last(draft)


def _rounded(draft: Draft, _: History) -> Draft:
    """The only place where a value is rounded."""
    sensors = {name: _meant(values) for name, values in draft.sensors.items()}
    corrected = {name: _meant(values) for name, values in draft.corrected.items()}
    weather = _meant(draft.weather)
    return structs.replace(draft, sensors=sensors, corrected=corrected, weather=weather)


def _meant(values: Values) -> Values:
    """The values with the decimals that carry meaning, and no negative zero."""
    return {
        quantity: value if value is None else round(value, KNOWN[quantity].decimals) + 0.0
        for quantity, value in values.items()
    }


__all__ = ["Calibration", "Draft", "History", "Limits", "Pipeline", "Sample", "Stage"]
