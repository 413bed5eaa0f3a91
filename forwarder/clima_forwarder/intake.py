"""What a batch holds, record by record: fit to store, a dead letter, or too early.

A station speaks for itself only: the identity of a record is what its key, the batch's header
and its place in the batch say, and the record has to agree. Pure; the time is passed in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import msgspec

from clima_core.identity import DATA_SETS, Lane, event_id, lane_id
from clima_core.reading import EARLIEST, DataStream, Record
from clima_core.wire import Batch
from clima_forwarder.outputs.base import DeadLetter, Document

AHEAD = timedelta(minutes=10)
MESSAGE_LIMIT = 500

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


def sort(station: str, header: Batch, bodies: Sequence[bytes], now: datetime) -> Intake:
    """Sort the records of a batch that came in with the key of `station`."""
    intake = Intake()
    lane = header.lane
    own, journal = lane_id(station, lane), lane.journal
    data_stream = DataStream(*DATA_SETS[lane.stream])
    horizon = now + AHEAD
    for sequence, body in enumerate(bodies, header.first):
        try:
            record = _decoder.decode(body)
            event, origin, moment = record.event, record.station, record.timestamp
            if (
                (event.id, event.sequence) != (f"{own}:{sequence}", sequence)
                or (origin.id, origin.journal) != (station, journal)
                or record.data_stream != data_stream
            ):
                raise _misplaced(station, lane, sequence, record)
            if moment < EARLIEST:
                raise _UnfitError("before_2000", f"@timestamp is {moment.isoformat()}")
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
    expected, stream = event_id(station, lane, sequence), record.data_stream
    if (stream.type, stream.dataset, stream.namespace) == DATA_SETS[lane.stream]:
        return _UnfitError("identity", f'says it is "{record.event.id}", but came as "{expected}"')
    name = f"{stream.type}-{stream.dataset}-{stream.namespace}"
    return _UnfitError("data_stream", f"{name} is not {DATA_SETS[lane.stream].name}")
