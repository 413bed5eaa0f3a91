"""What the forwarder makes of each record of a batch, before any store sees it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clima_core.identity import Lane
from clima_core.reading import NAMES_LIMIT
from clima_core.wire import MAX_RECORD_BYTES, Batch
from clima_forwarder import intake
from clima_forwarder.intake import AHEAD, MESSAGE_LIMIT, MOST_NAMES
from tests.forwarder.client import JOURNAL, LANE, NOON, record


def sort(
    *bodies: bytes, lane: Lane = LANE, now: datetime = NOON, names: intake.Names | None = None
) -> intake.Intake:
    """The batch 7, 8, … of the station `roof`, sorted."""
    header = Batch(lane.journal, lane.stream, 7, len(bodies), sum(map(len, bodies)))
    return intake.sort("roof", header, bodies, now, set() if names is None else names)


def edited(**fields: Any) -> bytes:
    return record("roof", 7, **fields)


def edited_at(sequence: int, timestamp: str) -> bytes:
    return record("roof", sequence).replace(b"2026-06-01T12:00:00.000Z", timestamp.encode())


WHO = {"id": "roof", "journal": JOURNAL}
EVENT = {"id": f"roof:{JOURNAL}:w:7", "sequence": 7}
MANY = NAMES_LIMIT + 1
ROOM = len(edited(message="x")) - 1  # what a record takes beside its message

UNFIT = {
    "another station's": ("foreign", edited(station={**WHO, "id": "shed"})),
    "another journal": ("identity", edited(station={**WHO, "journal": "ba9876543210"})),
    "another id": ("identity", edited(event={**EVENT, "id": f"roof:{JOURNAL}:w:8"})),
    "another sequence": ("identity", edited(event={**EVENT, "sequence": 8})),
    "another data stream": (
        "data_stream",
        edited(data_stream={"type": "logs", "dataset": "clima.agent", "namespace": "default"}),
    ),
    "another namespace": (
        "data_stream",
        edited(data_stream={"type": "metrics", "dataset": "clima.weather", "namespace": "other"}),
    ),
    "nothing": ("malformed", b""),
    "no JSON": ("malformed", b'{"@timestamp":'),
    "no text": ("malformed", edited()[:-1] + b',"message":"\xff"}'),
    "two documents": ("malformed", edited() + edited()),
    "not a number": ("malformed", edited().replace(b"21.5", b"NaN")),
    "a number past all": ("invalid", edited().replace(b"21.5", b"1e999")),
    "no object": ("invalid", b"[" * MAX_RECORD_BYTES),
    "a byte too many": ("too_long", edited(message="x" * (MAX_RECORD_BYTES + 1 - ROOM))),
    "no station": ("invalid", edited(station=None)),
    "an unknown field": ("invalid", edited(wheather={"air_temperature": 1.0})),
    "an unknown quantity": ("invalid", edited(weather={"air_temprature": 1.0})),
    "a text for a number": ("invalid", edited(weather={"air_temperature": "21.5"})),
    "a number for a text": ("invalid", edited(message=1)),
    "no time": ("invalid", edited_at(7, "yesterday")),
    "no time zone": ("invalid", edited_at(7, "2026-06-01T12:00:00.000")),
    "a clock that was never set": ("before_2000", edited_at(7, "1970-01-01T00:00:09Z")),
    "the first moment of all": (
        "before_2000",
        edited_at(7, "0001-01-01T00:00:00+23:00"),
    ),
    "too many sensors": ("invalid", edited(sensor={f"s{n}": {"t": 1.0} for n in range(MANY)})),
    "too many quantities": ("invalid", edited(sensor={"s": {f"q{n}": 1.0 for n in range(MANY)}})),
    "too many flags": ("invalid", edited(quality={f"q{n}": ["flat"] for n in range(MANY)})),
    "too many labels": ("invalid", edited(labels={f"l{n}": "x" for n in range(MANY)})),
}


@pytest.mark.parametrize("what", UNFIT)
def test_an_unfit_record_becomes_a_dead_letter_alone(what: str) -> None:
    """It is kept to the byte, with a code and a sentence, and its neighbours are stored."""
    code, body = UNFIT[what]
    after = record("roof", 8)
    sorted_ = sort(body, after)
    (letter,) = sorted_.letters
    assert (code, 7, body) == (letter.reason, letter.sequence, letter.body)
    assert (f"roof:{JOURNAL}:w:7", NOON) == (letter.id, letter.received)
    assert letter.message
    assert [after] == [document.body for document in sorted_.documents]


def test_the_longest_record_is_stored() -> None:
    """The limit itself is no byte too many."""
    (document,) = sort(edited(message="x" * (MAX_RECORD_BYTES - ROOM))).documents
    assert MAX_RECORD_BYTES == len(document.body)


@pytest.mark.parametrize(
    ("what", "said"),
    [("another journal", 'journal "ba9876543210"'), ("another sequence", "sequence 8")],
)
def test_a_record_that_is_not_what_it_came_as_is_told_what_differs(what: str, said: str) -> None:
    """Its id may be the right one: the sentence names the part that is not."""
    (letter,) = sort(UNFIT[what][1]).letters
    assert said in letter.message
    assert f'came as "roof:{JOURNAL}:w:7"' in letter.message


def test_a_good_record_passes_byte_for_byte() -> None:
    """Spaces, escapes and the order of fields are the station's own, and stay."""
    spaced = edited(message="wet").replace(b'"wet"', b' "w\\u00e9t \\ud83d\\ude00\\n"\t')
    (document,) = sort(spaced).documents
    assert spaced == document.body
    assert ("roof", LANE, 7, NOON) == (
        document.station,
        document.lane,
        document.sequence,
        document.timestamp,
    )


@pytest.mark.parametrize("stream", ["w", "s", "l"])
def test_each_stream_takes_its_own_data_set(stream: Any) -> None:
    """The data set that a record names is that of the lane it comes in."""
    lane = Lane(JOURNAL, stream)
    assert 1 == len(sort(record("roof", 7, lane=lane), lane=lane).documents)


def test_a_clock_that_is_ahead_is_never_a_dead_letter() -> None:
    """Ten minutes are let pass; beyond, the record is for later: our clock may be the wrong one."""
    at_limit = record("roof", 7, moment=NOON + AHEAD)
    beyond = record("roof", 8, moment=NOON + AHEAD + timedelta(milliseconds=1))
    far = edited_at(9, "9999-12-31T23:59:59-23:00")
    sorted_ = sort(at_limit, beyond, far)
    assert [at_limit] == [document.body for document in sorted_.documents]
    assert ([8, 9], []) == (sorted_.ahead, sorted_.letters)
    assert 9999 == sorted_.furthest.year


def test_a_time_in_another_zone_is_the_same_moment() -> None:
    """What counts is the moment, not how it is written."""
    body = edited_at(7, "2026-06-01T23:59:00+12:00")
    (document,) = sort(body).documents
    assert NOON - timedelta(minutes=1) == document.timestamp.astimezone(UTC)


def test_what_is_said_of_a_record_is_bounded() -> None:
    """A record of a megabyte does not become a log line of a megabyte."""
    sorted_ = sort(edited(station={**WHO, "id": "x" * 900_000}), edited(**{"y" * 900_000: 1}))
    assert 2 == len(sorted_.letters)
    assert all(len(letter.message) <= MESSAGE_LIMIT for letter in sorted_.letters)


@given(st.lists(st.binary(max_size=200) | st.just(edited()), max_size=5))
def test_every_record_ends_in_exactly_one_place(bodies: list[bytes]) -> None:
    """Whatever bytes come: each is a document, a dead letter, or too early."""
    sorted_ = sort(*bodies)
    ends = [document.sequence for document in sorted_.documents]
    ends += [letter.sequence for letter in sorted_.letters] + sorted_.ahead
    assert list(range(7, 7 + len(bodies))) == sorted(ends)


@pytest.mark.parametrize("name", ["a.b", "Á", "", "x" * 65])
def test_a_name_that_would_be_more_than_one_field_is_refused(name: str) -> None:
    """In the store a dot makes an object of it."""
    (letter,) = sort(edited(sensor={"bme280": {name: 1.0}})).letters
    assert "names" == letter.reason


def test_a_station_cannot_use_up_the_fields_of_the_store() -> None:
    """Old names go on, new ones beyond the limit do not; another station is not concerned."""
    names: intake.Names = set()
    for number in range(MOST_NAMES + 10):
        sort(edited(sensor={f"chip{number}": {"air_temperature": 1.0}}), names=names)
    assert MOST_NAMES == len(names)
    known, new = (
        edited(sensor={chip: {"air_temperature": 1.0}}) for chip in ("chip1", "chip-of-tomorrow")
    )
    assert [] == sort(known, names=names).letters
    assert ["names"] == [letter.reason for letter in sort(new, names=names).letters]
    assert [] == sort(new).letters


def test_a_sensor_without_values_counts_as_a_name() -> None:
    """The store makes a field of an empty object too."""
    names: intake.Names = set()
    for number in range(MOST_NAMES + 1):
        sort(edited(sensor={f"chip{number}": {}}), names=names)
    assert MOST_NAMES == len(names)
    (letter,) = sort(edited(sensor={"a.b": {}})).letters
    assert "names" == letter.reason
