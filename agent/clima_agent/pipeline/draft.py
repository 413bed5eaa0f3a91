"""What goes into the pipeline and what comes out: `Sample` and `Draft`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

import msgspec

from clima_agent.sources.base import Measured
from clima_core.reading import Calibration, Flags, Values


class Sample(NamedTuple):
    """What all sources said at one moment, by source name, in their own units."""

    time: datetime
    measured: Mapping[str, Mapping[str, Measured]]


class Draft(msgspec.Struct, frozen=True):
    """A reading in the making: all of it but its identity. In the units of QUANTITIES.

    `sensors` holds what each source said, before calibration, `corrected` what that means, and
    `weather` the values that count.
    Frozen, and its dictionaries are never changed after they are made: a stage makes new ones.
    """

    time: datetime  # aware, UTC
    sensors: dict[str, Values]
    weather: Values = {}
    quality: Flags = {}
    corrected: dict[str, Values] = {}  # by source; not recorded: it can be worked out again
    calibration: list[Calibration] | None = None  # in the first reading after each change of it
