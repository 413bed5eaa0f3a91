"""Third stage: of several sensors for one quantity, the value that counts.

It is that of the first in the order of preference that has a plausible one. Where that is not the
first of all, the flag `fallback` says so; where the sensors are further apart than they may be,
`disagree`: one of them is wrong, and nobody knows which.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from clima_agent.pipeline.check import Limits
from clima_agent.pipeline.draft import Draft
from clima_agent.pipeline.history import History
from clima_core.reading import QUANTITIES, Flags, Values

NONE = Limits()


def choose(draft: Draft, _: History, limits: Mapping[str, Limits]) -> Draft:
    """Fill `weather`. What was measured and no sensor has a value for is null, and `failed`."""
    weather: Values = {}
    quality: Flags = {}
    said = [quantity for values in draft.corrected.values() for quantity in values]
    for quantity in dict.fromkeys(said):
        if quantity not in QUANTITIES:
            continue
        values = [each[quantity] for each in draft.corrected.values() if quantity in each]
        best = _best(values, limits.get(quantity, NONE))
        weather[quantity] = values[best]
        if flags := _flags(values, best, limits.get(quantity, NONE)):
            quality[quantity] = flags
    return msgspec.structs.replace(draft, weather=weather, quality=quality)


def _best(values: list[float | None], limits: Limits) -> int:
    """The place of the first plausible value; else of the first there is."""
    there = [place for place, value in enumerate(values) if value is not None]
    plausible = (place for place in there if limits.allows(values[place]))
    return next(plausible, there[0] if there else 0)


def _flags(values: list[float | None], best: int, limits: Limits) -> list[str]:
    if values[best] is None:
        return ["failed"]
    flags = ["fallback"] if best else []
    there = [value for value in values if value is not None]
    if limits.disagreement is not None and max(there) - min(there) > limits.disagreement:
        flags.append("disagree")
    return flags
