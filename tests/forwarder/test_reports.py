"""What stations say of their lanes, on its way to the store."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from clima_core.wire import LaneReport
from clima_forwarder.reports import INTERVAL_S, MOST_LANES, REPEAT_S, Reports
from tests.forwarder.memory_output import MemoryOutput

SINCE = datetime(2024, 5, 1, tzinfo=UTC)


def lane(journal: int, last: int) -> LaneReport:
    return LaneReport(f"{journal:012x}", "w", 1, last, SINCE)


async def test_two_devices_of_one_station_are_both_written_down() -> None:
    """A cloned card reports other lanes than its twin: neither takes the other's away."""
    output = MemoryOutput()
    reports = Reports(output)
    reports.put("roof", [lane(1, 10), lane(2, 5)])
    reports.put("roof", [lane(1, 12), lane(3, 7)])
    await reports.flush(everything=True)
    written = [
        (each.journal, each.last)
        for report in output.last_reports.values()
        for each in report.lanes
    ]
    assert [("000000000002", 5), ("000000000001", 12), ("000000000003", 7)] == written


async def test_ever_new_lanes_of_one_station_do_not_pile_up() -> None:
    """While the store is away a peer with a key may name as many as it likes."""
    output = MemoryOutput()
    reports = Reports(output)
    for journal in range(3 * MOST_LANES):
        reports.put("roof", [lane(journal, 1)])
    await reports.flush(everything=True)
    assert MOST_LANES == sum(len(report.lanes) for report in output.last_reports.values())


async def test_what_waits_is_reported_anew_though_nothing_changed() -> None:
    """Or a card that only has to wait would pass for one that speaks no more."""
    output, clock = MemoryOutput(), [0.0]
    reports = Reports(output, lambda: clock[0])
    waiting = msgspec.structs.replace(lane(1, 10), waiting=[(3, 10)])
    written = []
    for clock[0] in (0.0, INTERVAL_S, REPEAT_S, REPEAT_S + INTERVAL_S, 2 * REPEAT_S):
        output.last_reports = {}
        reports.put("roof", [waiting, lane(2, 10)])
        await reports.flush()
        lanes = [report.lanes for report in output.last_reports.values()]
        written.append([[each.journal[-1] for each in found] for found in lanes])
    assert [[["1", "2"]], [], [["1"]], [], [["1"]]] == written
