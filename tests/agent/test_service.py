"""What the service manager hears, on a real socket."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from clima_agent.service import Beating, Service

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no systemd on Windows")


class Manager:
    """The service manager's end of the socket."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._socket.setblocking(False)

    def heard(self) -> list[str]:
        """All that has been said until now."""
        said = []
        try:
            while True:
                said.append(self._socket.recv(4096).decode())
        except BlockingIOError:
            return said

    def close(self) -> None:
        self._socket.close()


class Clock:
    """A clock that the tests move; a wait moves it, too."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.waits: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def offset(self) -> float:
        return 0.0

    def wait(self, stop: threading.Event, seconds: float) -> bool:
        self.waits.append(seconds)
        self.now += seconds
        return stop.is_set()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    listening = Manager(str(tmp_path / "notify"))
    yield listening
    listening.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def it(manager: Manager, clock: Clock, tmp_path: Path) -> Iterator[Service]:
    """With a watchdog of 30 s, and a /proc of the test's own."""
    environ = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "30000000"}
    made = Service(environ, clock.monotonic, tmp_path)
    yield made
    made.close()


def other_thread_beats(it: Service) -> int:
    """Once, and is never seen again; its number."""
    numbers: list[int] = []

    def beat() -> None:
        it.beat()
        numbers.append(threading.get_native_id())

    thread = threading.Thread(target=beat)
    thread.start()
    thread.join()
    return numbers[0]


def test_each_state_is_a_datagram(manager: Manager, it: Service) -> None:
    """In the words of sd_notify(3); a reload carries the time that systemd 253 asks for."""
    it.ready()
    it.status("all is well")
    it.reloading()
    it.stopping()
    it.close()
    it.ready()
    ready, status, reloading, stopping = manager.heard()
    assert ("READY=1", "STATUS=all is well", "STOPPING=1") == (ready, status, stopping)
    word, usec = reloading.split("\nMONOTONIC_USEC=")
    assert "RELOADING=1" == word
    assert int(usec) > 0


@pytest.mark.skipif(sys.platform != "linux", reason="abstract names are Linux's")
def test_an_abstract_address() -> None:
    """It begins with @, as systemd gives it to containers."""
    manager = Manager(f"@clima-test-{os.getpid()}")
    with closing(Service({"NOTIFY_SOCKET": manager.address})) as it:
        it.ready()
    assert ["READY=1"] == manager.heard()
    manager.close()


def test_nobody_who_listens_is_no_failure(tmp_path: Path) -> None:
    """Without a socket, with one that is not there, and with one that has gone."""
    Service({}).ready()
    Service({"NOTIFY_SOCKET": str(tmp_path / "none")}).ready()
    manager = Manager(str(tmp_path / "notify"))
    it = Service({"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "1000"})
    manager.close()
    it.beat()
    it.stopping()
    it.close()


def test_a_manager_that_does_not_read_holds_nothing_up(manager: Manager, it: Service) -> None:
    """The socket's buffer fills, and the station goes on."""
    for _ in range(10_000):
        it.ready()
    assert 0 < len(manager.heard()) < 10_000


def test_the_watchdog_is_fed_no_more_than_is_needed(
    manager: Manager, clock: Clock, it: Service
) -> None:
    """A recording is read thousands of times a second."""
    for _ in range(1000):
        it.beat()
        clock.now += 0.01
    assert ["WATCHDOG=1"] * 2 == manager.heard()


def test_without_a_watchdog_nothing_is_fed(manager: Manager) -> None:
    """Its time comes from the unit."""
    it = Service({"NOTIFY_SOCKET": manager.address})
    it.beat()
    it.beat()
    assert ([], float("inf")) == (manager.heard(), it.every_s)
    it.close()


def test_one_thread_that_hangs_is_enough(manager: Manager, clock: Clock, it: Service) -> None:
    """The other may go round as often as it likes: nothing is fed after the watchdog's time."""
    other_thread_beats(it)
    clock.now += 29
    it.beat()
    fed = manager.heard()
    clock.now += 20
    it.beat()
    assert (["WATCHDOG=1"] * 2, []) == (fed, manager.heard())


def test_a_thread_that_waits_for_the_card_does_not_hang(
    manager: Manager, clock: Clock, it: Service, tmp_path: Path
) -> None:
    """However long: a new process would wait for the same card, without this one's readings."""
    number = other_thread_beats(it)
    stat = tmp_path / str(number) / "stat"
    stat.parent.mkdir()
    stat.write_text(f"{number} (a (D) b) D 1 2 3", "ascii")
    manager.heard()
    clock.now += 100_000
    it.beat()
    waiting = manager.heard()
    stat.write_text(f"{number} (a D b) S 1 2 3", "ascii")
    clock.now += 20
    it.beat()
    assert (["WATCHDOG=1"], []) == (waiting, manager.heard())


@pytest.mark.skipif(sys.platform != "linux", reason="of proc(5)")
def test_the_kernel_says_how_a_thread_is(manager: Manager, clock: Clock) -> None:
    """One that sleeps for ever, in the real /proc, waits for no disk."""
    environ = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "30000000"}
    asleep, end = threading.Event(), threading.Event()

    def sleep(it: Service) -> None:
        it.beat()
        asleep.set()
        end.wait()

    with closing(Service(environ, clock.monotonic)) as it:
        thread = threading.Thread(target=sleep, args=[it])
        thread.start()
        asleep.wait()
        before = manager.heard()
        clock.now += 31
        it.beat()
        end.set()
        thread.join()
    assert (["WATCHDOG=1"], []) == (before, manager.heard())


def test_a_thread_that_has_ended_as_it_should_is_not_missed(
    manager: Manager, clock: Clock, it: Service
) -> None:
    """A recording has come to its end, and the rest is being sent."""

    def leave() -> None:
        it.beat()
        it.leave()

    thread = threading.Thread(target=leave)
    thread.start()
    thread.join()
    manager.heard()
    clock.now += 1000
    it.beat()
    assert ["WATCHDOG=1"] == manager.heard()


def test_a_long_wait_of_the_sampler_is_many_short_ones(
    manager: Manager, clock: Clock, it: Service
) -> None:
    """One reading an hour, and the watchdog is fed all the time."""
    beating = Beating(clock, it)
    assert not beating.wait(threading.Event(), 65)
    assert [10, 10, 10, 10, 10, 10, 5] == clock.waits
    assert ["WATCHDOG=1"] * 7 == manager.heard()


def test_a_wait_that_is_broken_off(clock: Clock, it: Service) -> None:
    """At once."""
    stop = threading.Event()
    stop.set()
    assert Beating(clock, it).wait(stop, 65)
    assert [10] == clock.waits
