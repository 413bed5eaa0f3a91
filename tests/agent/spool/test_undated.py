"""Records from before the time was known: in order, exactly once, and as well dated as can be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from clima_agent.document import dated
from clima_agent.spool import Ledger, Limits, Spool, Start, Undated, recover
from clima_agent.spool.undated import SLICE, known_starts
from clima_core.identity import Lane
from clima_core.ranges import Ranges
from clima_core.reading import rfc3339
from clima_core.wire import MAX_RECORD_BYTES, LaneReport
from tests.agent.spool.stock import STATION, Told, assert_accounted, document, limit_pages, waiting

NOW = 1_700_000_000.0


def undated(boot: str, moment: float, number: int = 0) -> Undated:
    return Undated(boot, moment, "w", {**document(number), "labels": {"number": str(number)}})


def dated_document(time: float) -> dict[str, Any]:
    return {**document(1), "@timestamp": rfc3339(datetime.fromtimestamp(time, UTC))}


def dating(record: Undated, start: Start) -> Mapping[str, Any]:
    return dated(record.document, record.stream, *start.at(record.moment))


def records(spool: Spool) -> list[dict[str, Any]]:
    """What the current journal's weather lane holds."""
    spool.sync()
    lane = Lane(spool.journal, "w")
    last = spool.ledgers[lane].last
    bodies = spool.read(lane, 1, last, 2**30) if last else []
    return [msgspec.json.decode(body) for body in bodies]


def lane_of(spool: Spool) -> Ledger:
    """The current journal's weather lane."""
    return spool.ledgers[Lane(spool.journal, "w")]


def settled(report: LaneReport) -> list[tuple[int, int, str]]:
    return [(each.first, each.last, each.reason) for each in report.dropped]


def labelled(body: bytes) -> int:
    return int(msgspec.json.decode(body)["labels"]["number"])


def times(spool: Spool) -> list[float]:
    found = [datetime.fromisoformat(each["@timestamp"]).timestamp() for each in records(spool)]
    return [time - NOW for time in found]


@contextmanager
def opened(path: Path | str = ":memory:", **options: Any) -> Iterator[Spool]:
    spool = Spool(path, STATION, now=lambda: datetime.fromtimestamp(NOW, UTC), **options)
    try:
        yield spool
    finally:
        spool.close()


def test_records_of_the_running_boot_get_their_exact_times() -> None:
    """And with them their numbers: until then nobody is offered them."""
    with opened() as spool:
        spool.keep_undated([undated("now", 10.0), undated("now", 20.123)])
        assert (2, []) == (spool.undated, records(spool))
        assert 2 == spool.date(Start("now", NOW - 100), dating)
        assert [-90.0, pytest.approx(-79.877)] == times(spool)
        assert 0 == spool.undated
        assert [1, 2] == [each["event"]["sequence"] for each in records(spool)]
        assert all("clock" not in each.get("quality", {}) for each in records(spool))


def test_a_boot_that_lost_its_power_lies_between_its_neighbours() -> None:
    """Order and distances are true; the time itself is the middle of what is possible."""
    with opened() as spool:
        spool.append("w", [dated_document(NOW)])
        spool.keep_undated([undated("lost", 5.0), undated("lost", 15.0), undated("now", 3.0)])
        spool.date(Start("now", NOW + 115), dating)
        # It began between 0 and 100 s after the last record that has a date.
        assert [0.0, 55.0, 65.0, 118.0] == times(spool)
        lost = records(spool)[1]
        assert ["estimated"] == lost["quality"]["clock"]
        assert "50" == lost["labels"]["clock_uncertainty_s"]


@pytest.mark.parametrize("before", [[], [undated("lost", 10.0)]])
def test_a_boot_whose_time_was_known_once_is_no_estimate(
    tmp_path: Path, before: list[Undated]
) -> None:
    """An agent that began anew in it did not learn the time again before the power went."""
    path = tmp_path / "spool.db"
    with opened(path) as spool:
        spool.keep_undated(before)
        spool.date(Start("lost", NOW), dating)
        spool.append("w", [dated_document(NOW + 40)])
    with opened(path) as spool:
        spool.keep_undated([undated("lost", 50.0), undated("now", 3.0)])
        spool.date(Start("now", NOW + 1000), dating)
        assert [40.0, 50.0, 1003.0] == times(spool)[-3:]
        assert all("clock" not in each.get("quality", {}) for each in records(spool))
        assert ["now"] == [start.boot for start in known_starts(spool.file)]


def test_several_lost_boots_keep_their_order() -> None:
    """However many there were, and with nothing before them that has a date."""
    with opened() as spool:
        spool.keep_undated([undated("a", 5.0), undated("a", 50.0), undated("b", 1.0)])
        spool.date(Start("now", NOW), dating)
        assert [-46.0, -1.0, 0.0] == times(spool)
        assert "clock_uncertainty_s" not in records(spool)[0]["labels"]


def test_a_wrong_date_in_the_past_does_not_turn_the_order_around() -> None:
    """The last dated record claims to be from the future: what is known now counts."""
    with opened() as spool:
        spool.append("w", [dated_document(NOW + 1e6)])
        spool.keep_undated([undated("lost", 5.0), undated("now", 3.0)])
        spool.date(Start("now", NOW), dating)
        assert [0.0, 3.0] == times(spool)[1:]
        assert "1000005" == records(spool)[1]["labels"]["clock_uncertainty_s"]


def test_dating_that_is_cut_short_goes_on_where_it_was(tmp_path: Path) -> None:
    """Nothing twice, and a boot begins when it was first taken to have begun."""
    count = 2 * SLICE + 10
    stop_at = SLICE + 7

    class PowerCutError(Exception):
        pass

    def cut(record: Undated, start: Start) -> Mapping[str, Any]:
        if int(record.document["labels"]["number"]) == stop_at:
            raise PowerCutError
        return dating(record, start)

    with opened(tmp_path / "spool.db") as spool:
        spool.append("w", [dated_document(NOW)])
        spool.keep_undated([undated("lost", float(n), n) for n in range(count)])
        with pytest.raises(PowerCutError):
            spool.date(Start("second", NOW + 10_000), cut)
        assert SLICE + 1 == len(records(spool))
    with opened(tmp_path / "spool.db") as spool:
        spool.keep_undated([undated("third", 1.0, count)])
        spool.date(Start("third", NOW + 50_000), dating)
        numbers = [int(each["labels"]["number"]) for each in records(spool)[1:]]
        assert list(range(count + 1)) == numbers
        assert [1.0] * (count - 1) == [
            pytest.approx(later - earlier)
            for earlier, later in zip(times(spool)[1:-2], times(spool)[2:-1], strict=True)
        ]


def test_a_boot_that_was_dated_in_part_keeps_what_is_said_of_its_times(tmp_path: Path) -> None:
    """The power goes in between, and the next boot knows the time by other means."""

    def cut(record: Undated, start: Start) -> Mapping[str, Any]:
        raise LookupError(record, start)

    with opened(tmp_path / "spool.db") as spool:
        spool.keep_undated([undated("first", 0.0), undated("first", 20_000.0)])
        with pytest.raises(LookupError):
            spool.date(Start("first", NOW, known_at=20_000.0, flags=["forwarder"]), cut)
    with opened(tmp_path / "spool.db") as spool:
        spool.keep_undated([undated("second", 0.0), undated("second", 20_000.0)])
        spool.date(Start("second", NOW + 50_000, known_at=20_000.0), dating)
        flags = [each.get("quality", {}).get("clock") for each in records(spool)]
        labels = [each["labels"].get("clock_uncertainty_s") for each in records(spool)]
        assert [["forwarder"], ["forwarder"], ["estimated"], None] == flags
        assert ["1.0", None, "1.0", None] == labels


def test_a_full_card_gives_up_the_oldest_and_says_so(tmp_path: Path) -> None:
    """They are numbered as lost, so that the station's report and with it the audit count them."""
    told = Told()
    limits = Limits(total_bytes=60_000, acknowledged_bytes=60_000)
    with opened(tmp_path / "spool.db", limits=limits, report=told) as spool:
        for number in range(1000):
            spool.keep_undated([undated("now", float(number), number)])
        spool.sync()
        left = spool.undated
        assert 0 < left < 1000
        spool.limits = Limits()
        lost = 1000 - left
        assert lost == sum(f["count"] for f in told.fields("records_dropped"))
        spool.date(Start("now", NOW), dating)
        spool.sync()
        found = waiting(spool, Lane(spool.journal, "w"))
        assert list(range(lost, 1000)) == [labelled(body) for body in found.values()]
        assert list(range(lost + 1, 1001)) == list(found)
        spool.mark_sending()
        (report,) = [each for each in spool.reports() if each.stream == "w"]
        assert (1000, [(1, lost, "spool_full")]) == (report.last, settled(report))
        assert NOW + lost == report.since.timestamp()
    with opened(tmp_path / "spool.db") as spool:
        assert_accounted(spool)
        assert {"spool_full": Ranges([(1, lost)])} == lane_of(spool).dropped


def test_what_a_full_disk_does_not_take_is_counted_as_lost() -> None:
    """Never kept, or given up for what is newer: each has a number, and no other has it."""
    told = Told()
    with opened(report=told) as spool:
        lane = lane_of(spool)
        limit_pages(spool, 2)
        spool.keep_undated([undated("now", float(number), number) for number in range(100)])
        assert {"disk_full": Ranges([(1, 100)])} == lane.dropped
        limit_pages(spool, 100)
        spool.keep_undated([undated("now", float(number), number) for number in range(100, 350)])
        limit_pages(spool, 0)
        for number in range(350, 400):
            spool.keep_undated([undated("now", float(number), number)])
        spool.append("w", [dated_document(NOW + 400)])
        left = spool.undated
        limit_pages(spool, 10_000)
        spool.date(Start("now", NOW), dating)
        spool.sync()
        assert_accounted(spool)
        lost = lane.dropped["disk_full"]
        assert (100, 401) == (left, lane.last)
        assert 300 == len(lost) == sum(f["count"] for f in told.fields("records_dropped"))
        assert set(range(301, 402)) == waiting(spool, lane.lane).keys()


def test_lost_numbers_hide_no_bound() -> None:
    """The last record with a date bounds the next boot, whatever was given up after it."""
    with opened() as spool:
        spool.append("w", [dated_document(NOW)])
        lane_of(spool).lose(3, "disk_full")
        spool.keep_undated([undated("lost", 5.0), undated("lost", 15.0), undated("now", 3.0)])
        spool.date(Start("now", NOW + 115), dating)
        spool.sync()
        bodies = spool.read(Lane(spool.journal, "w"), 5, 7, 2**20)
        assert ["50", "50"] == [
            msgspec.json.decode(body)["labels"]["clock_uncertainty_s"] for body in bodies[:2]
        ]


def test_a_damaged_spool_gives_them_back_once(tmp_path: Path) -> None:
    """What has its number already is not salvaged a second time without one."""
    path = tmp_path / "spool.db"
    with opened(path) as spool:
        spool.keep_undated([undated("now", float(number), number) for number in range(30)])
        spool.date(Start("now", NOW), dating)
        spool.keep_undated([undated("next", float(number), number) for number in range(30, 50)])
    spool = recover(path, STATION, None, now=lambda: datetime.fromtimestamp(NOW, UTC))
    try:
        assert 20 == spool.undated
        spool.date(Start("next", NOW + 1000), dating)
        numbers = [int(each["labels"]["number"]) for each in records(spool)]
        assert list(range(30, 50)) == numbers
        adopted = [ledger for ledger in spool.ledgers.values() if ledger.adopted]
        assert 30 == sum(ledger.last for ledger in adopted if ledger.lane.stream == "w")
    finally:
        spool.close()


def test_one_that_is_longer_than_may_be_sent_holds_nothing_up() -> None:
    """When the time is known it is numbered and given up; the others are dated."""
    told = Told()
    with opened(report=told) as spool:
        spool.keep_undated([undated("now", float(number), number) for number in range(3)])
        long = undated("now", 3.0, 3)
        long.document["message"] = "x" * MAX_RECORD_BYTES
        spool.keep_undated([long, undated("now", 4.0, 4)])
        assert 5 == spool.date(Start("now", NOW), dating)
        spool.sync()
        lane = Lane(spool.journal, "w")
        assert [1, 2, 3, 5] == list(waiting(spool, lane))
        assert {"too_long": Ranges([(4, 4)])} == spool.ledgers[lane].dropped
        assert ["4"] == [fields["sequences"] for fields in told.fields("records_dropped")]


def test_when_a_journal_began_is_known_when_the_time_is(tmp_path: Path) -> None:
    """Made by a clock that was wrong by decades: with its first record, or now if there is none.

    The audit takes what is older than the retention for expired, and no gap, by this.
    """
    shown = [0.0]
    path = tmp_path / "spool.db"
    spool = Spool(path, STATION, now=lambda: datetime.fromtimestamp(shown[0], UTC))
    spool.keep_undated([undated("boot", 100.0)])
    assert {1970} == {ledger.since.year for ledger in spool.ledgers.values()}
    shown[0] = NOW + 200

    spool.date(Start("boot", NOW), dating)
    spool.append("w", [dated_document(NOW + 210)])
    spool.close()

    with opened(path) as again:
        since = {lane.stream: ledger.since.timestamp() for lane, ledger in again.ledgers.items()}
    assert {"w": NOW + 100, "s": NOW + 200, "l": NOW + 200} == since


def test_when_a_journal_began_outlives_boots_without_time(tmp_path: Path) -> None:
    """The power went before the time was known: the first record's time is an estimate then."""
    path = tmp_path / "spool.db"
    for boot in ("one", "two"):
        wrong = Spool(path, STATION, now=lambda: datetime.fromtimestamp(0, UTC))
        wrong.keep_undated([undated(boot, 100.0)])
        wrong.close()
    with opened(path) as spool:
        spool.date(Start("two", NOW), dating)
        first = records(spool)[0]["@timestamp"]
        (ledger,) = [each for lane, each in spool.ledgers.items() if lane.stream == "w"]
        report = ledger.report()

    assert first == rfc3339(report.since)
    assert report.since.timestamp() <= NOW
