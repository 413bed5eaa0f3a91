"""What `outputs.base` promises, kept by every store."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from clima_core.identity import STREAMS, Lane, Stream
from clima_core.ranges import Ranges
from clima_core.wire import Dropped, LaneReport, StationReport
from clima_forwarder.outputs import Options, logstash
from clima_forwarder.outputs.base import Document, Found, Highest, Presence, Result
from tests.forwarder.outputs.stores import (
    START,
    content,
    create,
    document,
    documents,
    letter,
    opened,
)

NOON = datetime(2024, 5, 2, 12, tzinfo=UTC)


async def test_a_record_is_stored_once(store: Options, station: str, journal: str) -> None:
    """The second time the first one stays, and the store says so, if it is the one asked."""
    lane = Lane(journal, "w")
    async with opened(store) as (output, _):
        assert [Result("stored")] * 3 == await create(output, documents(station, lane, [1, 2, 3]))
        other = document(station, lane, 3, weather={"air_temperature": -9})
        again, new = await create(output, [other, *documents(station, lane, [4])])
        assert again.status == ("stored" if isinstance(store, logstash.Options) else "exists")
        assert Result("stored") == new
        found = await output.find(station, lane, 3, 3, since=time.monotonic())
        assert [content(documents(station, lane, [3])[0].body)] == [content(found[0].body)]


async def test_what_is_stored_is_what_was_sent(store: Options, station: str, journal: str) -> None:
    """Field for field, nulls and all, in every data set; the server may add `event.ingested`."""
    fields: dict[Stream, dict[str, Any]] = {
        "w": {
            "weather": {"air_temperature": 21.5, "wind_speed": None},
            "sensor": {"bme280": {"air_temperature": 21.62, "relative_humidity": None}},
            "quality": {"wind_speed": ["failed"], "clock": ["estimated"]},
            "labels": {"roof": "north"},
        },
        "s": {"health": {"cpu_temperature": 48.2, "uptime": 1.5, "spool_waiting": 0}},
        "l": {
            "message": "sensor_failed",
            "log": {"level": "error", "logger": "sampler"},
            "error": {"type": "OSError", "message": "no answer", "stack_trace": "x" * 40_000},
        },
    }
    async with opened(store) as (output, _):
        for stream in STREAMS:
            lane = Lane(journal, stream)
            sent = document(station, lane, 1, **fields[stream])
            assert [Result("stored")] == await create(output, [sent])
            ((_, body),) = await output.find(station, lane, 1, 1, since=time.monotonic())
            assert content(sent.body) == content(body)


async def test_find_sees_all_that_was_written_and_nothing_else(
    store: Options, station: str, journal: str
) -> None:
    """Across more sequences than one search takes; dead letters without their body."""
    lane, other = Lane(journal, "w"), Lane(journal, "s")
    async with opened(store) as (output, _):
        await create(output, documents(station, lane, range(1, 2501)))
        await create(output, [document(station, other, 2600)])
        await output.dead_letter([letter(station, lane, 2502), letter(station, other, 2503)])
        found = await output.find(station, lane, 900, 3000, since=time.monotonic())
        assert [*range(900, 2501), 2502] == [each.sequence for each in found]
        assert found[-1] == Found(2502, None)
        assert [] == await output.find(station, lane, 2503, 2600, since=time.monotonic())
        with pytest.raises(ValueError):
            await output.find(station, lane, 1, 10_001, since=0)


async def test_a_dead_letter_is_kept_once(store: Options, station: str, journal: str) -> None:
    """Text, bytes that are none, as long as a record may be, and bare: all are found."""
    lane = Lane(journal, "w")
    bodies = [b'{"a":', b"\xff\x00", b"x" * 65_536]
    letters = [letter(station, lane, number, body) for number, body in enumerate(bodies, 1)]
    letters.append(msgspec.structs.replace(letter(station, lane, 4), bare=True))
    async with opened(store) as (output, archive):
        assert [Result("stored")] * 4 == await output.dead_letter(letters)
        assert [Result("exists")] * 4 == await output.dead_letter(letters)
        assert Presence(Ranges(), Ranges(), Ranges([(1, 4)])) == await archive.presence(
            station, lane
        )


async def test_highest_is_of_all_that_was_ever_heard_of(
    store: Options, station: str, journal: str
) -> None:
    """Stored or dead-lettered is one thing, reported another; another journal is no matter."""
    stored, dead = (Lane(journal, stream) for stream in ("w", "s"))
    async with opened(store) as (output, _):
        assert {} == await output.highest(station, journal)
        await create(output, documents(station, stored, [1, 7]))
        await create(output, documents(station, Lane("0" * 12, "w"), [99]))
        await output.dead_letter([letter(station, dead, 5), letter(station, stored, 3)])
        lanes = [
            LaneReport(journal, "l", 1, 1000, START),
            LaneReport(journal, "w", 1, 6, START),
        ]
        await output.report([StationReport(station, NOON, lanes)])
        assert {
            "w": Highest(7, 6),
            "s": Highest(5, 0),
            "l": Highest(0, 1000),
        } == await output.highest(station, journal)


async def test_the_newest_report_wins(store: Options, station: str, journal: str) -> None:
    """In whatever order they come, lane by lane, and whole."""
    early, late = (
        LaneReport(journal, "w", 1, 10, START),
        LaneReport(journal, "w", 1, 50, START, [(41, 50)], [Dropped(3, 4, "spool_full")]),
    )
    health = LaneReport(journal, "s", 1, 9, START)
    async with opened(store) as (output, archive):
        await output.report([StationReport(station, NOON, [late])])
        await output.report([StationReport(station, NOON - timedelta(days=1), [early, health])])
        earlier, newest = [each for each in await archive.reports() if each.station == station]
        assert (NOON - timedelta(days=1), [health]) == (earlier.reported, earlier.lanes)
        assert (NOON, [late]) == (newest.reported, newest.lanes)


async def test_one_report_that_is_outdone_holds_up_no_other(
    store: Options, station: str, journal: str
) -> None:
    """They are kept together: one comes late, the other takes the place of what is there."""
    weather, health = (LaneReport(journal, stream, 1, 9, START) for stream in ("w", "s"))
    before, after = NOON - timedelta(days=1), NOON + timedelta(hours=1)
    async with opened(store) as (output, archive):
        await output.report([StationReport(station, NOON, [weather, health])])
        late = StationReport(station, before, [weather])
        await output.report([late, StationReport(station, after, [health])])
        kept, newest = [each for each in await archive.reports() if each.station == station]
        assert (NOON, [weather]) == (kept.reported, kept.lanes)
        assert (after, [health]) == (newest.reported, newest.lanes)


async def test_what_was_reported_at_once_is_read_at_once(
    store: Options, station: str, journal: str
) -> None:
    """One report of both lanes, whatever others there are."""
    lanes = [LaneReport(journal, stream, 1, 9, START) for stream in ("s", "w")]
    async with opened(store) as (output, archive):
        await output.report([StationReport(station, NOON, lanes)])
        await output.report([StationReport(f"{station}-2", NOON, lanes[:1])])
        (report,) = [each for each in await archive.reports() if each.station == station]
        assert (NOON, lanes) == (
            report.reported,
            sorted(report.lanes, key=lambda lane: lane.stream),
        )


async def test_a_report_from_the_future_does_not_outlive_the_wrong_clock(
    store: Options, station: str, journal: str
) -> None:
    """The forwarder's host was a month ahead, and no more: from then on the newest wins again."""
    now = datetime.now(UTC).replace(microsecond=0)
    first, second, third = (
        (now + age, LaneReport(journal, "w", 1, last, START))
        for age, last in ((timedelta(days=30), 10), (timedelta(0), 20), (timedelta(seconds=-9), 30))
    )
    async with opened(store) as (output, archive):
        for reported, lane, expected in (
            (*first, first),
            (*third, third),
            (*second, second),
            (*third, second),
        ):
            await output.report([StationReport(station, reported, [lane])])
            (found,) = [each for each in await archive.reports() if each.station == station]
            assert expected == (found.reported, found.lanes[0])


async def test_presence_is_exact(store: Options, station: str, journal: str) -> None:
    """Lanes, runs and holes, of this lane alone."""
    lane = Lane(journal, "w")
    sequences = Ranges([(1, 400), (402, 402), (500, 1999), (2001, 2500)])
    async with opened(store) as (output, archive):
        await create(output, documents(station, lane, sequences))
        await create(output, [document(station, Lane(journal, "s"), 401)])
        await output.dead_letter([letter(station, lane, 401)])
        lanes = [each for name, each in await archive.lanes() if name == station]
        assert [Lane(journal, "s"), lane] == lanes
        found = await archive.presence(station, lane)
        assert Presence(sequences, Ranges(), Ranges([(401, 401)]), START) == found


async def test_presence_begins_where_the_lowest_sequence_was_recorded(
    store: Options, station: str, journal: str
) -> None:
    """Whatever time another record has: a clock may have been wrong for a while."""
    lane = Lane(journal, "w")
    third = START + timedelta(seconds=20)
    async with opened(store) as (output, archive):
        assert None is (await archive.presence(station, lane)).begins
        await create(output, documents(station, lane, [3, 4]))
        misdated = (
            documents(station, lane, [1])[0].body.replace(b":1}", b":5}").replace(b':1"', b':5"')
        )
        await create(output, [Document(station, lane, 5, START, misdated)])
        found = await archive.presence(station, lane)
        assert (Ranges([(3, 5)]), third) == (found.stored, found.begins)


async def test_readings_come_in_order_of_time(store: Options, station: str, journal: str) -> None:
    """Between two moments, the second not included, over several pages."""
    lane = Lane(journal, "w")
    async with opened(store) as (output, archive):
        await create(output, documents(station, lane, range(2500, 0, -1)))
        start, end = START + timedelta(seconds=100), START + timedelta(seconds=20_110)
        found = [each async for each in archive.readings(station, start, end)]
        assert 2001 == len(found)
        assert [start + timedelta(seconds=10 * n) for n in range(2001)] == [
            each.time for each in found
        ]
        assert (station, {"air_temperature": 1.1}) == found[0][1:]


async def test_means_follow_the_quantity(store: Options, station: str, journal: str) -> None:
    """Precipitation adds up, directions are vectors, nulls and what is absent count for nothing."""
    lane = Lane(journal, "w")
    weather = [
        {"air_temperature": 1, "wind_from_direction": 350, "precipitation_amount": 0.2},
        {"air_temperature": 2.5, "wind_from_direction": 10, "precipitation_amount": 0.3},
        {"air_temperature": None, "wind_speed": None, "precipitation_amount": 0},
    ]
    batch = [document(station, lane, n, weather=each) for n, each in enumerate(weather, 1)]
    batch.append(document(station, lane, 361, weather={"air_temperature": 5.0}))
    async with opened(store) as (output, archive):
        await create(output, batch)
        hours = [each async for each in archive.readings(station, every=timedelta(hours=1))]
    mean = {"air_temperature": 1.75, "wind_from_direction": 0, "precipitation_amount": 0.5}
    assert [
        (START, station, mean),
        (START + timedelta(hours=1), station, {"air_temperature": 5.0}),
    ] == hours


async def test_closing_twice_does_no_harm(store: Options) -> None:
    """A command closes what it opened, and what failed to open."""
    async with opened(store) as (output, archive):
        await output.close()
        await archive.close()
