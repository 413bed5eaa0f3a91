"""Where calibrations are told of, and when."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from structlog.testing import capture_logs

from clima_agent import board, config, document
from clima_agent.agent import open_spool
from clima_agent.commands.status import _as_text, _status
from clima_agent.pipeline import Calibration, Draft, Pipeline, Sample
from clima_agent.provenance import Statement, entries, in_words, overdue
from clima_agent.sources import Measured
from clima_agent.spool.record import identified
from clima_core.identity import Lane
from clima_core.reading import Record

AT = datetime(2026, 5, 1, 12, tzinfo=UTC)
CERTIFIED = Calibration(
    points=((11.3, 12.1), (75.3, 73.9)),
    certificate="IPMA 2026/0117",
    date=date(2024, 5, 1),
    due=date(2026, 5, 1),
)


def configured(folder: Path, **quantities: Calibration) -> config.Configuration:
    return config.Configuration(
        station=config.Station(id="roof"),
        spool=config.Spool(directory=folder, commit_window_s=30),
        calibration={"htu21d": quantities} if quantities else {},
    )


class Run:
    """One life of an agent: readings one after the other, on a clock of the test's own."""

    def __init__(self, setup: config.Configuration) -> None:
        self.seconds = 0.0
        self.pipeline = Pipeline(
            calibrations=setup.calibration,
            last=Statement(setup, lambda: self.seconds).stated,
        )

    def read(self, seconds: float = 10) -> Draft:
        self.seconds += seconds
        measured = {"htu21d": {"relative_humidity": Measured(50, "%")}}
        return self.pipeline(Sample(AT + timedelta(seconds=self.seconds), measured))


@pytest.mark.parametrize(
    ("calibration", "expected"),
    [
        (Calibration(offset=-0.4, scale=1.02), "said * 1.02 - 0.4"),
        (Calibration(offset=0.5), "said * 1.0 + 0.5"),
        (CERTIFIED, "11.3: 12.1, 75.3: 73.9"),
        (
            Calibration(coefficients=(-0.31, 1.02, 0.00014), valid=(-20.0, 50.0)),
            "-0.31 + said * 1.02 + said^2 * 0.00014, from -20 to 50",
        ),
        (Calibration(self_heating=0.2), "said * 1.0 + 0.0; self-heating 0.2"),
    ],
)
def test_a_correction_in_words(calibration: Calibration, expected: str) -> None:
    """Exact enough to be taken back."""
    assert expected == in_words(calibration)


def test_a_record_carries_certificate_and_dates(tmp_path: Path) -> None:
    """In the fields that the forwarder's strict model has."""
    draft = Run(configured(tmp_path, relative_humidity=CERTIFIED)).read()
    made = document.weather(draft, config.Station(id="roof"))
    made["event"] |= {"id": "roof:0123456789ab:w:1", "sequence": 1}
    made["station"]["journal"] = "0123456789ab"

    record = msgspec.json.decode(msgspec.json.encode(made), type=Record)

    assert record.calibration is not None
    assert [
        {
            "sensor": "htu21d",
            "quantity": "relative_humidity",
            "correction": "11.3: 12.1, 75.3: 73.9",
            "certificate": "IPMA 2026/0117",
            "date": "2024-05-01",
            "due": "2026-05-01",
        }
    ] == [msgspec.structs.asdict(each) for each in record.calibration]


def test_told_once_per_change(tmp_path: Path) -> None:
    """In the first reading; not after a restart, but again once it is another, or none."""
    setup = configured(tmp_path, relative_humidity=CERTIFIED)
    first, second = Run(setup), Run(setup)
    told = [first.read().calibration, first.read().calibration]
    first.read(200)
    again = second.read().calibration
    other = Run(configured(tmp_path, relative_humidity=Calibration(offset=1.0)))
    changed = [other.read().calibration, other.read(200).calibration]
    none = Run(configured(tmp_path)).read().calibration

    assert [entries(setup.calibration), None] == told
    assert entries(setup.calibration) == again  # it began before the first had remembered
    assert Run(setup).read().calibration is not None  # the change is one back as well
    assert ["said * 1.0 + 1.0"] == [each.correction for each in changed[0] or ()]
    assert changed[1] is None
    assert [] == none


def test_tables_without_end_cost_no_reading(tmp_path: Path) -> None:
    """They are cut in the reading that carries them, with a warning, and said once as ever."""
    table = Calibration(
        points=tuple((n / 10 - 40.0001, n / 10 - 40.2345) for n in range(400)),
        certificate="IPMA 2026/0117",
    )
    setup = config.Configuration(
        station=config.Station(id="roof"),
        spool=config.Spool(directory=tmp_path, commit_window_s=30),
        calibration={
            f"htu21d-{number}": {"relative_humidity": table, "air_temperature": table}
            for number in range(16)
        },
    )
    run = Run(setup)
    with capture_logs() as logs:
        drafts = [run.read(), run.read(200), run.read()]

    told = drafts[0].calibration or []
    assert ["calibration_shortened"] == [line["event"] for line in logs]
    assert [32, 0, 0] == [len(draft.calibration or ()) for draft in drafts]
    assert {"-40.0001: -40.2345, -39.9"} == {entry.correction[:25] for entry in told}
    assert {"IPMA 2026/0117"} == {entry.certificate for entry in told}
    lane = Lane("0123456789ab", "w")
    assert identified(document.weather(drafts[0], setup.station), "roof", lane, 2**48 - 1)
    assert Run(setup).read().calibration is None


def test_a_restart_tells_nothing_again(tmp_path: Path) -> None:
    """Once the reading that told of it must be on the disk."""
    setup = configured(tmp_path, relative_humidity=CERTIFIED)
    first = Run(setup)
    first.read()
    first.read(119)
    assert not list(tmp_path.iterdir())
    first.read(2)

    assert Run(setup).read().calibration is None


def test_without_any_calibration_nothing_is_told(tmp_path: Path) -> None:
    """No record grows by a field that says nothing."""
    assert Run(configured(tmp_path)).read().calibration is None


def test_what_cannot_be_remembered_is_told_after_each_start(tmp_path: Path) -> None:
    """A spool on a disk that has become read-only, for one."""
    (tmp_path / "file").write_text("", "ascii")
    setup = configured(tmp_path / "file", relative_humidity=CERTIFIED)
    run = Run(setup)
    with capture_logs() as logs:
        run.read()
        run.read(200)
        run.read(200)

    assert ["calibration_not_remembered"] == [line["event"] for line in logs][-1:]
    assert Run(setup).read().calibration is not None


def test_an_overdue_one_warns_once(tmp_path: Path) -> None:
    """On the day after, while the station runs; with table, date and certificate."""
    run = Run(configured(tmp_path, relative_humidity=CERTIFIED))
    with capture_logs() as before:
        run.read(3600)
    with capture_logs() as after:
        run.read(12 * 3600)
        run.read()

    assert [] == before
    assert [
        {
            "event": "calibration_overdue",
            "log_level": "warning",
            "reason": "calibration.htu21d.relative_humidity.due: 2026-05-01 has passed"
            " (certificate: IPMA 2026/0117); have the sensor calibrated again",
        }
    ] == after
    assert [] == list(overdue({"a": {"air_temperature": Calibration()}}, AT))


def test_status_tells_of_them(tmp_path: Path) -> None:
    """As a line each, and in the JSON; an overdue one is a warning."""
    long_ago = msgspec.structs.replace(CERTIFIED, date=date(2018, 5, 1), due=date(2020, 5, 1))
    setup = configured(tmp_path, relative_humidity=long_ago)
    open_spool(setup, lambda: AT).close()

    found = _status(board.place(setup))

    line = "htu21d, relative_humidity: 11.3: 12.1, 75.3: 73.9, certificate IPMA 2026/0117"
    assert f"{line}, of 2018-05-01, due 2020-05-01" in _as_text(found)
    (told,) = json.loads(msgspec.json.encode(found))["calibration"]
    assert "IPMA 2026/0117" == told["certificate"]
    assert ["calibration.htu21d.relative_humidity.due: 2020-05-01 has passed"] == [
        warning.split(" (")[0] for warning in found["warnings"]
    ]
