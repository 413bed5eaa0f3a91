"""Whose word the values rest on: each calibration, with its certificate and its dates.

They go with the readings, which are kept for as long as the data they are about: the first reading
after each change carries all of them, and holds until the next that does. What was said last is
remembered in a file beside the spool. It is written only when that reading must have reached the
disk, so a power cut makes it be said once more, never not at all. Tables that would make the
reading longer than may be sent are cut, and a warning says so: a reading is worth more than they.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

import msgspec
import structlog

from clima_agent.config import Configuration
from clima_agent.pipeline.calibrate import Calibration, Calibrations
from clima_agent.pipeline.draft import Draft
from clima_core.reading import Calibration as Entry

FILE = "calibration.json"  # in the spool's folder
MOST_BYTES = 32 * 1024  # of all entries as JSON; the other half of a record is the reading's
_SHORT = 300  # characters of each text once it is too much

log = structlog.get_logger("clima_agent.provenance")


def entries(calibrations: Calibrations) -> list[Entry]:
    """All of them, as they go with a reading and stand in `status`."""
    return [
        Entry(
            sensor,
            quantity,
            in_words(calibration),
            calibration.certificate,
            calibration.date.isoformat() if calibration.date else None,
            calibration.due.isoformat() if calibration.due else None,
        )
        for sensor, quantities in calibrations.items()
        for quantity, calibration in quantities.items()
    ]


def in_words(calibration: Calibration) -> str:
    """The correction, exact enough to be done again: `said * 1.02 - 0.4`, `11.3: 12.1, …`.

    A polynomial as `-0.31 + said * 1.02 + said^2 * 0.00014, from -20 to 50`.
    """
    if calibration.points:
        words = ", ".join(f"{said:g}: {true:g}" for said, true in calibration.points)
    elif calibration.valid:
        first, last = calibration.valid
        words = f"{_formula(calibration.coefficients)}, from {first:g} to {last:g}"
    else:
        sign = "-" if calibration.offset < 0 else "+"
        words = f"said * {calibration.scale!r} {sign} {abs(calibration.offset)!r}"
    share = calibration.self_heating
    return f"{words}; self-heating {share!r}" if share else words


def fitting(said: list[Entry]) -> list[Entry]:
    """The entries so that a record can hold them; `status` shows the whole of each."""
    if len(msgspec.json.encode(said)) <= MOST_BYTES:
        return said
    log.warning("calibration_shortened", reason=f"all of it comes to more than {MOST_BYTES} bytes")
    return [
        msgspec.structs.replace(
            entry,
            correction=_short(entry.correction),
            certificate=entry.certificate and _short(entry.certificate),
        )
        for entry in said
    ]


def _short(text: str) -> str:
    return text if len(text) <= _SHORT else f"{text[:_SHORT]} …"


def _formula(coefficients: Sequence[float]) -> str:
    powers = ("", "said * ", *(f"said^{power} * " for power in range(2, len(coefficients))))
    return " + ".join(f"{power}{each!r}" for power, each in zip(powers, coefficients, strict=True))


def overdue(calibrations: Calibrations, now: datetime) -> Iterator[str]:
    """A line for each that should have been done again by now."""
    for sensor, quantities in calibrations.items():
        for quantity, calibration in quantities.items():
            if calibration.overdue(now.date()):
                certificate = calibration.certificate or "none"
                yield (
                    f"calibration.{sensor}.{quantity}.due: {calibration.due} has passed"
                    f" (certificate: {certificate}); have the sensor calibrated again"
                )


class Statement:
    """Has a reading carry the calibrations after each change, and warns of the overdue ones."""

    def __init__(
        self, configured: Configuration, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._calibrations = configured.calibration
        self._entries = entries(configured.calibration)
        self._path = configured.spool.directory / FILE
        self._settled_s = 2 * configured.spool.commit_window_s + 60
        self._monotonic = monotonic
        self._encoded = msgspec.json.encode(self._entries)
        self._remembered = _contents(self._path) == self._encoded
        self._said_at: float | None = None
        self._warned: set[str] = set()

    def stated(self, draft: Draft) -> Draft:
        """The draft, with the calibrations where they have not been said yet."""
        self._warn(draft.time)
        if self._remembered:
            return draft
        if self._said_at is None:
            self._said_at = self._monotonic()
            return msgspec.structs.replace(draft, calibration=fitting(self._entries))
        if self._monotonic() - self._said_at >= self._settled_s:
            self._remember()
        return draft

    def _warn(self, now: datetime) -> None:
        for line in overdue(self._calibrations, now):
            if line not in self._warned:
                self._warned.add(line)
                log.warning("calibration_overdue", reason=line)

    def _remember(self) -> None:
        self._remembered = True
        try:
            self._path.write_bytes(self._encoded)
        except OSError as error:  # then it is said again after the next start
            log.warning("calibration_not_remembered", file=str(self._path), reason=error.strerror)


def _contents(path: Path) -> bytes:
    """What was said last; nothing at all is the same as no calibration."""
    try:
        return path.read_bytes()
    except OSError:
        return b"[]"
