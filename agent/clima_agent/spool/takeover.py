"""The records of a second spool, taken over: what a board recorded before it was said whose it is.

They keep their journal and sequence, and get this station's name in place of the one that they were
kept under. So a takeover that is cut short is simply done again, and takes nothing twice. Only
what nobody was ever sent may change its name: a spool that has sent anything is to be left alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import TypeVar

import msgspec

from clima_agent.spool import undated
from clima_agent.spool.file import SpoolFullError
from clima_agent.spool.ledger import Ledger
from clima_agent.spool.record import TOO_LONG, identified
from clima_agent.spool.room import SLICE
from clima_agent.spool.spool import Spool
from clima_agent.spool.undated import Undated
from clima_core.ranges import Ranges

Item = TypeVar("Item")


def was_sent(spool: Spool) -> bool:
    """Whether anything of a spool may have been sent."""
    return any(ledger.never_sent_from != 1 for ledger in spool.ledgers.values())


def take_over(spool: Spool, other: Spool) -> int:
    """Have all that `other` holds in `spool`, on disk before this returns; how many records.

    SpoolFullError where there is no room for it; then it is to be done again.
    """
    lanes = [ledger for ledger in other.ledgers.values() if ledger.last]
    count = sum(_lane(spool, other, theirs) for theirs in lanes) + _undated(spool, other)
    spool.changed = True
    spool.sync()
    if spool.changed:
        raise SpoolFullError(f"{spool.file.path}: no room for what {other.file.path} holds")
    return count


def _lane(spool: Spool, other: Spool, theirs: Ledger) -> int:
    if (ledger := spool.ledgers.get(theirs.lane)) is None:
        with spool.file.transaction():
            ledger = spool.add_lane(theirs.lane, theirs.since, never_sent=True)
    first = ledger.last + 1  # those before were taken by an attempt that was cut short
    count = 0
    for part in _slices(other.file.readable(theirs.number, first, theirs.last)):
        spool.with_room(partial(_insert, spool, ledger, part))
        count += len(part)
    for how, ranges in theirs.dropped.items():
        ledger.settle(how, ranges)
    ledger.last = max(ledger.last, theirs.last)
    return count


def _insert(spool: Spool, ledger: Ledger, part: Sequence[tuple[int, bytes]]) -> None:
    too_long: list[int] = []  # by the longer name of this station
    with spool.file.transaction():
        for sequence, body in part:
            document = msgspec.json.decode(body)
            renamed = identified(document, spool.station, ledger.lane, sequence)
            spool.file.insert(ledger.number, sequence, spool.recorded(), [renamed])
            if renamed is None:
                too_long.append(sequence)
    ledger.last = part[-1][0]
    spool.drop(ledger, Ranges.of(too_long), TOO_LONG)


def _undated(spool: Spool, other: Spool) -> int:
    """Those without a date have no number yet: they are known by their boot and moment."""
    here = {_place(each) for _, each in undated.records(spool.file)}
    starts = undated.known_starts(spool.file)
    with spool.file.transaction():
        new = (each for each in undated.known_starts(other.file) if each not in starts)
        undated.keep_starts(spool, new)
    count = 0
    for part in _slices(each for _, each in undated.records(other.file)):
        missing = [each for each in part if _place(each) not in here]
        spool.with_room(partial(undated.keep, spool, missing))
        count += len(missing)
    return count


def _place(record: Undated) -> tuple[str, float, str]:
    return record.boot, record.moment, record.stream


def _slices(items: Iterable[Item]) -> Iterator[Sequence[Item]]:
    """A few at a time, each to be one transaction."""
    rest = iter(items)
    while part := list(islice(rest, SLICE)):
        yield part
