"""A new spool in place of a damaged one, with all that can still be read of it.

The new spool is built beside the damaged one, renamed when it is whole, and only then takes its
place (`salvage.begin`, `commit`, `finish`): cut short before that it begins again, and after it
whoever opens the spool next finishes it. Nothing that was salvaged hangs on the moment.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from clima_agent.spool import room, salvage
from clima_agent.spool.ledger import UNDATED
from clima_agent.spool.room import Limits
from clima_agent.spool.spool import Spool
from clima_core.ranges import Ranges


def recover(path: Path, station: str, limits: Limits | None, **options: Any) -> Spool:
    """Put a damaged spool aside, begin a new one, and adopt what can be read of the old.

    Salvaged records keep their journal and sequence and wait to be sent; the forwarder finds
    out which of them the store has already. The damaged file is never deleted, and stays where
    it is until the new spool is whole.
    """
    building = salvage.begin(path)
    spool = Spool(building, station, limits, **options)
    try:
        count = _adopt(spool, salvage.records(path, station), salvage.accounts(path))
        spool.file.checkpoint()  # the file alone is renamed, not its log
    finally:
        spool.close()
        room.throw_ballast(building)
    salvage.commit(building)
    aside = salvage.finish(path)
    spool = Spool(path, station, limits, **options)
    spool.tell("spool_salvaged", records=count, put_aside=str(aside))
    return spool


def _adopt(spool: Spool, records: Iterable[salvage.Salvaged], accounts: salvage.Accounts) -> int:
    """Take in what was salvaged under its own identity, to wait; how many records."""
    spool.dated = accounts.dated
    with spool.file.transaction():
        for lane, since, account in accounts.lanes:
            if account:  # or nothing was ever in it
                ledger = spool.add_lane(lane, since)
                for how, ranges in account:
                    ledger.settle(how, ranges)
    count = 0
    records = iter(records)
    while some := list(islice(records, room.SLICE)):
        with spool.file.transaction():
            count += sum(_adopt_one(spool, record) for record in some)
    for ledger in spool.ledgers.values():
        if ledger.adopted:
            here = Ranges(spool.file.runs(ledger.number))
            spool.drop(ledger, Ranges([(1, ledger.last)]) - here, "damaged")
    spool.sync()
    return count


def _adopt_one(spool: Spool, record: salvage.Salvaged) -> bool:
    """Whether it was not there yet."""
    lane, sequence, recorded, body = record
    if lane is None:
        new = sequence > spool.dated
        return new and spool.file.insert_if_missing(UNDATED, sequence, recorded, body)
    ledger = spool.ledgers.get(lane)
    if ledger is None:
        ledger = spool.add_lane(lane, datetime.fromtimestamp(recorded, UTC))
    ledger.last = max(ledger.last, sequence)
    return spool.file.insert_if_missing(ledger.number, sequence, recorded, body)
