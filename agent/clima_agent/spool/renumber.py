"""Records under new numbers: what to do when a sequence turns out to be somebody else's.

Only what nobody has stored may be numbered anew: what was never sent, or what a forwarder would
not take because another record has its identity. A move is durable, whole or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from clima_agent.spool.books import Books
from clima_agent.spool.ledger import Ledger
from clima_agent.spool.record import TOO_LONG, identified
from clima_core.identity import Lane
from clima_core.ranges import Ranges


def move(books: Books, moving: Mapping[Lane, Ranges], to_journal: str | None = None) -> None:
    """Number the records of `moving` at the end of the current journal, or of a new one."""
    with books.all_or_nothing():
        if to_journal:
            books.add_lanes(to_journal)
        for lane, ranges in moving.items():
            if source := books.ledgers.get(lane):
                target = books.ledgers[Lane(books.journal, lane.stream)]
                _move(books, source, target, ranges.between(1, source.last))


def _move(books: Books, source: Ledger, target: Ledger, ranges: Ranges) -> None:
    """One that cannot be read takes a number too, so that it stays counted as dropped."""
    recorded = books.recorded()
    for sequence in ranges - source.acknowledged:
        target.last += 1
        number = target.last
        if body := next(books.file.bodies(source.number, sequence, sequence), None):
            document = msgspec.json.decode(body)
            moved = identified(document, books.station, target.lane, number)
            books.file.insert(target.number, number, recorded, [moved])
            if moved is None:  # its number has more digits now
                target.drop(Ranges([(number, number)]), TOO_LONG)
        else:
            target.drop(Ranges([(number, number)]), source.fate(sequence) or "damaged")
    for first, last in ranges.pairs:
        books.file.delete(source.number, first, last)
    if ranges and ranges.pairs[-1][1] >= source.last:
        source.truncate(ranges.pairs[-1][0] - 1)
    source.acknowledge(ranges)  # stored, as another record
