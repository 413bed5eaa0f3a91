"""What time it is, and whether to believe it: a Raspberry Pi has no clock of its own.

At boot its clock says something, and some time later, when the network is there, something else.
What can be relied on is the time since boot, which nobody sets. So everything is measured in that
(a *moment*), and the time of day is a moment plus an offset. The offset is believed when the kernel
says that its clock is disciplined (adjtimex(2); whoever does it: timesyncd, ntpd, chrony with
rtcsync), or at once where the configuration says so (a battery-backed clock), or, when nobody else
knows for `forwarder_after_s`, as the forwarder has it; what is dated by that is flagged.

What always holds: once there is an offset it is kept, whatever happens to the system's clock, until
one that is at least as good takes its place. So a clock that is set by hand misdates nothing. And
nobody is believed by whom this computer booted before 2000: such a clock was never set, and no
store takes readings of that time. They wait without a date instead.

The crystal that counts the seconds drifts: by how much is not known, at most by `DRIFT`. So what
lies hours before or after the time was vouched for may be out, and says so when that is more than
`TOLERATED_S`. A month without anybody who knows the time costs a minute or two, never a reading.
"""

from __future__ import annotations

import ctypes
import sys
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import structlog

from clima_core.reading import EARLIEST

Trust = Literal["kernel", "system"]

STICKY_S = 0.005  # a smaller difference is the jitter of reading two clocks
TRIES = 5
STICKY_FORWARDER_S = 0.25  # and of asking over Wi-Fi
DRIFT = 50e-6  # of a board's crystal on a roof, in heat and frost: 4 s a day
TOLERATED_S = 0.5  # the rest of the second that times are right to is for everything else
FORSAKEN_S = 30.0  # then the forwarder's time is the better one
LONGEST_TRIP_S = 2.0  # a question and its answer that took longer say too little of the time
_UNSYNCHRONISED = 0x0040  # STA_UNSYNC of <sys/timex.h>
_TIMEX_BYTES = 208  # of struct timex where a long has 8 bytes; with 4 it is shorter
_BEFORE_STATUS = 5  # longs: `modes`, filled up to one, offset, freq, maxerror, esterror
_MENDS = {  # whose time is not believed, and what to do about it
    "kernel": "look whom its NTP daemon asks (`timedatectl timesync-status`)",
    "system": "set it; if it does so again, its battery is empty",
    "forwarder": "set the clock of the forwarder's host",
}
_NEVER_SET = "and was never set; what is read waits without a date until somebody knows the time"

log = structlog.get_logger("clima_agent.clock")


class Machine(Protocol):
    """The clocks of a computer."""

    @property
    def boot(self) -> str:
        """The name of this boot, which no other has."""

    def wall(self) -> float:
        """Seconds since 1970 that the system's clock shows."""

    def moment(self) -> float:
        """Seconds since boot, the time it slept included; nobody can set it."""

    def disciplined(self) -> bool:
        """Whether the kernel says that its clock is synchronised with a better one."""


class System:
    """The clocks of this computer."""

    def __init__(self) -> None:
        self.boot = _boot_id()
        self._libc = ctypes.CDLL(None, use_errno=True) if hasattr(time, "CLOCK_BOOTTIME") else None

    wall = staticmethod(time.time)

    if hasattr(time, "CLOCK_BOOTTIME"):
        moment = staticmethod(partial(time.clock_gettime, time.CLOCK_BOOTTIME))
    else:  # no station, but somebody's desk
        moment = staticmethod(time.monotonic)

    def disciplined(self) -> bool:
        if self._libc is None:
            return False
        timex = ctypes.create_string_buffer(_TIMEX_BYTES)  # all zero: change nothing
        if self._libc.adjtimex(timex) < 0:
            return False
        return synchronised(timex.raw)


def synchronised(timex: bytes, long_bytes: int = ctypes.sizeof(ctypes.c_long)) -> bool:
    """What a struct timex says of the kernel's clock; its fields are longs, of 4 bytes or of 8."""
    at = _BEFORE_STATUS * long_bytes
    return not int.from_bytes(timex[at : at + 4], sys.byteorder) & _UNSYNCHRONISED


class Known(NamedTuple):
    """The time is known: that of a moment is the moment plus `offset_s`."""

    offset_s: float
    how: Literal["kernel", "system", "forwarder"]

    def at(self, moment: float) -> datetime:
        """The time of a moment, to the millisecond."""
        return at(self.offset_s, moment)

    @property
    def flags(self) -> list[str]:
        """What `quality.clock` says of times that are known like this."""
        return ["forwarder"] if self.how == "forwarder" else []


class Stamp(NamedTuple):
    """When something was: `moment` is None when `time` is final.

    `uncertainty_s` is how far it may be out, where that is more than is tolerated, and known.
    """

    time: datetime
    moment: float | None
    flags: list[str]
    uncertainty_s: float | None = None


class Keeper:
    """Keeps the time. `known` is None until it is known; may be read in any thread."""

    def __init__(
        self,
        trust: Trust = "kernel",
        forwarder_after_s: float = 60.0,
        machine: Machine | None = None,
    ) -> None:
        self.machine = machine or System()
        self._trust = trust
        self._patience_until = self.machine.moment() + forwarder_after_s
        self._guess_s = self._offset() or self.machine.wall() - self.machine.moment()
        self.known: Known | None = None
        self._vouched = (0.0, 0.0)  # the first and the last moment of which it was
        self._disbelieved: set[str] = set()  # of whom it was said that they are not believed
        self._look()  # in silence: `check` says the same again when there is a log

    def now(self) -> datetime:
        """The time as far as it is known; a guess before that."""
        return at(self.offset_s, self.machine.moment())

    @property
    def offset_s(self) -> float:
        """What makes a moment a time; a guess while it is not known."""
        return self.known.offset_s if self.known else self._guess_s

    def stamp(self, moment: float | None = None) -> Stamp:
        """The time of a moment, or of now, and whether it is final."""
        moment = self.machine.moment() if moment is None else moment
        if known := self.known:
            doubt_s = drift_s(moment, *self._vouched)
            flags = known.flags or (["estimated"] if doubt_s else [])
            return Stamp(known.at(moment), None, flags, doubt_s)
        return Stamp(at(self._guess_s, moment), moment, ["estimated"])

    def check(self) -> None:
        """Look at the kernel's clock; to be called now and then, always in one thread."""
        if (unbelievable := self._look()) is not None:
            self._say(unbelievable)

    def told(self, theirs: datetime, trip_s: float) -> None:
        """By the forwarder's clock it is `theirs` now, give or take half of the trip."""
        moment = self.machine.moment()
        forsaken = (drift_s(moment, *self._vouched) or 0.0) > FORSAKEN_S
        better = self.known is not None and self.known.how != "forwarder" and not forsaken
        if not better and moment >= self._patience_until and trip_s <= LONGEST_TRIP_S:
            new = Known(theirs.timestamp() - moment, "forwarder")
            if not self._know(new, STICKY_FORWARDER_S + trip_s / 2):
                self._say(new)

    def _look(self) -> Known | None:
        """Take the system's clock where it is vouched for; returns what cannot be believed."""
        if self._trust == "kernel" and not self.machine.disciplined():
            return None
        if (offset_s := self._offset()) is None:
            return None
        new = Known(offset_s, self._trust)
        return None if self._know(new, STICKY_S) else new

    def _know(self, new: Known, sticky_s: float) -> bool:
        """Take it, unless no reading since the boot could be of such a time: then False."""
        if new.offset_s < EARLIEST.timestamp():
            return False
        old, moment = self.known, self.machine.moment()
        first = moment if old is None or old.how != new.how else self._vouched[0]
        self._vouched = (first, moment)
        if old is None or old.how != new.how or abs(new.offset_s - old.offset_s) > sticky_s:
            self.known = new
        return True

    def _say(self, unbelievable: Known) -> None:
        """Once for each source: it may go on like this for weeks."""
        how = unbelievable.how
        if how not in self._disbelieved:
            self._disbelieved.add(how)
            says = unbelievable.at(self.machine.moment()).isoformat()
            reason = f"that clock says {says}, {_NEVER_SET}"
            log.warning("time_not_believed", how=how, reason=reason, mend=_MENDS[how])

    def _offset(self) -> float | None:
        """By how much the two clocks differ; None when they could not be read together."""
        for _ in range(TRIES):
            before = self.machine.moment()
            wall = self.machine.wall()
            after = self.machine.moment()
            if after - before < STICKY_S:
                return wall - (before + after) / 2
        return None  # the machine has too much else to do: next time


def drift_s(moment: float, first: float, last: float) -> float | None:
    """How far out the time of a moment may be that was vouched for from `first` to `last`.

    None when that is no more than is tolerated.
    """
    doubt_s = max(first - moment, moment - last, 0.0) * DRIFT
    return doubt_s if doubt_s > TOLERATED_S else None


def at(offset_s: float, moment: float) -> datetime:
    """The time of a moment, to the millisecond."""
    return datetime.fromtimestamp(round(offset_s + moment, 3), UTC)


def _boot_id() -> str:
    """A name that no other boot has; where the kernel gives none, nothing is kept across boots."""
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text("ascii").strip() if path.exists() else f"process-{time.time_ns()}"
