"""What the service manager is told, by sd_notify(3): datagrams to the socket in `$NOTIFY_SOCKET`.

Without that socket (a container, a terminal) nothing is said. Saying it never blocks and never
fails: a service manager that does not listen is no reason to stop measuring.

The watchdog is fed by the two threads that make the station, the sampler's at each pass of its
loop and the loop that owns the spool, and only while both are alive. A thread is, when it has
passed within the watchdog's time, or when it waits for a disk (state D of proc(5)): a card whose
sync hangs would hang the next process too, which could not even have the spool, as the kernel does
not let a process in that state be killed. Meanwhile the sampler goes on, and its readings wait in
memory: to restart would only lose them. A sensor that hangs has a thread of its own, and is no
part of this.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from clima_agent.sampler import Clock

TASKS = Path("/proc/self/task")
PASSES = 3  # in the watchdog's time


class Service:
    """The one who started us, if it wants to know how we are; may be used in any thread."""

    def __init__(
        self,
        environ: Mapping[str, str],
        monotonic: Callable[[], float] = time.monotonic,
        tasks: Path = TASKS,
    ) -> None:
        self._socket = _connected(environ.get("NOTIFY_SOCKET", ""))
        self._patience_s = int(environ.get("WATCHDOG_USEC", "0")) / 1e6 or float("inf")
        self._monotonic = monotonic
        self._tasks = tasks
        self._seen: dict[int, float] = {}  # when each thread has passed last
        self._fed = 0.0

    @property
    def every_s(self) -> float:
        """How often each thread is to pass, at least."""
        return self._patience_s / PASSES

    def ready(self) -> None:
        """Started, or done with reloading."""
        self._say("READY=1")

    def reloading(self) -> None:
        """Until `ready`."""
        self._say(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """On the way out."""
        self._say("STOPPING=1")

    def status(self, line: str) -> None:
        """How things are, in one line."""
        self._say(f"STATUS={line}")

    def beat(self) -> None:
        """The calling thread is alive; if the others are, too, the watchdog is fed."""
        now = self._monotonic()
        self._seen[threading.get_native_id()] = now
        due = self._fed + self.every_s / 2  # never, without a watchdog
        if now >= due and all(map(self._alive, list(self._seen))):
            self._fed = now
            self._say("WATCHDOG=1")

    def leave(self) -> None:
        """The calling thread ends, as it should."""
        self._seen.pop(threading.get_native_id(), None)

    def close(self) -> None:
        """Say nothing more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _alive(self, thread: int) -> bool:
        silent_s = self._monotonic() - self._seen.get(thread, self._monotonic())
        return silent_s < self._patience_s or self._waits_for_a_disk(thread)

    def _waits_for_a_disk(self, thread: int) -> bool:
        try:
            stat = (self._tasks / str(thread) / "stat").read_text("utf-8", "replace")
        except OSError:
            return False
        return stat.rpartition(")")[2].split()[:1] == ["D"]  # after the name, which may hold any

    def _say(self, what: str) -> None:
        if self._socket is not None:
            with suppress(OSError):
                self._socket.send(what.encode())


class Beating:
    """A sampler's clock that tells of each wait, and makes none too long for the watchdog."""

    def __init__(self, clock: Clock, service: Service) -> None:
        self._clock = clock
        self._service = service
        self.monotonic = clock.monotonic
        self.offset = clock.offset

    def wait(self, stop: threading.Event, seconds: float) -> bool:
        """In pieces; True as soon as `stop` is set."""
        until = self.monotonic() + seconds
        while True:
            self._service.beat()
            left = max(0.0, until - self.monotonic())
            if left <= self._service.every_s:
                return self._clock.wait(stop, left)
            if self._clock.wait(stop, self._service.every_s):
                return True


def _connected(address: str) -> socket.socket | None:
    """The socket, which may be in the abstract namespace (@); None where there is none."""
    if not address:
        return None
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    made.setblocking(False)
    try:
        made.connect("\0" + address[1:] if address.startswith("@") else address)
    except OSError:
        made.close()
        return None
    return made
