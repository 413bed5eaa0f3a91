"""A station whose sensor is under oath: each reading is written here before the agent hears of it.

Run as a process: `python -m tests.e2e.witness CONFIG WITNESS SEED`. It is `clima-agent run` with
a driver of its own. Reading `n` has the time `BEGIN + n` seconds (and `SEED` milliseconds, so
that two stations never share a moment) and a value that only seed and number decide. What was
read is the set of moments in the witness file: a moment read again after a `kill -9`, because the
spool did not have it yet, is the same reading. With CLIMA_WITNESS_ONCE set no moment is ever read
again, as with a sensor that is alive. How many there will be is said by a file beside it.
"""

from __future__ import annotations

import os
import sys
import zlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from clima_agent import config
from clima_agent.commands.run import serve
from clima_agent.sources import Measured
from clima_core.reading import rfc3339

BEGIN = datetime(2020, 1, 1, tzinfo=UTC)
QUANTITY = "air_temperature"


def moment(seed: int, number: int, begin: datetime = BEGIN) -> datetime:
    """The time of a reading."""
    return begin + timedelta(seconds=number, milliseconds=seed)


def value(seed: int, number: int) -> float:
    """What the sensor says, in °C: from -20 to 40."""
    return round(zlib.crc32(f"{seed}:{number}".encode()) % 6001 / 100 - 20, 2)


def total_file(witness: Path) -> Path:
    """Where it is said how many readings there are in all; until then they go on."""
    return witness.with_suffix(".total")


class Witness:
    """The sensor."""

    quantities = (QUANTITY,)

    def __init__(self, path: Path, seed: int, begin: datetime) -> None:
        self._first = len(testimony(path)) if os.environ.get("CLIMA_WITNESS_ONCE") else 0
        self._file = path.open("ab", buffering=0)
        self._total = total_file(path)
        self._seed = seed
        self._begin = begin
        self._number = self._first

    def times(self) -> Iterator[datetime]:
        self._number = self._first
        while not self._total.exists() or self._number < int(self._total.read_text() or 0):
            yield moment(self._seed, self._number, self._begin)
            self._number += 1

    def read(self, at: datetime) -> Mapping[str, Measured]:
        """Write the reading down, and only then say it."""
        # It need not be synced: a `kill -9` leaves what was written, and no power goes here.
        said = value(self._seed, self._number)
        self._file.write(f"{rfc3339(at)} {said}\n".encode())
        return {QUANTITY: Measured(said, "°C")}

    def close(self) -> None:
        self._file.close()


def testimony(path: Path) -> dict[str, float]:
    """What was read so far, by time; a line that is not whole was never said to anyone."""
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    pairs = (line.decode().split() for line in lines)
    return {time: float(said) for time, said in pairs}


def main() -> None:
    """The process."""
    configuration, path, seed, begin = sys.argv[1:]
    read = partial(config.load, Path(configuration), os.environ)

    def opened(*_: object) -> dict[str, Witness]:
        return {"witness": Witness(Path(path), int(seed), datetime.fromisoformat(begin))}

    serve(read(), opened, read)


if __name__ == "__main__":
    main()
