"""The agent's loop: a recorded source, a real spool, a scripted forwarder on a real socket."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zmq
from structlog.testing import capture_logs

from clima_agent import config
from clima_agent.agent import MOST_UNSYNCED, Agent, open_spool
from clima_agent.clock import Keeper
from clima_agent.connection import Forwarder
from clima_agent.inbox import Inbox
from clima_agent.pipeline import Pipeline
from clima_agent.sampler import Sampler
from clima_agent.sender import Sender
from clima_agent.sources import Measured
from clima_agent.spool import Spool
from clima_agent.spool.file import FORMAT, PAGE_BYTES
from clima_core import keys, wire
from clima_core.identity import Lane
from clima_core.reading import rfc3339
from tests.agent.peer import PATIENCE_S, Peer
from tests.agent.spool.stock import assert_accounted

START = datetime(2013, 1, 1, tzinfo=UTC)
STATION_KEYS = keys.generate()
MOST_OF_A_BATCH = MOST_UNSYNCED - 100  # of the first records to be synced, some are no readings
Reading = Callable[[int], None]


class Recording:
    """So many readings, a second apart; `on_read` strikes before each, in the sampler's thread."""

    quantities = ("air_temperature",)

    def __init__(self, count: int, on_read: Reading = lambda number: None) -> None:
        self._count = count
        self._on_read = on_read

    def times(self) -> Iterator[datetime]:
        yield from (START + timedelta(seconds=number) for number in range(1, self._count + 1))

    def read(self, at: datetime, /) -> Mapping[str, Measured]:
        try:
            self._on_read(round((at - START).total_seconds()))
        except AssertionError as error:
            pytest.fail(str(error))  # not an Exception: an agent goes on after those of a driver
        return {"air_temperature": Measured(20.0, "°C")}

    def close(self) -> None:
        pass


class Store:
    """A forwarder in a thread of its own that takes all it gets and acknowledges it."""

    def __init__(self) -> None:
        self.peer = Peer(STATION_KEYS.public)
        self.records: dict[str, dict[str, Any]] = {}
        self.live = 0
        self.reports: list[wire.LaneReport] = []
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self.peer.close()
        if self._failure is not None:
            raise self._failure

    def readings(self) -> list[str]:
        """The times of all readings, doubles included, in order."""
        with self._changed:
            return sorted(
                record["@timestamp"] for id_, record in self.records.items() if ":w:" in id_
            )

    def wait_for(self, count: int) -> None:
        """Until so many readings are stored."""
        with self._changed:
            assert self._changed.wait_for(
                lambda: sum(":w:" in id_ for id_ in self.records) >= count, PATIENCE_S
            )

    def _serve(self) -> None:
        try:
            while not self._stop.is_set():
                self.peer.socket.poll(20)
                while (message := self.peer.heard()) is not None:
                    with self._changed:
                        self._take(message)
                        self._changed.notify_all()
        except BaseException as error:  # noqa: BLE001 - raised when the store is closed
            self._failure = error

    def _take(self, message: wire.FromAgent) -> None:
        match message:
            case wire.Hello():
                self.peer.welcome(max_records=1000, heartbeat_s=1.0)
            case wire.Batch():
                for body in self.peer.records(message):
                    record = msgspec.json.decode(body)
                    known = self.records.setdefault(record["event"]["id"], record)
                    assert known == record
                self.peer.ack(message)
            case wire.Live():
                self.live += 1
            case wire.Ping():
                self.reports = message.lanes
                self.peer.say(wire.Pong(datetime.now(UTC), 4))


@pytest.fixture
def store() -> Iterator[Store]:
    running = Store()
    yield running
    running.close()


class Station:
    """An agent with all its parts, in a folder."""

    def __init__(self, folder: Path, recording: Recording, *forwarders: Forwarder) -> None:
        self.config = config.Configuration(
            station=config.Station(id="roof"),
            sampling=config.Sampling(interval_s=1.0, speed="max"),
            spool=config.Spool(directory=folder, commit_window_s=3600.0),
            forwarders=tuple(
                config.Forwarder(address=each.address, public_key=each.public_key)
                for each in forwarders
            ),
        )
        self.later_s = 0.0
        self.inbox = Inbox()
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        clock = Keeper("system")
        self.spool = open_spool(self.config, clock.now)
        self.agent = Agent(
            self.config,
            Sampler(
                {"recording": recording},
                Pipeline(calibrations={}, checks={}, elevation_m=None),
                interval_s=1.0,
                speed=float("inf"),
            ),
            self.spool,
            Sender(
                self.spool,
                forwarders,
                STATION_KEYS,
                monotonic=self.monotonic,
                now=clock.now,
                context=self.context,
            ),
            self.inbox,
            clock,
            monotonic=self.monotonic,
        )

    def monotonic(self) -> float:
        return time.monotonic() + self.later_s

    def run(self) -> None:
        try:
            self.agent.run()
        finally:
            self.context.term()
            self.inbox.close()


def break_tree(path: Path) -> None:
    """Zero the root of the records' tree, which no record is on, where everyone has to see it.

    Nobody writes meanwhile, and nothing is in the log: a copy of the root there would hide it.
    """
    log = path.with_name(f"{path.name}-wal")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        (root,) = connection.execute(
            "SELECT rootpage FROM sqlite_schema WHERE name = 'record'"
        ).fetchone()
        while not connection.in_transaction:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            connection.execute("BEGIN IMMEDIATE")
            if log.stat().st_size:  # somebody was quicker
                connection.execute("ROLLBACK")
        with path.open("r+b") as file:
            file.seek((root - 1) * PAGE_BYTES)
            file.write(bytes(PAGE_BYTES))
        connection.execute(f"PRAGMA user_version = {FORMAT}")  # what others have cached is void
        connection.execute("COMMIT")


def times(count: int) -> list[str]:
    return [rfc3339(START + timedelta(seconds=number)) for number in range(1, count + 1)]


def spooled(folder: Path) -> list[str]:
    """The times of all readings that the spool in the folder holds."""
    spool = Spool(folder / "spool.db", "roof")
    bodies = spool.recent("w", 100_000)
    spool.close()
    return [msgspec.json.decode(body)["@timestamp"] for body in bodies]


def test_a_recording_ends_delivered(tmp_path: Path, store: Store) -> None:
    """Every reading stored once, every lane reported as it ends, and the agent ends by itself."""
    station = Station(tmp_path, Recording(2500), store.peer.forwarder)
    station.run()
    assert times(2500) == store.readings()
    assert 2500 == station.agent.readings
    assert {f"roof:{station.spool.journal}:w:{n}" for n in range(1, 2501)} == {
        id_ for id_ in store.records if ":w:" in id_
    }
    lanes = {report.stream: report for report in store.reports}
    assert (2500, [], []) == (lanes["w"].last, lanes["w"].waiting, lanes["w"].dropped)


def test_a_fast_source_need_not_wait_for_the_window(tmp_path: Path, store: Store) -> None:
    """A full batch is synced and sent, though the window is an hour."""

    def on_read(number: int) -> None:
        if number == MOST_UNSYNCED + 500:
            store.wait_for(MOST_OF_A_BATCH)

    Station(tmp_path, Recording(MOST_UNSYNCED + 600, on_read), store.peer.forwarder).run()
    assert times(MOST_UNSYNCED + 600) == store.readings()


def test_a_reading_is_sent_when_the_window_closes(tmp_path: Path, store: Store) -> None:
    """Not before: it could be taken back by a power cut."""

    def on_read(number: int) -> None:
        if number == 10:
            assert [] == store.readings()
            station.later_s = 3601.0
            station.inbox.ring()
            store.wait_for(1)

    station = Station(tmp_path, Recording(10, on_read), store.peer.forwarder)
    station.run()
    assert times(10) == store.readings()


def test_without_a_forwarder_a_recording_ends_on_the_disk(tmp_path: Path) -> None:
    """Readings stay on the station."""
    Station(tmp_path, Recording(50)).run()
    assert times(50) == spooled(tmp_path)


def test_told_to_stop_it_keeps_what_was_read(tmp_path: Path, store: Store) -> None:
    """All of it, sent or not."""
    read: list[int] = []

    def on_read(number: int) -> None:
        read.append(number)
        if number == 700:
            station.agent.wake()

    station = Station(tmp_path, Recording(100_000, on_read), store.peer.forwarder)
    station.run()
    assert 700 <= len(read) < 100_000
    assert len(read) == station.agent.readings
    assert times(len(read)) == spooled(tmp_path)


@pytest.mark.parametrize("forwarders", ["the same", "none, then the store"])
def test_a_change_loses_nothing(tmp_path: Path, store: Store, forwarders: str) -> None:
    """What the old sampler read and what the new one reads is stored, once."""
    first = () if forwarders != "the same" else (store.peer.forwarder,)

    def on_read(number: int) -> None:
        if number == 700:
            station.agent.wake_to_reload()

    def change() -> None:
        later = Recording(6000)
        sampler = Sampler(
            {"recording": later},
            Pipeline(calibrations={}, checks={}, elevation_m=None),
            interval_s=1.0,
            speed=float("inf"),
        )

        def goes_on() -> Sampler:
            (body,) = station.spool.recent("w", 1)
            sampler._after = datetime.fromisoformat(msgspec.json.decode(body)["@timestamp"])
            return sampler

        agent = station.agent
        address, key = store.peer.forwarder.address, store.peer.forwarder.public_key
        configured = config.Forwarder(address=address, public_key=key)
        new = msgspec.structs.replace(agent.config, forwarders=(configured,))
        agent.change(new, [store.peer.forwarder], goes_on)

    station = Station(tmp_path, Recording(100_000, on_read), *first)
    station.agent._reload = change
    station.run()
    assert times(6000) == store.readings()
    assert times(6000) == spooled(tmp_path)


def test_a_fault_in_the_sampler_ends_the_agent_and_loses_nothing(tmp_path: Path) -> None:
    """The supervisor starts it again; what was read is on the disk."""

    class Broken(Recording):
        def times(self) -> Iterator[datetime]:
            yield from list(super().times())[:30]
            raise LookupError("a bug")

    with pytest.raises(LookupError, match="a bug"):
        Station(tmp_path, Broken(100)).run()
    assert times(30) == spooled(tmp_path)


def test_a_spool_that_breaks_at_work_costs_no_reading(tmp_path: Path, store: Store) -> None:
    """It is put aside and salvaged, and what was taken meanwhile is kept, once."""

    def on_read(number: int) -> None:
        if number == 1500:
            store.wait_for(MOST_OF_A_BATCH)
            break_tree(tmp_path / "spool.db")
        if number == 1600:
            deadline = time.monotonic() + PATIENCE_S
            while not list(tmp_path.glob("*damaged*")):
                assert time.monotonic() < deadline
                station.inbox.ring()
                station.agent.stop.wait(0.01)

    station = Station(tmp_path, Recording(2000, on_read), store.peer.forwarder)
    with capture_logs() as log:
        station.run()
    assert times(2000) == store.readings()
    names = [event["event"] for event in log]
    assert names.index("spool_damaged") < names.index("spool_salvaged")
    assert "records_dropped" not in names
    spool = Spool(tmp_path / "spool.db", "roof")
    assert 2 == len({lane.journal for lane in spool.ledgers})
    assert_accounted(spool)
    assert not spool.ledgers[Lane(spool.journal, "w")].waiting
    spool.close()


def test_a_damaged_spool_is_recovered_from_at_the_start(tmp_path: Path, store: Store) -> None:
    """The records of the last life are sent under their old names, and new ones follow."""
    Station(tmp_path, Recording(1200)).run()
    path = tmp_path / "spool.db"
    break_tree(path)
    with capture_logs() as log:
        station = Station(tmp_path, Recording(10), store.peer.forwarder)
    assert ["spool_damaged", "spool_salvaged"] == [event["event"] for event in log]
    station.run()
    assert sorted([*times(1200), *times(10)]) == store.readings()


def test_health_and_log_travel_beside_the_readings(tmp_path: Path, store: Store) -> None:
    """In lanes of their own, numbered from one."""
    station = Station(tmp_path, Recording(5), store.peer.forwarder)
    station.inbox.put("l", {"@timestamp": rfc3339(START), "message": "hello"})
    station.run()
    found = {id_.split(":")[2]: record for id_, record in store.records.items()}
    assert {"w", "s", "l"} == found.keys()
    assert {"spool_bytes", "spool_waiting", "disk_free"} <= found["s"]["health"].keys()
    assert "hello" == found["l"]["message"]
