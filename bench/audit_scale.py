"""How long `clima audit` takes over many readings with planted faults, and whether it finds them.

    python bench/audit_scale.py --count 10000000 [--url http://…]

Without --url it starts an Elasticsearch of its own (tests/elasticsearch_server.py). With --url
the readings, of a station called `bench-audit`, stay in that server's weather data stream.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from clima_core.identity import DATA_SETS, Lane, new_journal
from clima_core.ranges import Ranges
from clima_core.wire import LaneReport, StationReport
from clima_forwarder.audit import audit
from clima_forwarder.outputs.base import Document
from clima_forwarder.outputs.elasticsearch import Options
from clima_forwarder.outputs.elasticsearch.output import Output
from clima_forwarder.outputs.elasticsearch.queries import Archive
from tests import elasticsearch_server

STATION = "bench-audit"
START = datetime(2020, 1, 1, tzinfo=UTC)
STREAM = DATA_SETS["w"].name
BATCH = 5_000


def main() -> None:
    """Index, plant, audit, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=10_000_000)
    parser.add_argument(
        "--url", help="a server that may keep the readings; default: one of our own"
    )
    arguments = parser.parse_args()
    server = elasticsearch_server.Server(arguments.url) if arguments.url else None
    server = server or elasticsearch_server.launch()
    if server is None:
        sys.exit("no Elasticsearch: give --url, or see tests/elasticsearch_server.py")
    try:
        asyncio.run(measure(server, arguments.count))
    finally:
        server.stop()


async def measure(server: elasticsearch_server.Server, count: int) -> None:
    """Index `count` readings with a rollover in the middle, and audit them."""
    chance = random.Random(3)
    lane = Lane(new_journal(), "w")
    holes = Ranges.of(chance.sample(range(1, count), 1_000)) | Ranges(
        (first, first + count // 1_000)
        for first in chance.sample(range(1, count - count // 500), 5)
    )
    half = count // 2
    early = [n for n in chance.sample(range(1, half), 1_000) if n not in holes]
    output = Output(Options(url=server.url, timeout_s=120))
    archive = Archive(Options(url=server.url, timeout_s=120))
    await output.open()
    await archive.open()
    began = time.monotonic()
    await index(output, lane, (Ranges([(1, half)]) - holes))
    server.rollover(STREAM)
    await index(output, lane, (Ranges([(half + 1, count)]) - holes))
    await index(output, lane, Ranges.of(early))  # taken again, after the rollover
    print(f"indexed {count:,} readings in {time.monotonic() - began:.0f} s")
    await output.report(
        [StationReport(STATION, datetime.now(UTC), [LaneReport(*lane, 1, count, START)])]
    )
    for number in range(3):
        server.request("POST", "/_cache/clear")
        began = time.monotonic()
        (found,) = await audit(archive, datetime.now(UTC), STATION)
        print(f"audit {number + 1}: {time.monotonic() - began:.2f} s")
        assert found.gaps == holes.between(1, count), "the gaps are not those that were made"
        assert found.doubled == Ranges.of(early), "the doubles are not those that were made"
    print(f"found all {len(found.gaps):,} gaps and {len(found.doubled):,} doubles, no other")
    await archive.close()
    await output.close()


async def index(output: Output, lane: Lane, sequences: Ranges) -> None:
    """Store short readings, some batches at a time."""
    pending: set[asyncio.Task[None]] = set()
    for batch in batches(lane, sequences):
        if len(pending) >= 4:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        pending.add(asyncio.create_task(store(output, batch)))
    await asyncio.gather(*pending)


async def store(output: Output, batch: list[Document]) -> None:
    """All of a batch, or an error."""
    if any(result.status != "stored" for result in await output.create(batch)):
        raise RuntimeError("a reading was not stored")


def batches(lane: Lane, sequences: Ranges) -> Iterator[list[Document]]:
    """Short readings, ten seconds apart."""
    batch: list[Document] = []
    for sequence in sequences:
        moment = START + timedelta(seconds=10 * sequence)
        body = (
            f'{{"@timestamp":"{moment:%Y-%m-%dT%H:%M:%S}.000Z","event":{{"sequence":{sequence}}},'
            f'"station":{{"id":"{STATION}","journal":"{lane.journal}"}}}}'
        )
        batch.append(Document(STATION, lane, sequence, moment, body.encode()))
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


if __name__ == "__main__":
    main()
