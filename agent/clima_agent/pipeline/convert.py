"""First stage: from the units of chips and files to the one unit that each quantity is kept in."""

from __future__ import annotations

import math
from collections.abc import Mapping

from clima_agent.pipeline.draft import Draft, Sample
from clima_agent.sources.base import Measured
from clima_agent.units import converted
from clima_core.reading import Values


def convert(sample: Sample) -> Draft:
    """Bring each source's values to QUANTITIES' units; what is no finite number becomes None."""
    return Draft(sample.time, {name: _values(said) for name, said in sample.measured.items()})


def _values(said: Mapping[str, Measured]) -> Values:
    return {
        quantity: converted(quantity, value, unit)
        if value is not None and math.isfinite(value)
        else None
        for quantity, (value, unit) in said.items()
    }
