"""Records from before the time was known: kept in order, and numbered when they are dated.

They lie in lane 0, which has no ledger, beside all the others: the same window, the same checksums,
the same salvage. Each says which boot it is from, and its moment in that (seconds since boot). When
the time is known, a boot has a *start*, written down before anything is dated by it; then record
by record they get their `@timestamp` and their place in a lane, and may be sent. What has to be
given up before that is numbered too, or nobody could count it.

The boot that is running has an exact start, and so have all records of it, whatever it lasts until
an agent that begins anew in it knows the time again. Of a boot that lost its power before that, it
is only known that it was after the last record that has a date, for as long as it lasted, and
before the boots that followed: its start is the middle of what is possible, and how far that may be
out is kept with it. So nothing of a boot is numbered while older records of it have no date: it
would seem that they came later. Order and distances within a boot are always true, but for the
drift of its crystal (`clock.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import islice
from typing import Any, NamedTuple

import msgspec

from clima_agent.clock import DRIFT, at, drift_s
from clima_agent.spool.books import Books
from clima_agent.spool.file import SpoolFile
from clima_agent.spool.ledger import UNDATED, Ledger, taken_back_on_failure
from clima_agent.spool.record import TOO_LONG
from clima_core.identity import Lane, Stream
from clima_core.ranges import Ranges

STARTS = 1 << 47  # the starts of boots are numbered from here, the records below
SLICE = 200  # records dated in one transaction


class Undated(msgspec.Struct, frozen=True):
    """A document, and when it was by the clock of its boot."""

    boot: str
    moment: float
    stream: Stream
    document: dict[str, Any]


class Start(msgspec.Struct, frozen=True):
    """When a boot began, in seconds since 1970, and what is to be said of times by it.

    An exact one was known at a moment, `known_at`; an estimate may know how far it may be out.
    """

    boot: str
    start: float
    estimated: bool = False
    uncertainty_s: float | None = None
    known_at: float | None = None
    flags: Sequence[str] = ()

    def at(self, moment: float) -> Dated:
        """The time of a moment, to the millisecond."""
        out_s = self.uncertainty_s
        if self.known_at is not None:
            out_s = drift_s(moment, self.known_at, self.known_at)
        estimated = ["estimated"] if self.estimated or out_s else []
        return Dated(at(self.start, moment), list(self.flags) or estimated, out_s)


class Dated(NamedTuple):
    """When something was, its flags, and how far that may be out where that is known."""

    time: datetime
    flags: list[str]
    uncertainty_s: float | None


Date = Callable[[Undated, Start], Mapping[str, Any]]
"""The document of a record, with its time."""


class _Place(msgspec.Struct, frozen=True):
    boot: str
    moment: float


class _Time(msgspec.Struct, frozen=True):
    timestamp: datetime = msgspec.field(name="@timestamp")


def count(file: SpoolFile) -> int:
    """How many records have no date yet."""
    return len(file.held(UNDATED, 0, STARTS - 1))


def dated(file: SpoolFile) -> int:
    """The last record that was numbered or given up: none has its number again."""
    return max((ranges.last or 0 for _, ranges in file.settled(UNDATED)), default=0)


def keep(books: Books, records: Sequence[Undated]) -> None:
    """Keep records without a date, in order, all or none; SpoolFullError when there is no room."""
    first = max(books.dated, books.file.held(UNDATED, 0, STARTS - 1).last or 0) + 1
    with books.file.transaction():
        books.file.insert(UNDATED, first, books.recorded(), map(msgspec.json.encode, records))


def begin_timeless(books: Books) -> None:
    """Have the lanes that have no record begin now."""
    own = [ledger for ledger in books.ledgers.values() if not ledger.adopted]
    if timeless := [ledger for ledger in own if ledger.timeless]:
        with books.file.transaction():
            for ledger in timeless:
                books.begins(ledger, books.now())


def drop_oldest(books: Books, reason: str) -> bool:
    """Give up the oldest slice; False when there is none."""
    if not (part := list(islice(records(books.file), SLICE))):
        return False
    with _numbering(books, part[-1][0]):
        lost = _numbered_lost(books, [record for _, record in part], reason)
    _tell_dropped(books, lost, reason)
    return True


def give_up(books: Books, unkept: Sequence[Undated], reason: str) -> None:
    """Give up what could not even be kept; the next sync writes it down."""
    _tell_dropped(books, _numbered_lost(books, unkept, reason), reason)


def _numbered_lost(
    books: Books, given_up: Sequence[Undated], reason: str
) -> list[tuple[Ledger, Ranges]]:
    """Number what is lost, so that lane reports and the audit count it; without a time."""
    counts = Counter(record.stream for record in given_up)
    ledgers = {stream: books.ledgers[Lane(books.journal, stream)] for stream in counts}
    return [(ledgers[stream], ledgers[stream].lose(n, reason)) for stream, n in counts.items()]


def _tell_dropped(books: Books, given_up: Sequence[tuple[Ledger, Ranges]], reason: str) -> None:
    for ledger, sequences in given_up:
        books.tell_dropped(ledger, sequences, reason)


def date_slice(books: Books, starts: Mapping[str, Start], document: Date) -> int:
    """Date the oldest; how many. Read each time: to make room some may just have been given up."""
    if not (part := list(islice(records(books.file), SLICE))):
        return 0
    too_long: list[tuple[Ledger, Ranges]] = []
    with _numbering(books, part[-1][0]):
        for stream in dict.fromkeys(record.stream for _, record in part):
            documents = [
                document(record, starts[record.boot])
                for _, record in part
                if record.stream == stream
            ]
            ledger = books.ledgers[Lane(books.journal, stream)]
            if ledger.timeless:
                books.begins(ledger, datetime.fromisoformat(documents[0]["@timestamp"]))
            too_long.append((ledger, books.number(ledger, documents)))
    _tell_dropped(books, too_long, TOO_LONG)
    return len(part)


@contextmanager
def _numbering(books: Books, last: int) -> Iterator[None]:
    """A transaction in which those up to `last` get other numbers; taken back, it never was.

    They are erased, or salvage would find them again; and first, so that their pages can be used.
    """
    dated = books.dated
    try:
        with taken_back_on_failure(books.ledgers.values()), books.file.transaction():
            books.file.delete(UNDATED, 0, last)
            yield
            books.dated = last
            books.save_account()
    except BaseException:
        books.dated = dated
        raise
    books.changed = True


def records(file: SpoolFile) -> Iterator[tuple[int, Undated]]:
    """All of them in order, with their number."""
    for number, body in file.readable(UNDATED, 0, STARTS - 1):
        yield number, msgspec.json.decode(body, type=Undated)


def starts(books: Books, running: Start) -> dict[str, Start]:
    """The starts of all boots; those that were missing are written down."""
    known = known_starts(books.file)
    by_boot = {start.boot: start for start in known} | {running.boot: running}
    new = _estimated(books, by_boot, _lengths(books.file) | {running.boot: 0.0})
    new += [] if any(_same(each, running) for each in known) else [running]
    with books.file.transaction():
        keep_starts(books, new)
    return by_boot | {start.boot: start for start in new}


def _same(known: Start, running: Start) -> bool:
    """Whether it is written down already: looked at a little later it is no other."""
    return (known.boot, known.start, *known.flags) == (running.boot, running.start, *running.flags)


def forget_starts(books: Books, running: Start) -> None:
    """All but that of the boot that is running: it dates what comes if the agent begins anew."""
    if len(known_starts(books.file)) > 1:
        with books.file.transaction():
            books.file.delete(UNDATED, STARTS, 2 * STARTS - 1)
            keep_starts(books, [running])


def known_starts(file: SpoolFile) -> list[Start]:
    """Those that are written down: a dating that was cut short goes on by them."""
    bodies = file.readable(UNDATED, STARTS, 2 * STARTS - 1)
    return [msgspec.json.decode(body, type=Start) for _, body in bodies]


def keep_starts(books: Books, starts: Iterable[Start]) -> None:
    """Write them down, in the caller's transaction."""
    first = (books.file.held(UNDATED, STARTS, 2 * STARTS - 1).last or STARTS) + 1
    books.file.insert(UNDATED, first, books.recorded(), map(msgspec.json.encode, starts))


def _lengths(file: SpoolFile) -> dict[str, float]:
    """The boots in their order, and how long each lasted at least."""
    lengths: dict[str, float] = {}
    for _, body in file.readable(UNDATED, 0, STARTS - 1):
        place = msgspec.json.decode(body, type=_Place)
        lengths[place.boot] = max(place.moment, lengths.get(place.boot, 0.0))
    return lengths


def _estimated(
    books: Books, starts: Mapping[str, Start], lengths: Mapping[str, float]
) -> list[Start]:
    """Starts of the boots that have none; the last boot of `lengths`, the running one, has."""
    estimated: list[Start] = []
    earliest, unknown = _last_time(books), list[str]()
    for boot, length in lengths.items():
        if boot not in starts:
            unknown.append(boot)
            continue
        room = [lengths[each] for each in unknown]
        estimated += _between(earliest, starts[boot].start, dict(zip(unknown, room, strict=True)))
        earliest, unknown = starts[boot].start + length, []
    return estimated


def _between(earliest: float | None, latest: float, lengths: Mapping[str, float]) -> list[Start]:
    """Starts of boots that followed each other somewhere between two times."""
    lasted = sum(lengths.values())
    gap = 0.0 if earliest is None else latest - earliest - lasted
    slack = max(0.0, gap)  # there is none where one of the two times is wrong, by at least that
    uncertainty = None if earliest is None else max(slack / 2, -gap) + lasted * DRIFT
    starts: list[Start] = []
    end = latest - slack / 2
    for boot, length in reversed(list(lengths.items())):
        end -= length
        starts.insert(0, Start(boot, end, estimated=True, uncertainty_s=uncertainty))
    return starts


def _last_time(books: Books) -> float | None:
    """The time of the last record that has one; those that were given up since have none."""
    times = [
        msgspec.json.decode(body, type=_Time).timestamp.timestamp()
        for ledger in books.ledgers.values()
        if not ledger.adopted and (last := books.file.held(ledger.number).last)
        for body in books.file.bodies(ledger.number, last, last)
    ]
    return max(times, default=None)
