"""The output `logstash`: what is accepted, what is stored, and when it is sent again."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from clima_core.configuration import Secret, convert
from clima_core.errors import ConfigurationError, UnavailableError
from clima_core.identity import DATA_SETS, DEAD_LETTERS, Lane
from clima_core.ranges import Ranges
from clima_forwarder.config import Configuration
from clima_forwarder.outputs import logstash, open_output
from clima_forwarder.outputs.base import Confirmed, Document, Found, Output, Result
from tests import logstash_standin
from tests.elasticsearch_server import Server
from tests.forwarder.outputs.stores import (
    STATISTICS_S,
    content,
    create,
    document,
    documents,
    heard,
    opened,
    through,
)
from tests.logstash_standin import StandIn

PATIENCE_S = 30.0
ACCEPTED = Result("accepted")


@pytest.fixture
def stand_in(elasticsearch: Server, tmp_path: Path) -> Iterator[StandIn]:
    """A Logstash of the test's own."""
    lags = {"dead_letters_s": 0.5, "statistics_s": STATISTICS_S}
    yield from logstash_standin.running(tmp_path / "logstash", elasticsearch.url, **lags)


@pytest.fixture
def lane(journal: str) -> Lane:
    """Of weather."""
    return Lane(journal, "w")


@asynccontextmanager
async def output(stand_in: StandIn, server: Server, **options: Any) -> AsyncIterator[Output]:
    """Opened, and as impatient as it may be."""
    async with opened(through(stand_in, server, confirm_s=1.0, **options)) as (made, _):
        yield made


async def until(condition: Callable[[], object]) -> None:
    """Wait for the condition to hold."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - what it waits for knows of no event
            await asyncio.sleep(0.02)


async def all_said(made: Output, station: str, lane: Lane, *sequences: int) -> Ranges:
    """What is stored of accepted records, when something was said of each of them."""
    since, left, stored = time.monotonic(), Ranges.of(sequences), Ranges()
    while left:
        more = await heard(made, station, lane, left, since)
        stored |= more.stored
        left -= more.stored | more.dead
    return stored


async def said(made: Output, station: str, lane: Lane, *sequences: int) -> Confirmed:
    """What becomes of accepted records: the first that is said of them."""
    return await heard(made, station, lane, Ranges.of(sequences), time.monotonic())


async def complained(made: Output, station: str, lane: Lane, *sequences: int) -> Confirmed:
    """The same, where it is expected that nothing can be said just now, and why."""
    since = time.monotonic()
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                return await made.confirmed(station, lane, Ranges.of(sequences), since)
            except UnavailableError as error:  # a busy server has not opened a new index yet
                if "missing shards" not in str(error):
                    raise


async def test_what_is_accepted_is_stored_when_elasticsearch_has_it(
    stand_in: StandIn, elasticsearch: Server, station: str, lane: Lane
) -> None:
    """And not before, however long Logstash has it: that it is stuck is said meanwhile."""
    async with output(stand_in, elasticsearch) as made:
        stand_in.trouble(hold=True)
        assert [ACCEPTED] * 3 == await made.create(documents(station, lane, [1, 2, 3]))
        for _ in range(2):
            with pytest.raises(UnavailableError, match="3 records in hand"):
                await complained(made, station, lane, 1, 2, 3)
        stand_in.calm()
        await until(lambda: stand_in.statistics()["readings"]["events"]["out"] == 3)
        elasticsearch.request("POST", f"/{DATA_SETS['w'].name}/_refresh")
        assert Confirmed(Ranges([(1, 3)])) == await said(made, station, lane, 1, 2, 3)


async def test_a_gap_holds_up_nothing_around_it(
    stand_in: StandIn, elasticsearch: Server, station: str, lane: Lane
) -> None:
    """What is lost on the way is given up when Logstash is idle, and can be sent again."""
    async with output(stand_in, elasticsearch) as made:
        stand_in.trouble(drop=2)
        assert [ACCEPTED] * 5 == await made.create(documents(station, lane, [1, 2, 3, 4, 5]))
        assert Confirmed(Ranges([(3, 5)])) == await said(made, station, lane, *range(1, 6))
        assert Confirmed() == await said(made, station, lane, 1, 2)
        assert [Result("stored")] * 2 == await create(made, documents(station, lane, [1, 2]))
        assert 5 == len(await made.find(station, lane, 1, 5, since=time.monotonic()))


async def test_what_is_stuck_holds_up_nothing_that_has_come(
    stand_in: StandIn, elasticsearch: Server, station: str, lane: Lane
) -> None:
    """Of a batch that Logstash does not get on with the part that is stored is confirmed."""
    async with output(stand_in, elasticsearch) as made:
        await create(made, documents(station, lane, [1]))
        stand_in.trouble(hold=True)
        await made.create(documents(station, lane, [2]))
        since = time.monotonic()
        with pytest.raises(UnavailableError, match="in hand"):
            await made.confirmed(station, lane, Ranges([(2, 2)]), since)
        found = await made.confirmed(station, lane, Ranges([(1, 2)]), since)
        assert Confirmed(Ranges([(1, 1)])) == found


async def test_a_backlog_is_waited_for(
    stand_in: StandIn, elasticsearch: Server, station: str, lane: Lane
) -> None:
    """While Logstash gets on nothing is given up: what is not confirmed then is there."""
    async with output(stand_in, elasticsearch) as made:
        stand_in.trouble(slow_s=0.7)
        await made.create(documents(station, lane, range(1, 1201)))
        missing, waited = Ranges([(1, 1200)]), time.monotonic()
        while (found := await heard(made, station, lane, missing, waited)).stored != missing:
            missing -= found.stored
            if not found.stored:
                break
        there = await made.find(station, lane, 1, 1200, since=time.monotonic())
        assert [*range(1, 1201)] == [each.sequence for each in there]
        assert time.monotonic() - waited > 2, "Logstash was not slow"
    assert 1200 == stand_in.counts().accepted


async def test_a_queue_that_is_gone_loses_nothing(
    stand_in: StandIn, elasticsearch: Server, station: str, lane: Lane
) -> None:
    """The records are not on the way any more, and that is said when Logstash is back."""
    async with output(stand_in, elasticsearch) as made:
        stand_in.trouble(hold=True)
        await made.create(documents(station, lane, [1, 2]))
        stand_in.delete_queue()
        stand_in.wait_true()
        assert Confirmed() == await said(made, station, lane, 1, 2)
        assert [Result("stored")] * 2 == await create(made, documents(station, lane, [1, 2]))


async def test_a_logstash_that_dies_goes_on_with_its_queue(
    stand_in: StandIn, elasticsearch: Server, station: str, lane: Lane
) -> None:
    """While it is away that is said, and nothing is given up."""
    async with output(stand_in, elasticsearch) as made:
        stand_in.trouble(hold=True)
        await made.create(documents(station, lane, [1, 2]))
        stand_in.kill()
        with pytest.raises(UnavailableError, match=r"no connection to .*_node/stats"):
            await complained(made, station, lane, 1, 2)
        with pytest.raises(UnavailableError, match=f"no connection to {stand_in.url}"):
            await made.create(documents(station, lane, [3]))
        stand_in.start()
        stand_in.wait_true()
        assert Confirmed(Ranges([(1, 2)])) == await said(made, station, lane, 1, 2)


async def test_what_elasticsearch_refuses_is_a_dead_letter(
    stand_in: StandIn, elasticsearch: Server, station: str, lane: Lane
) -> None:
    """It is confirmed as one, whole, beside what is stored of the same batch."""
    bad = document(station, lane, 2, weather={"air_temperature": "warm"})
    async with output(stand_in, elasticsearch) as made:
        await made.create([*documents(station, lane, [1]), bad, *documents(station, lane, [3])])
        missing, stored, dead = Ranges([(1, 3)]), Ranges(), Ranges()
        while missing:
            found = await said(made, station, lane, *missing)
            stored, dead = stored | found.stored, dead | found.dead
            missing -= found.stored | found.dead
        assert (Ranges.of([1, 3]), Ranges.of([2])) == (stored, dead)
        assert [Found(2, None)] == await made.find(station, lane, 2, 2, since=time.monotonic())
    query = {"query": {"term": {"station.id": station}}}
    path = f"/{DEAD_LETTERS.name}/_search"
    (hit,) = elasticsearch.request("POST", path, query)["hits"]["hits"]
    assert content(bad.body) == content(hit["_source"]["event"]["original"].encode())


async def test_what_was_sent_twice_is_stored_once(
    stand_in: StandIn, elasticsearch: Server, station: str, lane: Lane
) -> None:
    """By us, and by Logstash itself."""
    async with output(stand_in, elasticsearch) as made:
        stand_in.trouble(double=True)
        batch = documents(station, lane, [1, 2, 3])
        for _ in range(2):
            assert [Result("stored")] * 3 == await create(made, batch)
        found = await made.find(station, lane, 1, 3, since=time.monotonic())
        assert [(n, content(each.body)) for n, each in enumerate(batch, 1)] == [
            (sequence, content(body)) for sequence, body in found
        ]


async def test_records_on_both_sides_of_a_rollover_are_confirmed(
    stand_in: StandIn, elasticsearch: Server, station: str, lane: Lane
) -> None:
    """No backing index has all of the batch then."""
    async with output(stand_in, elasticsearch) as made:
        await create(made, documents(station, lane, [1, 2]))
        elasticsearch.rollover("metrics-clima.weather-default")
        await create(made, documents(station, lane, [3, 4]))
        assert Confirmed(Ranges([(1, 4)])) == await said(made, station, lane, 1, 2, 3, 4)


async def test_more_than_one_request_holds_is_several(
    stand_in: StandIn, elasticsearch: Server, station: str, lane: Lane
) -> None:
    """What was taken is accepted, though what came after it was turned away."""
    batch = [document(station, lane, n, labels={"long": "x" * 60_000}) for n in range(1, 101)]
    async with output(stand_in, elasticsearch) as made:
        assert [Result("stored")] * 100 == await create(made, batch)
        assert 7 == stand_in.counts().posts
        stand_in.trouble(posts=1, status=429)
        again = [msgspec.structs.replace(each, station=f"{station}-2") for each in batch]
        results = Counter(result.status for result in await made.create(again))
        assert {"accepted": 16, "retry": 84} == results


@pytest.mark.parametrize(
    "trouble", [{"status": 503}, {"status": 500}, {"lose_answer": True}, {"hang": True}]
)
async def test_an_answer_that_leaves_a_doubt_counts_as_accepted(
    trouble: dict[str, Any], stand_in: StandIn, elasticsearch: Server, station: str, lane: Lane
) -> None:
    """It may be in the queue: it is looked for, and given up when Logstash is idle without it."""
    async with output(stand_in, elasticsearch, timeout_s=1.0) as made:
        stand_in.trouble(**trouble)
        (result,) = await made.create(documents(station, lane, [1]))
        assert "accepted" == result.status
        assert stand_in.url in result.reason
        arrives = "lose_answer" in trouble
        expected = Confirmed(Ranges([(1, 1)])) if arrives else Confirmed()
        assert expected == await said(made, station, lane, 1)


async def test_what_waits_for_room_in_a_full_queue_is_not_given_up(
    stand_in: StandIn, elasticsearch: Server, station: str, lane: Lane
) -> None:
    """It is taken after we have gone; others are sent away at once, and that is no doubt."""
    async with output(stand_in, elasticsearch, timeout_s=1.0) as made:
        stand_in.trouble(hold=True)
        await made.create(documents(station, lane, [1]))
        stand_in.trouble(full=True)
        batches: list[list[Document]] = [documents(station, lane, [n]) for n in (2, 3)]
        waiting = await asyncio.gather(*(made.create(batch) for batch in batches))
        assert ["accepted"] * 2 == [result.status for (result,) in waiting]
        with pytest.raises(UnavailableError, match="answered 429"):
            await made.create(documents(station, lane, [4]))
        with pytest.raises(UnavailableError, match="in hand"):
            await complained(made, station, lane, 1, 2, 3)
        stand_in.calm()
        missing = Ranges([(1, 3)])
        while missing:
            found = await said(made, station, lane, *missing)
            assert found.stored
            missing -= found.stored


async def test_nothing_of_an_earlier_life_arrives_behind_our_back(
    stand_in: StandIn, elasticsearch: Server, station: str, lane: Lane
) -> None:
    """Opening waits until Logstash is idle."""
    async with output(stand_in, elasticsearch) as made:
        stand_in.trouble(hold=True)
        await made.create(documents(station, lane, [1, 2]))
    with pytest.raises(UnavailableError, match="still has 2 records in hand from before"):
        async with output(stand_in, elasticsearch):
            pass
    stand_in.calm()
    await until(lambda: stand_in.statistics()["readings"]["queue"]["events_count"] == 0)
    async with output(stand_in, elasticsearch) as made:
        assert 2 == len(await made.find(station, lane, 1, 2, since=time.monotonic()))


async def test_a_wrong_password_is_the_operators_to_mend(
    stand_in: StandIn, elasticsearch: Server, station: str, lane: Lane
) -> None:
    """It is said which option, and not what was wrong in it."""
    options = through(stand_in, elasticsearch)
    wrong = msgspec.structs.replace(options, password=Secret("a wrong one"))
    made = open_output(wrong)
    with pytest.raises(ConfigurationError, match="401: check username and password") as error:
        await made.open()
    assert "a wrong one" not in f"{error.value!r} {wrong!r}"
    with pytest.raises(ConfigurationError, match="401: check username and password"):
        await made.create(documents(station, lane, [1]))
    await made.close()


async def test_without_statistics_nothing_is_given_up(
    stand_in: StandIn, elasticsearch: Server, station: str, lane: Lane
) -> None:
    """Nobody can tell then whether it is on the way; what arrives is still confirmed."""
    async with output(stand_in, elasticsearch) as made:
        stand_in.trouble(drop=1, mute=True)
        await made.create(documents(station, lane, [1, 2]))
        assert Confirmed(Ranges([(2, 2)])) == await said(made, station, lane, 1, 2)
        with pytest.raises(UnavailableError, match="_node/stats/pipelines"):
            await complained(made, station, lane, 1)
        stand_in.calm()
        assert Confirmed() == await said(made, station, lane, 1)


async def test_many_wait_together(stand_in: StandIn, elasticsearch: Server, station: str) -> None:
    """More stations and batches than one search asks for."""
    lanes = [Lane(f"{n:012x}", "s" if n % 3 else "w") for n in range(700)]
    batch = [each for lane in lanes for each in documents(station, lane, [1, 2])]
    batch = [
        each if each.lane.stream == "w" else document(station, each.lane, each.sequence)
        for each in batch
    ]
    async with output(stand_in, elasticsearch) as made:
        await made.create(batch)
        found = await asyncio.gather(*(all_said(made, station, lane, 1, 2) for lane in lanes))
    assert [Ranges([(1, 2)])] * len(lanes) == found


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"url": "127.0.0.1:8080"}, "url: must be http://"),
        ({"statistics_url": "http://a:b@127.0.0.1"}, "statistics_url: give the user name"),
        ({"username": "clima"}, "one is no use without the other"),
        ({"elasticsearch": {"url": "9200"}}, "must be http://"),
    ],
)
def test_what_cannot_work_is_refused(given: dict[str, Any], problem: str) -> None:
    """With the option's name, before anything starts."""
    output = {"type": "logstash", **given}
    with pytest.raises(ConfigurationError, match=problem):
        convert({"output": output}, Configuration, "forwarder.toml")


def test_the_options_are_those_of_logstash_and_of_elasticsearch() -> None:
    """Each where it belongs."""
    found = convert(
        {
            "output": {
                "type": "logstash",
                "username": "clima",
                "password": "x",
                "elasticsearch": {"url": "http://10.0.0.1:9200", "api_key": "y"},
            }
        },
        Configuration,
        "forwarder.toml",
    ).output
    assert isinstance(found, logstash.Options)
    assert (Secret("x"), Secret("y")) == (found.password, found.elasticsearch.api_key)
