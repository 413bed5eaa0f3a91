"""The configuration: the example that is shipped, and what must fit together."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from clima_agent import config
from clima_agent.commands.sample_config import text
from clima_agent.sources.bme280 import Bme280
from clima_core.errors import ConfigurationError
from clima_core.reading import QUANTITIES

KEY = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"
STATION = '[station]\nid = "roof"\n'


def load(folder: Path, content: str) -> config.Configuration:
    path = folder / "agent.toml"
    path.write_text(content, "utf-8")
    return config.load(path, {})


def problems(folder: Path, content: str) -> list[str]:
    with pytest.raises(ConfigurationError) as failure:
        load(folder, content)
    return [
        problem.removeprefix(f"{folder / 'agent.toml'}: ") for problem in failure.value.problems
    ]


def test_the_example_loads_as_it_is(tmp_path: Path) -> None:
    """A person who changes nothing but the station has a working file."""
    example = load(tmp_path, text())

    assert (Bme280(),) == example.sensors
    assert "Europe/Lisbon" == example.station.timezone


def test_the_examples_within_the_example_are_right(tmp_path: Path) -> None:
    """What is indented behind the `#` can be used as it stands, but for one sensor too many."""
    examples = re.sub(r"^#   ", "", text(), flags=re.MULTILINE).replace('"…"', f'"{KEY}"')
    bme280 = re.compile(r'\[\[sensors\]\]\ndriver = "bme280".*(\n.+)+')
    calibration = re.compile(r"\[calibration[^]]+\](\n.+)+")

    recorded = load(tmp_path, calibration.sub("", bme280.sub("", examples)))

    mixed = "sensors: recorded ones (simulated, replay) cannot be mixed with live ones"
    assert [mixed] == problems(tmp_path, examples)
    assert ["simulated", "replay"] == [sensor.name for sensor in recorded.sensors]
    assert KEY == recorded.forwarders[0].key()
    assert -40 == recorded.checks["air_temperature"].minimum


def test_all_that_does_not_fit_is_said_at_once(tmp_path: Path) -> None:
    """Each with the table it is in, and the nearest right name."""
    assert [
        'sensors: 2 are called "simulated"; give each its own name',
        'calibration.simulatd: there is no sensor of that name; did you mean "simulated"?',
        "calibration.simulated.snow: there is no quantity of that name; allowed: "
        + ", ".join(sorted(QUANTITIES)),
        'checks.wind_sped: there is no quantity of that name; did you mean "wind_speed"?',
        "checks.air_temperature: minimum is not below maximum",
        "forwarders: tcp://a:5570 is there 2 times; once is enough",
    ] == problems(
        tmp_path,
        STATION
        + '[[sensors]]\ndriver = "simulated"\n' * 2
        + "[calibration.simulatd.air_temperature]\noffset = 1\n"
        + "[calibration.simulated.snow]\noffset = 1\n"
        + "[checks.wind_sped]\nmaximum = 1\n"
        + "[checks.air_temperature]\nminimum = 60\n"
        + f'[[forwarders]]\naddress = "tcp://a:5570"\npublic_key = "{KEY}"\n' * 2,
    )


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ('timezone = "Europe/Lisbno"', "is not a time zone; expected an IANA name"),
        ('timezone = "../etc/passwd"', "is not a time zone"),
        ("latitude = 1", "has only one of latitude and longitude"),
        ("elevation = 4", 'unknown option; did you mean "elevation_m"?'),
        ("[sampling]\ninterval_s = 0", "expected a number at least 0.1"),
        ('[sampling]\nspeed = "fast"', 'expected one of "realtime", "max" or a number above 0'),
        ("[spool]\nkeep_bytes = 2_000_000_000", "keep_bytes is more than limit_bytes"),
        ('[[forwarders]]\naddress = "weather.local"', 'such as "tcp://weather.local:5570"'),
        ('[[forwarders]]\naddress = "tcp://a:1"', "expected one of public_key and public_key_file"),
        ('[[forwarders]]\naddress = "tcp://a:1"\npublic_key = "x"', "is not a public key"),
        ('[[sensors]]\ndriver = "bme208"', 'did you mean "bme280"?'),
        ('[[sensors]]\ndriver = "bme280"\nname = "roof"', '"bme280-2"'),
        ('[[sensors]]\ndriver = "bme280"\naddress = 0x40', "0x76 or 0x77"),
    ],
)
def test_impossible_values(tmp_path: Path, content: str, problem: str) -> None:
    """Refused with what is allowed."""
    assert problem in "\n".join(problems(tmp_path, STATION + content + "\n"))


def test_what_may_not_be_meant_is_a_warning(tmp_path: Path) -> None:
    """It works, but not as most would want."""
    bare = list(config.warnings(load(tmp_path, STATION)))
    high = list(config.warnings(load(tmp_path, STATION + "elevation_m = 1700\n")))

    assert ["sensors", "forwarders", "station.elevation_m"] == [each.split(":")[0] for each in bare]
    assert "below 750 m" in high[2]


def test_paths_are_relative_to_the_file_and_the_environment_wins(tmp_path: Path) -> None:
    """As for every Clima program."""
    path = tmp_path / "agent.toml"
    path.write_text(STATION + '[spool]\ndirectory = "queue"\n', "utf-8")

    loaded = config.load(path, {"CLIMA_AGENT_STATION__ID": "shed"})

    assert tmp_path / "queue" == loaded.spool.directory
    assert "shed" == loaded.station.id


def test_speed_as_a_factor() -> None:
    """Of the recording's own pace."""
    speeds = [config.Sampling(), config.Sampling(speed="max"), config.Sampling(speed=60.0)]

    assert [1.0, float("inf"), 60.0] == [each.factor for each in speeds]
    assert 10.0 == msgspec.convert({}, config.Sampling).interval_s
