"""What a batch holds, record by record: fit to store, a dead letter, or too early.

A station speaks for itself only: the identity of a record is what its key, the batch's header
and its place in the batch say, and the record has to agree. Pure; the time is passed in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import msgspec

from clima_core.identity import DATA_SETS, event_id
from clima_core.reading import EARLIEST, Record
from clima_core.wire import Batch
from clima_forwarder.outputs.base import DeadLetter, Document

AHEAD = timedelta(minutes=10)
NAMES_LIMIT = 32  # sensors in one record, quantities of one sensor, flags, labels
MESSAGE_LIMIT = 500

_decoder = msgspec.json.Decoder(Record)


class _UnfitError(Exception):
    """A record that may not be stored; `code` and a sentence."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message[:MESSAGE_LIMIT])
        self.code = code


@dataclass
class Intake:
    """A batch sorted out; `ahead` are sequences whose time has not come yet."""

    documents: list[Document] = field(default_factory=list)
    letters: list[DeadLetter] = field(default_factory=list)
    ahead: list[int] = field(default_factory=list)
    furthest: datetime = EARLIEST


def sort(station: str, header: Batch, bodies: Sequence[bytes], now: datetime) -> Intake:
    """Sort the records of a batch that came in with the key of `station`."""
    intake = Intake()
    lane = header.lane
    horizon = now + AHEAD
    for sequence, body in enumerate(bodies, header.first):
        try:
            record = _checked(station, header, sequence, body)
        except _UnfitError as unfit:
            intake.letters.append(
                DeadLetter(station, lane, sequence, unfit.code, str(unfit), body, now)
            )
            continue
        if record.timestamp > horizon:
            intake.ahead.append(sequence)
            intake.furthest = max(intake.furthest, record.timestamp)
        else:
            intake.documents.append(Document(station, lane, sequence, record.timestamp, body))
    return intake


def _checked(station: str, header: Batch, sequence: int, body: bytes) -> Record:
    try:
        record = _decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _UnfitError("invalid", str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _UnfitError("malformed", f"not a JSON object: {error}") from error
    if record.station.id != station:
        raise _UnfitError(
            "foreign", f'station.id is "{record.station.id}", but the key is that of {station}'
        )
    _check_identity(station, header, sequence, record)
    _check_content(record)
    return record


def _check_identity(station: str, header: Batch, sequence: int, record: Record) -> None:
    expected = event_id(station, header.lane, sequence)
    if (
        record.event.id != expected
        or record.event.sequence != sequence
        or record.station.journal != header.journal
    ):
        raise _UnfitError("identity", f'says it is "{record.event.id}", but came as "{expected}"')
    data_set = DATA_SETS[header.stream]
    stream = record.data_stream
    if (stream.type, stream.dataset, stream.namespace) != data_set:
        name = f"{stream.type}-{stream.dataset}-{stream.namespace}"
        raise _UnfitError("data_stream", f"{name} is not {data_set.name}")


def _check_content(record: Record) -> None:
    moment = record.timestamp
    if moment.tzinfo is None:
        raise _UnfitError("invalid", "@timestamp has no time zone")
    if moment < EARLIEST:
        raise _UnfitError("before_2000", f"@timestamp is {moment.isoformat()}")
    sensors = record.sensor or {}
    for names in (sensors, record.quality, record.labels, *sensors.values()):
        if names and len(names) > NAMES_LIMIT:
            text = f"{len(names)} names in sensor, a sensor, quality or labels"
            raise _UnfitError("invalid", f"{text}; at most {NAMES_LIMIT} each")
