"""Readings from a CSV file, as recorded, moved to end now, or again and again: for demos, tests
and old records.

The whole file is read through when it is opened, so that a bad line is said, with its file, line,
field and mend, before anything is sent; then it is streamed. An empty field is a value that was
not measured. Lines must be ascending in time, each moment once per station.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from msgspec import Meta, Struct

from clima_agent.sources.base import Measured, Options, Setting
from clima_agent.units import units_of
from clima_core.configuration import nearest
from clima_core.errors import ConfigurationError
from clima_core.reading import QUANTITIES

MOST_PROBLEMS = 10  # a file of the wrong kind is wrong in every line


class Column(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a column holds; `unit` left out: the one that the quantity is stored in."""

    quantity: str
    unit: str = ""

    def __post_init__(self) -> None:
        if self.quantity not in QUANTITIES:
            hint = nearest(self.quantity, QUANTITIES)
            raise ValueError(f'quantity: there is none called "{self.quantity}"{hint}')
        units = units_of(self.quantity)
        if self.unit and self.unit not in units:
            raise ValueError(
                f'unit: "{self.unit}" is none of {self.quantity}; allowed: {", ".join(units)}'
            )


class Replay(Options, frozen=True, kw_only=True, tag="replay"):
    """`columns` by the header's names; `station` picks the lines with that text in its column."""

    name: Annotated[
        str, Meta(pattern=r"^replay(-[2-9])?$", description='"replay", or "replay-2" to "replay-9"')
    ] = "replay"
    path: Path
    columns: dict[str, Column]
    time_column: str = "time"
    station_column: str = "station"
    station: str | None = None
    times: Literal["recorded", "shifted", "repeated"] = "recorded"
    history_days: Annotated[float, Meta(ge=0)] = 7.0  # of "repeated": how long ago it begins

    def __post_init__(self) -> None:
        quantities = [column.quantity for column in self.columns.values()]
        twice = sorted({name for name in quantities if quantities.count(name) > 1})
        if twice:
            raise ValueError(f"columns: more than one holds {', '.join(twice)}")

    @property
    def recorded(self) -> bool:
        return True

    def open(self, setting: Setting, /) -> ReplaySource:
        """Read the file through once: ConfigurationError with all that is wrong in it."""
        problems: list[str] = []
        first: datetime | None = None
        last: datetime | None = None
        for row in _rows(self, problems):
            first, last = first or row.time, row.time
        if last is None and not problems:
            problems.append(f"{self.path}: holds no line to play")
        if problems or first is None or last is None:
            raise ConfigurationError(problems)
        if self.times == "repeated":
            begin = setting.now - timedelta(days=self.history_days)
            return ReplaySource(self, partial(_repeated, first, last, begin), begin)
        shifted = setting.now.replace(microsecond=0) - last
        shift = shifted if self.times == "shifted" else timedelta()
        return ReplaySource(self, lambda: (shift,))


def _repeated(first: datetime, last: datetime, begin: datetime) -> Iterator[timedelta]:
    """By how much each round is moved: by whole days, so that a morning stays a morning."""
    period = timedelta(days=(last - first).days + 1)
    for number in count(math.ceil((begin - last) / period)):
        yield number * period


class Row(NamedTuple):
    """One line of the file."""

    time: datetime
    values: dict[str, Measured]


class ReplaySource:
    """Plays the rows in order; memory is that of one row."""

    def __init__(
        self,
        options: Replay,
        shifts: Callable[[], Iterable[timedelta]],
        begin: datetime | None = None,
    ) -> None:
        """A round for each of `shifts`, moved by it; what is before `begin` is left out."""
        self._options = options
        self._shifts = shifts
        self._begin = begin
        self._row: Row | None = None

    @property
    def quantities(self) -> tuple[str, ...]:
        return tuple(column.quantity for column in self._options.columns.values())

    def times(self) -> Iterator[datetime]:
        problems: list[str] = []
        for shift in self._shifts():
            for row in _rows(self._options, problems):
                at = row.time + shift
                if self._begin is None or at >= self._begin:
                    self._row = Row(at, row.values)
                    yield at
            if problems:  # it was right when it was opened
                raise ConfigurationError(problems)

    def read(self, at: datetime, /) -> Mapping[str, Measured]:
        return self._row.values if self._row and self._row.time == at else {}

    def close(self) -> None:
        self._row = None


def _rows(options: Replay, problems: list[str]) -> Iterator[Row]:
    """The good rows of the file; what is wrong with the others goes to `problems`."""
    try:
        with options.path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file, strict=True)
            try:
                reader = _Reader(options, next(lines, []), problems)
                for fields in lines:
                    if fields and not reader.complete:
                        yield from reader.row(lines.line_num, fields)
                reader.finish()
            except csv.Error as error:
                problems.append(f"{options.path}: line {lines.line_num}: is not CSV: {error}")
    except UnicodeDecodeError:
        problems.append(f"{options.path}: is not UTF-8 text; save it as UTF-8")
    except OSError as error:
        problems.append(f"{options.path}: cannot be read: {error.strerror}")


class _Reader:
    """The header of one file, and how its lines are read."""

    def __init__(self, options: Replay, header: list[str], problems: list[str]) -> None:
        self._options = options
        self._problems = problems
        self._header = header
        self._before: datetime | None = None
        self._stations: set[str] = set()
        self._time = self._index(options.time_column)
        self._station = None if options.station is None else self._index(options.station_column)
        self._columns = [
            (self._index(name), column.quantity, column.unit or QUANTITIES[column.quantity].unit)
            for name, column in options.columns.items()
        ]
        self.complete = bool(problems)

    def row(self, line: int, fields: list[str]) -> Iterator[Row]:
        """The row, if the line is of the right station and there is nothing wrong with it."""
        if len(fields) != len(self._header):
            expected = f"the header has {len(self._header)}"
            return self._wrong(line, f"{len(fields)} fields; {expected}")
        if self._station is not None and fields[self._station] != self._options.station:
            self._stations.add(fields[self._station])
            return
        try:
            time = _time(fields[self._time])
        except ValueError:
            found = f'"{fields[self._time]}" is not a time'
            mend = 'write it as "2013-01-31T06:00:00Z"'
            return self._wrong(line, f"{self._options.time_column}: {found}; {mend}")
        if self._before and time <= self._before:
            return self._wrong(
                line, f"{self._options.time_column}: is not after the line before; sort the file"
            )
        values: dict[str, Measured] = {}
        for index, quantity, unit in self._columns:
            if text := fields[index].strip():
                try:
                    values[quantity] = Measured(_number(text), unit)
                except ValueError:
                    found = f'{self._header[index]}: "{text}" is not a number'
                    return self._wrong(line, f"{found}; leave it empty where there is none")
        self._before = time
        yield Row(time, values)

    def finish(self) -> None:
        """Said at the end: that no line was of the station asked for."""
        if self._before is None and not self._problems and self._stations:
            found = f'{self._options.station_column}: no line has "{self._options.station}"'
            hint = nearest(self._options.station or "", self._stations)
            self._problems.append(f"{self._options.path}: {found}{hint}")

    def _index(self, name: str) -> int:
        if name in self._header:
            return self._header.index(name)
        hint = nearest(name, filter(None, self._header)) or "; the file is empty"
        self._problems.append(f'{self._options.path}: line 1: no column "{name}"{hint}')
        return 0

    def _wrong(self, line: int, what: str) -> None:
        self._problems.append(f"{self._options.path}: line {line}: {what}")
        if len(self._problems) == MOST_PROBLEMS:
            self._problems.append(f"{self._options.path}: and perhaps more after these")
            self.complete = True


def _time(text: str) -> datetime:
    """ISO 8601; without an offset it is UTC, as everything here is."""
    time = datetime.fromisoformat(text.strip())
    return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number
