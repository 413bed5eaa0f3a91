"""The accounts of a lane: each sequence has its place, and a fault is never explained away."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clima_core.identity import Lane
from clima_core.ranges import Ranges
from clima_core.wire import MAX_PAIRS, Dropped, LaneReport, StationReport
from clima_forwarder.audit import LaneAudit, account, audit
from clima_forwarder.outputs import open_archive, open_output, sqlite
from clima_forwarder.outputs.base import Presence
from tests.forwarder.outputs.stores import documents

NOW = datetime(2024, 5, 1, tzinfo=UTC)
LONG_AGO = NOW - timedelta(days=400)
LANE = Lane("0123456789ab", "l")
KEPT = timedelta(days=30)
SETS = ("stored", "dead", "dropped", "waiting", "missing", "expired", "unclear", "gaps")


def report(last: int, **fields: object) -> LaneReport:
    """What a station says of the lane, which began yesterday unless `since` says otherwise."""
    common = {"since": NOW - timedelta(days=1), "first": 1, "last": last}
    return LaneReport(*LANE, **{**common, **fields})  # type: ignore[arg-type]


def accounts(
    stored: Ranges,
    said: LaneReport | None,
    dead: Ranges | None = None,
    doubled: Ranges | None = None,
    age: timedelta = timedelta(hours=1),
    spoke: datetime | None = None,
    begins: datetime = LONG_AGO,
) -> LaneAudit:
    """The lane's accounts, the report being so old, and the station's last word of that moment.

    What is left of the lane `begins` before its retention.
    """
    presence = Presence(stored, doubled or Ranges(), dead or Ranges(), begins if stored else None)
    reported = NOW - age if said else None
    return account("roof", LANE, presence, said, reported, NOW, KEPT, spoke or reported)


def test_a_whole_lane_is_complete() -> None:
    """Nothing is missing, nothing is too many."""
    found = accounts(Ranges([(1, 100)]), report(100))
    assert (True, "complete", Ranges()) == (found.sound, found.verdict, found.gaps)


def test_a_lost_tail_shows() -> None:
    """The station assigned more than ever arrived."""
    assert Ranges([(91, 100)]) == accounts(Ranges([(1, 90)]), report(100)).gaps


def test_a_lane_that_never_arrived_shows() -> None:
    """Known from its report alone."""
    assert Ranges([(1, 7)]) == accounts(Ranges(), report(7)).gaps


def test_a_lane_that_was_never_reported_is_judged_by_what_is_there() -> None:
    """Up to the highest that is stored or a dead letter."""
    found = accounts(Ranges([(1, 3), (5, 5)]), None, dead=Ranges([(7, 7)]))
    assert (7, Ranges.of([4, 6]), None) == (found.last, found.gaps, found.reported)


def test_what_the_station_gave_up_or_holds_is_no_gap() -> None:
    """As long as it says so; what is stored nevertheless counts as stored."""
    said = report(10, waiting=[(8, 10)], dropped=[Dropped(2, 4, "spool_full")])
    found = accounts(Ranges([(1, 2), (6, 8)]), said)
    assert (Ranges([(3, 4)]), Ranges([(9, 10)]), Ranges([(5, 5)])) == (
        found.dropped,
        found.waiting,
        found.gaps,
    )


def test_a_list_of_waiting_ranges_that_was_cut_accuses_nobody() -> None:
    """What lies above the cut may be waiting too."""
    said = report(5000, waiting=[(2 * n, 2 * n) for n in range(1, MAX_PAIRS + 1)])
    found = accounts(Ranges([(1, 1)]), said)
    assert Ranges.of(range(3, 2 * MAX_PAIRS, 2)) == found.gaps


@pytest.mark.parametrize(("seconds", "gaps"), [(5, Ranges()), (600, Ranges([(11, 11)]))])
def test_what_came_after_a_fresh_report_may_be_on_its_way(seconds: int, gaps: Ranges) -> None:
    """Newer records overtake older ones; but not for ever."""
    found = accounts(Ranges([(1, 10), (12, 12)]), report(10), age=timedelta(seconds=seconds))
    assert gaps == found.gaps


def test_a_report_from_the_future_is_not_believed() -> None:
    """A clock was ahead: what waited then may be long lost, and nothing is on its way for ever."""
    said = report(10, waiting=[(8, 10)])
    found = accounts(Ranges([(1, 7), (12, 12)]), said, age=timedelta(days=-30))
    assert (True, Ranges(), Ranges([(8, 11)])) == (found.ahead, found.waiting, found.gaps)
    whole = accounts(Ranges([(1, 10)]), said, age=timedelta(days=-30))
    assert (True, True) == (whole.ahead, whole.sound)


def test_a_report_that_was_written_meanwhile_is_not_from_the_future() -> None:
    """The audit takes its time, and the host's clock is not the forwarder's."""
    said = report(10, waiting=[(8, 10)])
    found = accounts(Ranges([(1, 7), (12, 12)]), said, age=timedelta(seconds=-30))
    assert (False, Ranges([(8, 11)])) == (found.ahead, found.waiting)


@pytest.mark.parametrize(("hours", "lost"), [(20, False), (30, True)])
def test_what_waits_on_a_card_that_fell_silent_is_missing(hours: int, lost: bool) -> None:
    """The station has spoken since, and would have said what waits on it."""
    held, nothing = Ranges([(8, 10)]), Ranges()
    said = report(10, waiting=[(8, 10)])
    found = accounts(Ranges([(1, 7)]), said, age=timedelta(hours=hours), spoke=NOW)
    assert (not lost, "missing" if lost else "waiting") == (found.sound, found.verdict)
    assert ((nothing, held) if lost else (held, nothing)) == (found.waiting, found.missing)


def test_a_station_that_is_off_has_its_readings_still() -> None:
    """For a year: nothing speaks against their coming."""
    said = report(10, waiting=[(8, 10)])
    found = accounts(Ranges([(1, 7)]), said, age=timedelta(days=365))
    assert (True, "waiting") == (found.sound, found.verdict)


def test_only_the_beginning_of_an_old_lane_expires() -> None:
    """A hole further on is a gap however old it is."""
    stored = Ranges([(50, 60), (70, 100)])
    old, young = (accounts(stored, report(100, since=since)) for since in (LONG_AGO, NOW))
    assert (Ranges([(1, 49)]), Ranges([(61, 69)])) == (old.expired, old.gaps)
    assert (Ranges(), Ranges([(1, 49), (61, 69)])) == (young.expired, young.gaps)


def test_what_is_left_must_be_as_old_as_the_retention_for_the_rest_to_have_expired() -> None:
    """The station was silent for longer, and what it sent this week is lost: or it is not."""
    said, left = report(100, since=LONG_AGO), Ranges([(50, 100)])
    young = accounts(left, said, begins=NOW - timedelta(days=3))
    assert (Ranges(), Ranges([(1, 49)]), Ranges()) == (young.expired, young.unclear, young.gaps)
    assert (True, "gap or expired") == (young.sound, young.verdict)
    old = accounts(left, said, begins=NOW - KEPT + timedelta(hours=20))
    assert (Ranges([(1, 49)]), Ranges()) == (old.expired, old.unclear)


def test_of_readings_what_may_be_lost_counts_as_lost() -> None:
    """They are what all of this is for."""
    said = msgspec.structs.replace(report(100, since=LONG_AGO), stream="w")
    found = accounts(Ranges([(50, 100)]), said, begins=NOW - timedelta(days=3))
    assert (False, Ranges([(1, 49)]), Ranges()) == (found.sound, found.gaps, found.unclear)


@pytest.mark.parametrize(("days", "verdict"), [(2, "gap or expired"), (31, "complete")])
def test_a_lane_of_which_nothing_is_left_has_expired_if_it_ended_so_long_ago(
    days: int, verdict: str
) -> None:
    """Its station has not spoken of it since then; else somebody may have emptied the store."""
    found = accounts(Ranges(), report(100, since=LONG_AGO), age=timedelta(days=days))
    assert verdict == found.verdict
    assert Ranges([(1, 100)]) == found.expired | found.unclear


def test_what_is_kept_for_ever_hides_no_gap_and_makes_none() -> None:
    """Dead letters and what was given up stay known when the records around them have expired."""
    said = report(100, since=LONG_AGO, dropped=[Dropped(10, 19, "spool_full")])
    found = accounts(Ranges([(50, 100)]), said, dead=Ranges.of([5]))
    assert (Ranges(), Ranges([(1, 4), (6, 9), (20, 49)])) == (found.gaps, found.expired)


def test_doubles_are_faults() -> None:
    """Of whole lanes too."""
    found = accounts(Ranges([(1, 9)]), report(9), doubled=Ranges.of([4]))
    assert (False, "doubled") == (found.sound, found.verdict)


ranges = st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60))).map(Ranges)


@given(
    ranges,
    ranges,
    ranges,
    ranges,
    st.integers(0, 70),
    st.sampled_from([NOW, LONG_AGO]),
    st.integers(-9, 9),
    st.sampled_from([NOW, LONG_AGO]),
)
def test_each_sequence_has_exactly_one_place(
    stored: Ranges,
    dead: Ranges,
    waiting: Ranges,
    dropped: Ranges,
    last: int,
    since: datetime,
    days: int,
    begins: datetime,
) -> None:
    """Whatever the station says: the sets are disjoint and make up `1..last`."""
    losses = [Dropped(*pair, "damaged") for pair in dropped.pairs]
    said = report(last, since=since, waiting=list(waiting.pairs), dropped=losses)
    found = accounts(stored, said, dead, age=timedelta(days=days), spoke=NOW, begins=begins)
    parts = [getattr(found, name) for name in SETS]
    assert found.last == sum(len(part) for part in parts)
    assert Ranges([(1, found.last)]) == Ranges(pair for part in parts for pair in part.pairs)


async def test_lanes_of_reports_and_of_records_are_audited(tmp_path: Path) -> None:
    """Each once, in order, of all stations or of one."""
    options = sqlite.Options(path=tmp_path / "readings.sqlite")
    output, archive = open_output(options), open_archive(options)
    await output.open()
    await archive.open()
    weather, silent = Lane("0123456789ab", "w"), Lane("ba9876543210", "w")
    await output.create(documents("roof", weather, [1, 2, 4]))
    await output.create(documents("barn", weather, [1]))
    lanes = [LaneReport(*weather, 1, 5, NOW), LaneReport(*silent, 1, 2, NOW)]
    await output.report([StationReport("roof", NOW - timedelta(hours=1), lanes)])
    found = await audit(archive, NOW)
    assert [
        ("barn", weather, Ranges()),
        ("roof", weather, Ranges.of([3, 5])),
        ("roof", silent, Ranges.of([1, 2])),
    ] == [(each.station, each.lane, each.gaps) for each in found]
    assert found[:1] == await audit(archive, NOW, "barn")
    await archive.close()
    await output.close()


async def test_a_card_is_silent_only_beside_another_of_its_station(tmp_path: Path) -> None:
    """Each lane by its own last report; one from the future says nothing of the others."""
    options = sqlite.Options(path=tmp_path / "readings.sqlite")
    output, archive = open_output(options), open_archive(options)
    await output.open()
    await archive.open()
    old, new = Lane("0123456789ab", "w"), Lane("ba9876543210", "w")
    for station, lane, age in (
        ("roof", old, timedelta(days=300)),
        ("roof", new, timedelta(hours=3)),
        ("barn", old, timedelta(days=300)),
        ("yard", old, timedelta(days=2)),
        ("yard", new, timedelta(days=-300)),
    ):
        said = LaneReport(*lane, 1, 2, NOW, [(1, 2)])
        await output.report([StationReport(station, NOW - age, [said])])
    found = await audit(archive, NOW)
    assert [
        ("barn", "waiting"),
        ("roof", "missing"),
        ("roof", "waiting"),
        ("yard", "waiting"),
        ("yard", "gaps"),
    ] == [(each.station, each.verdict) for each in found]
    assert NOW - timedelta(hours=3) == found[1].spoke
    await archive.close()
    await output.close()
