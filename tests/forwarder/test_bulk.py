"""Many callers in one request: each gets what is its own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from clima_core.errors import UnavailableError
from clima_forwarder.bulk import CONCURRENT, MOST_DOCUMENTS, Bulk
from clima_forwarder.outputs.base import Document, Result
from tests.forwarder.client import LANE, NOON
from tests.forwarder.memory_output import MemoryOutput, fails


def documents(station: str, first: int, count: int) -> list[Document]:
    return [Document(station, LANE, each, NOON, b"{}") for each in range(first, first + count)]


def test_each_caller_gets_the_results_of_its_own_documents() -> None:
    """In order, though they travelled in one request with those of others."""

    async def run() -> list[list[Result]]:
        bulk = Bulk(output)
        callers = [documents("a", 1, 2), documents("b", 1, 3), documents("c", 1, 1)]
        return await asyncio.gather(*map(bulk.create, callers))

    output = MemoryOutput()
    output.verdict = lambda document: Result("refused", document.station + str(document.sequence))
    results = asyncio.run(run())
    assert [["a1", "a2"], ["b1", "b2", "b3"], ["c1"]] == [
        [result.reason for result in own] for own in results
    ]
    assert 1 == output.creates


def test_one_failure_reaches_all_of_that_request_and_none_of_another() -> None:
    """The outcome is unknown for whoever was in it."""

    async def run() -> list[list[Result] | BaseException]:
        bulk = Bulk(output)
        together = await asyncio.gather(
            bulk.create(documents("a", 1, 1)),
            bulk.create(documents("b", 1, 1)),
            return_exceptions=True,
        )
        return [*together, await bulk.create(documents("c", 1, 1))]

    output = MemoryOutput()
    output.before_create = fails(1)
    a, b, c = asyncio.run(run())
    assert isinstance(a, UnavailableError)
    assert isinstance(b, UnavailableError)
    assert [Result("stored")] == c


def test_a_full_request_leaves_at_once() -> None:
    """Whoever fills it does not wait for company."""

    async def run() -> None:
        own = asyncio.create_task(Bulk(output).create(documents("a", 1, MOST_DOCUMENTS)))
        for _ in range(5):  # turns of the loop; no time passes
            await asyncio.sleep(0)
        assert own.done()

    output = MemoryOutput()
    asyncio.run(run())
    assert MOST_DOCUMENTS == len(output.stored)


def test_a_caller_that_gives_up_takes_nothing_from_the_others() -> None:
    """Its documents may be stored all the same; the others get their own results."""

    async def run() -> list[Result]:
        bulk = Bulk(MemoryOutput())
        impatient = asyncio.create_task(bulk.create(documents("a", 1, 2)))
        patient = asyncio.create_task(bulk.create(documents("b", 1, 3)))
        await asyncio.sleep(0)
        impatient.cancel()
        with pytest.raises(asyncio.CancelledError):
            await impatient
        return await patient

    assert [Result("stored")] * 3 == asyncio.run(run())


class Counting(MemoryOutput):
    """Holds every request until it is let go, and counts those under way."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.under_way = self.most = 0

    async def create(self, documents: Sequence[Document]) -> list[Result]:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await self.gate.wait()
        self.under_way -= 1
        return await super().create(documents)


def test_few_requests_are_under_way_at_once() -> None:
    """A slow store is not buried under requests."""

    async def run() -> int:
        output = Counting()
        bulk = Bulk(output)
        calls = [
            asyncio.create_task(bulk.create(documents(f"s{n}", 1, MOST_DOCUMENTS)))
            for n in range(5)
        ]
        for _ in range(5):
            await asyncio.sleep(0)
        output.gate.set()
        await asyncio.gather(*calls)
        return output.most

    assert CONCURRENT == asyncio.run(run())
