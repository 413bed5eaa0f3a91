"""The spool's everyday: numbers, what is offered, what is acknowledged, and the next life."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from clima_agent.spool import Spool, room
from clima_agent.spool.record import identified
from clima_core.errors import UnavailableError
from clima_core.identity import DATA_SETS, STREAMS, Lane, Stream
from clima_core.ranges import Ranges
from clima_core.wire import MAX_RECORD_BYTES
from tests.agent.spool.stock import (
    MOST,
    STATION,
    WEATHER,
    Told,
    assert_accounted,
    assert_whole,
    document,
    documents,
    number_of,
    waiting,
)


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    opened = Spool(tmp_path / "spool.db", STATION)
    yield opened
    opened.file.close()


def reopened(spool: Spool) -> Spool:
    """The next life of a spool that was closed in order."""
    spool.close()
    return Spool(spool.file.path, spool.station)


def test_each_lane_counts_from_one_without_gaps(spool: Spool) -> None:
    """Data sets are kept for different times, so each is complete by itself."""
    spool.append("w", documents(2))
    spool.append("s", documents(1))
    spool.append("w", documents(3, first=3))
    spool.sync()
    assert {"w": 5, "s": 1, "l": 0} == {lane.stream: x.last for lane, x in spool.ledgers.items()}
    found = waiting(spool, Lane(spool.journal, "w"))
    assert [1, 2, 3, 4, 5] == [number_of(body) for body in found.values()]


@pytest.mark.parametrize("stream", STREAMS)
def test_a_body_carries_its_identity(spool: Spool, stream: Stream) -> None:
    """What the document said of the station and the event stays beside it."""
    given: dict[str, Any] = {
        "event": {"created": "2026-01-01T00:00:00.000Z"},
        "station": {"name": "Roof"},
    }
    spool.append(stream, [given])
    spool.sync()
    (body,) = spool.read(Lane(spool.journal, stream), 1, 1, MOST)
    assert {
        "data_stream": DATA_SETS[stream]._asdict(),
        "event": given["event"] | {"id": f"roof:{spool.journal}:{stream}:1", "sequence": 1},
        "station": {"name": "Roof", "id": "roof", "journal": spool.journal},
    } == msgspec.json.decode(body)


def test_nothing_is_offered_before_it_is_synced(spool: Spool) -> None:
    """A power cut would take it back, and give its number to something else."""
    lane = Lane(spool.journal, "w")
    spool.append("w", documents(3))
    assert not spool.ledgers[lane].waiting
    spool.sync()
    spool.append("w", documents(1, first=4))
    assert Ranges([(1, 3)]) == spool.ledgers[lane].waiting


def test_what_was_not_offered_cannot_be_acknowledged(spool: Spool) -> None:
    """Whoever claims to have it must mean another record."""
    lane = Lane(spool.journal, "w")
    spool.append("w", documents(3))
    spool.acknowledge(lane, Ranges([(1, 3)]))
    spool.sync()
    assert Ranges([(1, 3)]) == spool.ledgers[lane].waiting


def test_an_unknown_lane_is_acknowledged_without_effect(spool: Spool) -> None:
    """A forwarder's word about somebody else's journal is nothing to us."""
    stranger = Lane("0" * 12, "w")
    spool.acknowledge(stranger, Ranges([(1, 3)]))
    assert not spool.reopen(stranger, Ranges([(1, 3)]))
    assert stranger not in spool.ledgers


def test_a_run_ends_at_the_limit_of_bytes(spool: Spool) -> None:
    """As NDJSON with a newline each; but the first is there, however long."""
    lane = Lane(spool.journal, "w")
    spool.append("w", documents(5, padding=100))
    spool.sync()
    size = len(spool.read(lane, 1, 1, MOST)[0]) + 1
    assert 2 == len(spool.read(lane, 1, 5, 2 * size))
    assert 1 == len(spool.read(lane, 1, 5, 2 * size - 1))
    assert 1 == len(spool.read(lane, 1, 5, 1))
    assert Ranges([(1, 5)]) == spool.ledgers[lane].waiting


def test_the_next_life_goes_on_where_this_one_ended(spool: Spool) -> None:
    """Same journal, next number, and the same waits."""
    lane = Lane(spool.journal, "w")
    spool.append("w", documents(10))
    spool.sync()
    spool.acknowledge(lane, Ranges([(1, 4), (7, 7)]))
    with_next = reopened(spool)
    with_next.append("w", [document(11)])
    with_next.sync()
    found = waiting(with_next, lane)
    with_next.close()
    assert lane.journal == with_next.journal
    assert [5, 6, 8, 9, 10, 11] == list(found) == [number_of(body) for body in found.values()]


def test_what_the_store_lacks_waits_again(spool: Spool) -> None:
    """As far as the spool still has it; what waits already is not named."""
    lane = Lane(spool.journal, "w")
    spool.append("w", documents(10))
    spool.sync()
    spool.acknowledge(lane, Ranges([(1, 8)]))
    with spool.file.transaction():
        spool.file.delete(WEATHER, 4, 5)
    assert Ranges([(3, 3), (6, 8)]) == spool.reopen(lane, Ranges([(3, 10), (500, 2**48)]))
    assert Ranges([(3, 3), (6, 10)]) == spool.ledgers[lane].waiting
    assert_accounted(spool)


def test_an_acknowledgement_comes_too_late_to_be_wrong(spool: Spool) -> None:
    """A record given up while it was under way, and stored after all, is not lost."""
    ledger = spool.ledgers[lane := Lane(spool.journal, "w")]
    spool.append("w", documents(5))
    spool.sync()
    spool.drop(ledger, Ranges([(1, 3)]), "spool_full")
    spool.acknowledge(lane, Ranges([(2, 2)]))
    assert Ranges([(1, 1), (3, 3)]) == ledger.dropped["spool_full"]
    assert_accounted(spool)


def test_a_record_too_long_for_any_batch_is_given_up_alone(tmp_path: Path) -> None:
    """Numbered, so that it is counted, and said; those beside it are kept, in the next life too."""
    told = Told()
    spool = Spool(tmp_path / "spool.db", STATION, report=told)
    lane = Lane(spool.journal, "w")
    spool.append("w", [document(1), document(2, padding=70_000), document(3)])
    spool.append("w", [document(4, padding=70_000)])
    spool.file.close()  # as a process dies
    spool = Spool(tmp_path / "spool.db", STATION)
    spool.append("w", [document(5)])
    spool.sync()
    numbers = {at: number_of(body) for at, body in waiting(spool, lane).items()}
    assert {1: 1, 3: 3, 5: 5} == numbers
    assert {"too_long": Ranges([(2, 2), (4, 4)])} == spool.ledgers[lane].dropped
    assert ["2", "4"] == [fields["sequences"] for fields in told.fields("records_dropped")]
    assert {"too_long"} == {fields["reason"] for fields in told.fields("records_dropped")}
    assert_accounted(spool)
    spool.close()


def test_a_record_that_a_new_number_makes_too_long_is_given_up(spool: Spool) -> None:
    """And the move to another journal is whole all the same."""
    older = Lane(spool.journal, "w")
    longest = MAX_RECORD_BYTES - len(identified(document(1), STATION, older, 1) or b"")
    spool.append("w", [document(1, padding=longest), document(2)])
    spool.begin_journal({})
    spool.append("w", documents(9, first=3))
    spool.number_anew({older: Ranges([(1, 2)])})
    lane = Lane(spool.journal, "w")
    assert {"too_long": Ranges([(10, 10)])} == spool.ledgers[lane].dropped
    assert [*range(3, 12), 2] == [number_of(body) for body in waiting(spool, lane).values()]
    assert_accounted(spool)


def test_the_last_readings_are_found_whatever_their_journal(spool: Spool) -> None:
    """Over a hole too: a recording goes on after the last one, not after the hole."""
    spool.append("w", documents(10))
    with spool.file.transaction():
        spool.file.delete(WEATHER, 9, 9)
    spool.begin_journal({})
    spool.append("w", documents(2, first=11))
    assert [8, 10, 11, 12] == [number_of(body) for body in spool.recent("w", 4)]


def test_the_oldest_waiting_record_tells_its_age() -> None:
    """What is acknowledged does not count."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    spool = Spool(":memory:", STATION, now=lambda: now)
    assert spool.oldest_waiting() is None
    spool.append("w", documents(1))
    now = datetime(2026, 1, 2, tzinfo=UTC)
    spool.append("w", documents(1))
    spool.sync()
    assert datetime(2026, 1, 1, tzinfo=UTC) == spool.oldest_waiting()
    spool.acknowledge(Lane(spool.journal, "w"), Ranges([(1, 1)]))
    assert datetime(2026, 1, 2, tzinfo=UTC) == spool.oldest_waiting()
    spool.close()


def test_a_report_ends_where_what_was_never_sent_begins(spool: Spool) -> None:
    """Or a welcome that got lost would make the next look like a spool rolled back."""
    spool.append("w", documents(3))
    spool.sync()
    assert [0, 0, 0] == [report.last for report in spool.reports()]
    spool.mark_sending()
    assert {"w": 3, "s": 0, "l": 0} == {each.stream: each.last for each in spool.reports()}
    next_life = reopened(spool)
    next_life.append("w", documents(2, first=4))
    next_life.sync()
    report = next(each for each in next_life.reports() if each.stream == "w")
    next_life.close()
    assert (3, [(1, 3)], []) == (report.last, report.waiting, report.dropped)


def test_the_current_journal_is_reported_first_then_what_waits(spool: Spool) -> None:
    """A greeting has room for so many lanes: those that matter."""
    first = spool.journal
    spool.append("s", documents(1))
    spool.sync()
    second, third = spool.begin_journal({}), spool.begin_journal({})
    order = [(report.journal, report.stream) for report in spool.reports()]
    assert [third] * 3 + [first] + [second] * 3 == [journal for journal, _ in order[:7]]
    assert (first, "s") == order[3]


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    """And left as it is: an older program cannot know what it would break."""
    path = tmp_path / "spool.db"
    Spool(path, STATION).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 2")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(UnavailableError, match="newer clima-agent"):
        Spool(path, STATION)
    assert before == path.read_bytes()


def test_a_folder_that_is_none_is_said(tmp_path: Path) -> None:
    """With the file's name, and no traceback."""
    (tmp_path / "spool").write_text("a file")
    with pytest.raises(UnavailableError, match=r"spool/spool\.db: .*write there"):
        Spool(tmp_path / "spool" / "spool.db", STATION)


class Life(RuleBasedStateMachine):
    """Whatever happens in whatever order: nothing is lost, doubled or offered too early."""

    def __init__(self) -> None:
        super().__init__()
        self.spool = Spool(":memory:", STATION)
        self.made = 0  # documents so far, each with a number of its own
        self.synced = 0  # how many of them must survive anything
        self.stored: set[int] = set()  # of those, what was ever acknowledged

    def offered(self) -> list[int]:
        """What would be sent, by the numbers of the documents."""
        offered: list[int] = []
        for lane in self.spool.ledgers:
            found = waiting(self.spool, lane)
            assert_whole(lane, found)
            offered += map(number_of, found.values())
        return offered

    @rule(count=st.integers(1, 30))
    def append(self, count: int) -> None:
        self.spool.append("w", documents(count, first=self.made + 1, padding=self.made * 37 % 1500))
        self.made += count

    @rule()
    def sync(self) -> None:
        self.spool.sync()
        self.synced = self.made

    @rule(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        lane = data.draw(st.sampled_from(list(self.spool.ledgers)))
        before = self.offered()
        self.spool.acknowledge(lane, data.draw(ranges()))
        self.stored |= set(before) - set(self.offered())

    @rule(data=st.data())
    def reopen(self, data: st.DataObject) -> None:
        lane = data.draw(st.sampled_from(list(self.spool.ledgers)))
        wanted = data.draw(ranges())
        assert not self.spool.reopen(lane, wanted) - wanted

    @rule()
    def make_room(self) -> None:
        room._let_acknowledged_go(self.spool)

    @rule(data=st.data())
    def conflict(self, data: st.DataObject) -> None:
        lane = data.draw(st.sampled_from(list(self.spool.ledgers)))
        conflict = data.draw(ranges()) & self.spool.ledgers[lane].waiting
        if conflict:
            self.spool.number_anew({lane: conflict})
            self.synced = self.made

    @precondition(lambda self: self.spool.never_sent())
    @rule()
    def roll_back(self) -> None:
        self.spool.begin_journal(self.spool.never_sent())
        self.synced = self.made

    @precondition(lambda self: self.spool.never_sent())
    @rule()
    def send(self) -> None:
        self.spool.mark_sending()
        self.synced = self.made

    @invariant()
    def accounted(self) -> None:
        assert_accounted(self.spool)

    @invariant()
    def nothing_lost_or_doubled(self) -> None:
        offered = self.offered()
        assert len(offered) == len(set(offered))
        assert set(range(1, self.synced + 1)) == set(offered) | self.stored
        assert {0} >= {
            len(gone) for x in self.spool.ledgers.values() for gone in x.dropped.values()
        }

    def teardown(self) -> None:
        self.spool.close()


def ranges() -> st.SearchStrategy[Ranges]:
    pair = st.tuples(st.integers(1, 150), st.integers(1, 150))
    return st.lists(pair, max_size=4).map(Ranges)


Life.TestCase.settings = settings(max_examples=60, stateful_step_count=30)
TestLife = Life.TestCase
