"""What a source of readings is: the one small contract between drivers and the rest of the agent.

A driver is one module beside this one: a frozen Struct of its options, whose `open` gives a
`Source`. Always true: `open` looks at what the user wrote (files, columns) and touches no device;
`read` touches the device, and mends its own connection at the next call after a failure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from typing import NamedTuple, Protocol, runtime_checkable

import msgspec

from clima_core.errors import ClimaError


class SensorError(ClimaError):
    """A sensor cannot be read now; the message says what and the mend. It is tried again."""


class Measured(NamedTuple):
    """A value as the chip or file gives it; None: measured, and unusable."""

    value: float | None
    unit: str


class Source(Protocol):
    """Something that can be read at a moment; one thread at a time calls it."""

    @property
    def quantities(self) -> Collection[str]:
        """The CF names that it measures when all is well: what is missing when it fails."""

    def read(self, at: datetime, /) -> Mapping[str, Measured]:
        """The values by CF name; a quantity left out was not measured. May raise SensorError.

        An answer that comes too late becomes no reading.
        """

    def close(self) -> None:
        """Let go of files and buses; never raises, and may be called twice."""


@runtime_checkable
class Counting(Source, Protocol):
    """A source that tells what came since the last reading, so that it has to know of each one."""

    def taken(self) -> None:
        """The last answer of `read` has become a reading. Called while nobody reads."""


@runtime_checkable
class Recorded(Source, Protocol):
    """A source with a timeline of its own, which the sampler follows instead of the clock."""

    def times(self) -> Iterator[datetime]:
        """The moments that it has values for, ascending; `read` is called for the latest one."""


class Setting(NamedTuple):
    """What a source may need to know of the run that it is opened for."""

    now: datetime
    interval_s: float


class Options(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="driver"
):
    """What every driver's options have in common; `name` is what its values are stored under.

    Names are the driver's own, with `-2` to `-9` for further ones of a kind: the store has a
    field for each, so they must be few however many stations there are.
    """

    name: str

    @property
    def recorded(self) -> bool:
        """Whether the source will have a timeline of its own."""
        return False

    @property
    def place(self) -> str | None:
        """Where on the board the device is, in words; None: nowhere. Two at one place are one."""
        return None

    def open(self, setting: Setting, /) -> Source:
        """Make the source; ConfigurationError for what the user must mend."""
        raise NotImplementedError
