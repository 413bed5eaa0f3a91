"""Whether the time is known, and what it is, whatever is done to the system's clock."""

from __future__ import annotations

import ctypes
import struct
from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from clima_agent.clock import Keeper, System, synchronised
from clima_core.reading import EARLIEST
from tests.agent.machine import START, Machine

EPOCH = datetime.fromtimestamp(START, UTC)


def test_nothing_is_known_until_the_kernel_says_so() -> None:
    """Until then there is a moment, and a guess that says that it is one."""
    machine = Machine(shows=0.0)
    keeper = Keeper(machine=machine)
    machine.pass_(7)
    stamp = keeper.stamp()
    assert (None, 7.0, ["estimated"]) == (keeper.known, stamp.moment, stamp.flags)
    assert datetime.fromtimestamp(7, UTC) == stamp.time


def test_a_moment_from_before_gets_its_exact_time() -> None:
    """Worked out backwards from when the clock was set."""
    machine = Machine(shows=1234.0)
    keeper = Keeper(machine=machine)
    machine.pass_(100)
    machine.set_right()
    keeper.check()
    assert keeper.known is not None
    assert (EPOCH + timedelta(seconds=7), []) == (keeper.known.at(7.0), keeper.known.flags)
    assert (EPOCH + timedelta(seconds=100), None, [], None) == keeper.stamp()


@pytest.mark.parametrize("ahead", [-3600.0, 3600.0, 10 * 365 * 86400.0])
def test_a_clock_that_is_set_by_hand_changes_nothing(ahead: float) -> None:
    """The kernel vouches for it no more; what was known before goes on to be."""
    machine = Machine()
    machine.set_right()
    keeper = Keeper(machine=machine)
    machine.set_by_hand(ahead)
    machine.pass_(60)
    keeper.check()
    assert EPOCH + timedelta(seconds=60) == keeper.now()


def test_a_step_that_the_kernel_vouches_for_is_taken() -> None:
    """A leap second, or a better source of time."""
    machine = Machine()
    machine.set_right()
    keeper = Keeper(machine=machine)
    machine.ahead = -1.0
    keeper.check()
    assert EPOCH - timedelta(seconds=1) == keeper.now()


def test_two_clocks_read_one_after_the_other_are_no_step() -> None:
    """Or the readings of one minute would be a few microseconds off each other's grid."""
    machine = Machine()
    machine.set_right()
    keeper = Keeper(machine=machine)
    known = keeper.known
    machine.ahead = 0.002
    keeper.check()
    assert known is keeper.known


class Busy(Machine):
    """Has so much to do that between two looks at a clock a tenth of a second passes."""

    looks_held_up = 0

    def moment(self) -> float:
        if self.looks_held_up:
            self.looks_held_up -= 1
            self.pass_(0.1)
        return super().moment()


@pytest.mark.parametrize("looks", [3, 1000])
def test_a_busy_machine_is_no_step(looks: int) -> None:
    """Two clocks that could not be read together say nothing about each other."""
    machine = Busy()
    machine.set_right()
    keeper = Keeper(machine=machine)
    known = keeper.known
    machine.looks_held_up = looks
    keeper.check()
    assert known is keeper.known


def test_the_forwarders_time_counts_when_nobody_else_knows() -> None:
    """Only after a while, and what is dated by it says so; the kernel's is better at any time."""
    machine = Machine(shows=0.0)
    keeper = Keeper(forwarder_after_s=60.0, machine=machine)
    machine.pass_(59)
    keeper.told(EPOCH + timedelta(seconds=59), 0.1)
    assert keeper.known is None
    machine.pass_(1)
    keeper.told(EPOCH + timedelta(seconds=60.1), 0.1)
    assert (EPOCH + timedelta(seconds=60.1), None, ["forwarder"], None) == keeper.stamp()
    machine.pass_(10)
    keeper.told(EPOCH + timedelta(seconds=70.2), 0.1)  # Wi-Fi is no metronome
    assert EPOCH + timedelta(seconds=70.1) == keeper.now()
    keeper.told(EPOCH + timedelta(seconds=75), 0.1)
    assert EPOCH + timedelta(seconds=75) == keeper.now()
    machine.set_right()
    keeper.check()
    keeper.told(EPOCH, 0.1)
    assert (EPOCH + timedelta(seconds=70), None, [], None) == keeper.stamp()


def test_an_answer_that_was_long_on_its_way_moves_nothing() -> None:
    """Behind a backlog on bad Wi-Fi it may be seconds old: how many, nobody knows."""
    machine = Machine(shows=0.0)
    keeper = Keeper(forwarder_after_s=60.0, machine=machine)
    machine.pass_(60)
    keeper.told(EPOCH + timedelta(seconds=63), 6.0)
    assert keeper.known is None
    keeper.told(EPOCH + timedelta(seconds=60), 0.1)
    keeper.told(EPOCH + timedelta(seconds=61), 1.8)
    assert EPOCH + timedelta(seconds=60) == keeper.now()
    keeper.told(EPOCH + timedelta(seconds=63), 1.8)
    assert EPOCH + timedelta(seconds=63) == keeper.now()


def test_a_clock_with_a_battery_is_believed_from_the_start() -> None:
    """If the configuration says so."""
    keeper = Keeper("system", machine=Machine())
    assert (EPOCH, None, [], None) == keeper.stamp()


def test_what_nobody_has_vouched_for_in_hours_says_how_far_it_may_be_out() -> None:
    """A crystal drifts, 50 ppm at most; until the kernel vouches for its clock again."""
    machine = Machine()
    machine.set_right()
    keeper = Keeper(machine=machine)
    machine.pass_(86400)
    keeper.check()
    machine.synchronised = False
    machine.pass_(9000)
    keeper.check()
    assert [] == keeper.stamp().flags
    machine.pass_(31_000)
    keeper.check()
    stamp = keeper.stamp()
    assert ["estimated"] == stamp.flags
    assert pytest.approx(2.0) == stamp.uncertainty_s
    assert [] == keeper.stamp(90_000.0).flags
    machine.set_right()
    keeper.check()
    assert [] == keeper.stamp().flags


def test_what_was_hours_before_the_time_was_known_may_be_out_too() -> None:
    """It is worked out backwards over as many seconds of the crystal."""
    machine = Machine(shows=0.0)
    keeper = Keeper(machine=machine)
    machine.pass_(20_000)
    machine.set_right()
    keeper.check()
    before = keeper.stamp(0.0)
    assert ["estimated"] == before.flags
    assert pytest.approx(1.0) == before.uncertainty_s
    assert ([], None) == (keeper.stamp(12_000.0).flags, keeper.stamp(12_000.0).uncertainty_s)


def test_after_weeks_without_ntp_the_forwarder_knows_better() -> None:
    """By then the crystal may be half a minute out."""
    machine = Machine()
    machine.set_right()
    keeper = Keeper(machine=machine)
    machine.synchronised = False
    machine.pass_(6 * 86400)
    keeper.told(EPOCH, 0.1)
    assert keeper.known is not None
    assert "kernel" == keeper.known.how
    machine.pass_(86400)
    keeper.told(EPOCH + timedelta(days=7, seconds=20), 0.1)
    assert (EPOCH + timedelta(days=7, seconds=20), ["forwarder"]) == (
        keeper.now(),
        keeper.stamp().flags,
    )


def test_a_clock_with_an_empty_battery_is_not_believed() -> None:
    """It says 1970, vouched for by the configuration: readings wait until it has been set."""
    machine = Machine(shows=0.0)
    keeper = Keeper("system", machine=machine)
    machine.pass_(50)
    assert (None, 50.0) == (keeper.known, keeper.stamp().moment)
    machine.ahead = 0.0
    keeper.check()
    assert (EPOCH + timedelta(seconds=50), None, [], None) == keeper.stamp()
    machine.ahead = -START
    keeper.check()
    assert EPOCH + timedelta(seconds=50) == keeper.now()


def test_a_time_before_2000_is_nobodys_to_say() -> None:
    """An NTP server without a clock, a forwarder's host without one: each is said once."""
    machine = Machine(shows=0.0)
    keeper = Keeper(forwarder_after_s=60.0, machine=machine)
    machine.pass_(100)
    machine.synchronised = True
    with capture_logs() as log:
        for _ in range(3):
            keeper.check()
            keeper.told(datetime(1970, 1, 1, 0, 5, tzinfo=UTC), 0.1)
    assert keeper.known is None
    said = [each for each in log if each["event"] == "time_not_believed"]
    assert ["kernel", "forwarder"] == [each["how"] for each in said]
    assert (
        "says 1970-01-01T00:01:40+00:00, and was never set; what is read waits" in said[0]["reason"]
    )
    assert "says 1970-01-01T00:05:00+00:00" in said[1]["reason"]
    assert all(each["mend"] for each in said)


def test_what_is_not_believed_at_the_start_is_said_when_there_is_a_log() -> None:
    """It is set up after the keeper, which stamps its lines."""
    with capture_logs() as log:
        keeper = Keeper("system", machine=Machine(shows=0.0))
    assert [] == log
    with capture_logs() as log:
        keeper.check()
    assert ["time_not_believed"] == [each["event"] for each in log]


@pytest.mark.parametrize("booted_s", [-1.0, 0.0])
def test_no_reading_since_the_boot_is_dated_before_2000(booted_s: float) -> None:
    """Also those from before the time was known: what counts is when the computer booted."""
    machine = Machine(shows=EARLIEST.timestamp() + booted_s)
    machine.synchronised = True
    machine.pass_(5)
    known = Keeper(machine=machine).known
    assert (booted_s >= 0) == (known is not None)


@pytest.mark.parametrize("microseconds", [0, 64, 999_999])
def test_the_kernel_is_understood_on_32_bits(microseconds: int) -> None:
    """A long has 4 bytes: where 64 bits have the status there are microseconds."""
    for status in (0x40, 0x01):
        said = struct.pack(
            "=I4ii3i2i",
            0,
            7,
            0,
            16_000_000,
            16_000_000,
            status,
            7,
            1,
            9,
            1_800_000_000,
            microseconds,
        )
        assert (status == 0x01) == synchronised(said, 4)


def test_the_kernel_is_understood_on_64_bits() -> None:
    """A long has 8 bytes, and lies at a multiple of them."""
    for status in (0x40, 0x01):
        said = struct.pack(
            "=I4x4qi4x3q2q", 0, 7, 0, 16_000_000, 16_000_000, status, 7, 1, 9, 1_800_000_000, 64
        )
        assert (status == 0x01) == synchronised(said, 8)


def test_this_machine_has_one_of_the_two_layouts() -> None:
    """That of its C compiler."""

    class Timex(ctypes.Structure):
        _fields_ = (
            ("modes", ctypes.c_uint),
            *((name, ctypes.c_long) for name in ("offset", "freq", "maxerror", "esterror")),
            ("status", ctypes.c_int),
        )

    assert not synchronised(bytes(Timex(status=0x40)))
    assert synchronised(bytes(Timex(modes=0x40, offset=0x40, esterror=0x40, status=0x2001)))


def test_this_machine_has_clocks() -> None:
    """The real ones: the moment passes, the boot has a name, and the kernel can be asked."""
    system = System()
    before = system.moment()
    assert before <= system.moment()
    assert system.boot
    assert abs(system.wall() - datetime.now(UTC).timestamp()) < 1
    assert system.disciplined() in (True, False)
