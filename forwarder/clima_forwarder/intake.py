"""What a batch holds, record by record: fit to store, a dead letter, or too early.

A station speaks for itself only: the identity of a record is what its key, the batch's header
and its place in the batch say, and the record has to agree. Pure; the time is passed in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import msgspec

from clima_core.identity import DATA_SETS, Lane, event_id, lane_id
from clima_core.reading import EARLIEST, DataStream, Record
from clima_core.wire import MAX_RECORD_BYTES, Batch
from clima_forwarder.outputs.base import DeadLetter, Document

AHEAD = timedelta(minutes=10)
MESSAGE_LIMIT = 500
MOST_NAMES = 100  # of sensors' quantities, flags and labels, that one station may ever bring along
_NAME = re.compile(r"[a-z0-9_-]{1,64}")

Names = set[tuple[str, str]]

_decoder = msgspec.json.Decoder(Record)


class _UnfitError(Exception):
    """A record that may not be stored; `code` and a sentence."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


_REASONS = (_UnfitError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


@dataclass
class Intake:
    """A batch sorted out; `ahead` are sequences whose time has not come yet."""

    documents: list[Document] = field(default_factory=list)
    letters: list[DeadLetter] = field(default_factory=list)
    ahead: list[int] = field(default_factory=list)
    furthest: datetime = EARLIEST


def sort(
    station: str, header: Batch, bodies: Sequence[bytes], now: datetime, names: Names
) -> Intake:
    """Sort the records of a batch that came in with the key of `station`.

    `names` are those that the station has used before, and takes in the new ones: each is a
    field in the store for ever, and no station may use them up for all.
    """
    intake = Intake()
    lane = header.lane
    own, journal = lane_id(station, lane), lane.journal
    data_stream = DataStream(*DATA_SETS[lane.stream])
    horizon = now + AHEAD
    for sequence, body in enumerate(bodies, header.first):
        try:
            if len(body) > MAX_RECORD_BYTES:
                raise _UnfitError("too_long", f"{len(body)} bytes; {MAX_RECORD_BYTES} are allowed")
            record = _decoder.decode(body)
            event, origin, moment = record.event, record.station, record.timestamp
            if (
                event.id != f"{own}:{sequence}"
                or event.sequence != sequence
                or origin.id != station
                or origin.journal != journal
                or record.data_stream != data_stream
            ):
                raise _misplaced(station, lane, sequence, record)
            if moment < EARLIEST:
                raise _UnfitError("before_2000", f"@timestamp is {moment.isoformat()}")
            if record.sensor or record.quality or record.labels:
                for name in _names(record):
                    if name not in names:
                        _learn(name, names)
        except _REASONS as error:
            code, text = _said(error)
            intake.letters.append(DeadLetter(station, lane, sequence, code, text, body, now))
            continue
        if moment > horizon:
            intake.ahead.append(sequence)
            intake.furthest = max(intake.furthest, moment)
        else:
            intake.documents.append(Document(station, lane, sequence, moment, body))
    return intake


def _names(record: Record) -> Iterator[tuple[str, str]]:
    """The names in a record that the station chose itself."""
    for sensor, values in (record.sensor or {}).items():
        if not values:
            yield "sensor", sensor  # a field in the store all the same
        for quantity in values:
            yield sensor, quantity
    for flagged in record.quality or ():
        yield "quality", flagged
    for label in record.labels or ():
        yield "labels", label


def _learn(name: tuple[str, str], names: Names) -> None:
    if len(names) >= MOST_NAMES:
        raise _UnfitError("names", f"{name} is one name too many: {MOST_NAMES} are allowed")
    if not all(_NAME.fullmatch(part) for part in name):
        raise _UnfitError("names", f"{name} has more in it than a-z, 0-9, _ and -")
    names.add(name)


def _said(error: Exception) -> tuple[str, str]:
    """The code and the sentence of a dead letter."""
    if isinstance(error, _UnfitError):
        code, text = error.code, str(error)
    elif isinstance(error, msgspec.ValidationError):
        code, text = "invalid", str(error)
    else:
        code, text = "malformed", f"not a JSON object: {error}"
    return code, text[:MESSAGE_LIMIT]


def _misplaced(station: str, lane: Lane, sequence: int, record: Record) -> _UnfitError:
    """What is wrong with a record that is not what its place in the batch says."""
    if record.station.id != station:
        return _UnfitError(
            "foreign", f'station.id is "{record.station.id}", but the key is that of {station}'
        )
    event, stream = record.event, record.data_stream
    if (stream.type, stream.dataset, stream.namespace) == DATA_SETS[lane.stream]:
        return _UnfitError(
            "identity",
            f'came as "{event_id(station, lane, sequence)}", but says sequence {event.sequence},'
            f' journal "{record.station.journal}", id "{event.id}"',
        )
    name = f"{stream.type}-{stream.dataset}-{stream.namespace}"
    return _UnfitError("data_stream", f"{name} is not {DATA_SETS[lane.stream].name}")
