"""The configuration: the example that is shipped, and what must fit together."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from clima_agent import config
from clima_agent.commands.sample_config import text
from clima_agent.config import VALUES_LIMIT
from clima_agent.provenance import entries
from clima_agent.sources.bme280 import Bme280
from clima_core import configuration
from clima_core.errors import ConfigurationError
from clima_core.reading import NAMES_LIMIT, QUANTITIES
from clima_core.wire import MAX_RECORD_BYTES
from clima_forwarder.intake import MOST_NAMES

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
    live = "|".join(
        ("bme280", "htu21d", "bmp180", "bh1750", "ds18b20", "system", "rain_gauge", "anemometer")
    )
    sensors = re.compile(rf'\[\[sensors\]\]\ndriver = "({live})".*(\n(?!#\n).+)+')
    calibration = re.compile(r"\[calibration[^]]+\](\n.+)+")

    recorded = load(tmp_path, calibration.sub("", sensors.sub("", examples)))

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
        ('[[forwarders]]\naddress = "tcp://*:5570"', 'such as "tcp://weather.local:5570"'),
        ('[[forwarders]]\naddress = "tcp://-a:5570"', 'such as "tcp://weather.local:5570"'),
        ('[[forwarders]]\naddress = "tcp://a:0"', 'such as "tcp://weather.local:5570"'),
        ('[[forwarders]]\naddress = "tcp://a:65536"', "no port 65536; expected at most 65535"),
        ('[[sensors]]\ndriver = "bme208"', 'did you mean "bme280"?'),
        ('[[sensors]]\ndriver = "bme280"\nname = "roof"', '"bme280-2"'),
        ('[[sensors]]\ndriver = "bme280"\naddress = 0x40', "expected 0x76 or 0x77, found 0x40"),
        ('[[sensors]]\ndriver = "htu21d"\naddress = 0x41', "expected 0x40, found 0x41"),
        ('[[sensors]]\ndriver = "bh1750"\naddress = 0x24', "expected 0x23 or 0x5c, found 0x24"),
        ('[[sensors]]\ndriver = "ds18b20"\ndevice = "28"', '"28-0316a2799bff", found "28"'),
        (
            '[[sensors]]\ndriver = "htu21d"\noversampling = 3',
            'sensors[0].oversampling: unknown option of "htu21d"; "bmp180" has it',
        ),
        ('[[sensors]]\ndriver = "bmp180"\noversample = 3', 'did you mean "oversampling"?'),
        (
            "[calibration.htu21d.air_temperature]\nself_heating = 0.2",
            'needs how warm the processor is; add [[sensors]] with driver = "system"',
        ),
        (
            "[calibration.htu21d.relative_humidity]\nself_heating = 0.2",
            "is an option of air_temperature alone",
        ),
        (
            '[[sensors]]\ndriver = "bmp180"\n[[sensors]]\ndriver = "bme280"\naddress = 0x77',
            "sensors: bmp180 and bme280 are one device (bus 1, address 0x77); say of each",
        ),
        (
            '[[sensors]]\ndriver = "bme280"\n[[sensors]]\ndriver = "bme280"\nname = "bme280-2"',
            "bme280 and bme280-2 are one device (bus 1, the first address that answers)",
        ),
        (
            '[[sensors]]\ndriver = "ds18b20"\n[[sensors]]\ndriver = "ds18b20"\nname = "ds18b20-2"',
            "ds18b20 and ds18b20-2 are one device (1-Wire, the first probe)",
        ),
        (
            (
                '[[sensors]]\ndriver = "rain_gauge"\nline = 5\n'
                '[[sensors]]\ndriver = "anemometer"\nline = 5'
            ),
            "rain_gauge and anemometer are one device (/dev/gpiochip0, line 5)",
        ),
        (
            '[calibration.htu21d.air_temperature]\ndue = "soon"',
            'calibration.htu21d.air_temperature.due: expected a date, found "soon"',
        ),
    ],
)
def test_impossible_values(tmp_path: Path, content: str, problem: str) -> None:
    """Refused with what is allowed."""
    assert problem in "\n".join(problems(tmp_path, STATION + content + "\n"))


def tables(driver: str, count: int, options: str = "") -> str:
    """So many sensors of one kind, each in a place of its own."""
    places = {"ds18b20": 'device = "28-00000000000{}"\n', "replay": ""}
    place = places.get(driver, "bus = {}\n")
    return "".join(
        f'[[sensors]]\ndriver = "{driver}"\nname = "{driver}{f"-{number}" * (number > 1)}"\n'
        f"{place.format(number)}{options}"
        for number in range(1, count + 1)
    )


CHIPS = ("bmp180", "bh1750", "htu21d", "ds18b20")  # nine of each at most


def test_more_sensors_than_a_record_may_have_are_refused(tmp_path: Path) -> None:
    """Each reading would be a dead letter, hours after somebody wrote the table."""
    most = STATION + "".join(tables(driver, 8) for driver in CHIPS)

    assert NAMES_LIMIT == len(load(tmp_path, most).sensors)
    assert ["sensors: 33 tables; a reading can tell of 32"] == problems(
        tmp_path, most + '[[sensors]]\ndriver = "system"\n'
    )


def test_more_values_than_a_station_may_have_are_refused(tmp_path: Path) -> None:
    """With their flags they would be more names than a forwarder takes of one station."""
    columns = "".join(
        f'columns.{name} = {{ quantity = "{name}" }}\n' for name in sorted(QUANTITIES)
    )
    replayed = 'path = "weather.csv"\ntime_column = "time"\n' + columns

    assert 5 == len(load(tmp_path, STATION + tables("replay", 5, replayed)).sensors)
    assert ["sensors: 90 values in all; a forwarder takes 84 of one station"] == problems(
        tmp_path, STATION + tables("replay", 6, replayed)
    )
    assert VALUES_LIMIT + len(QUANTITIES) + len({"clock"}) == MOST_NAMES


def test_so_many_values_that_the_log_may_not_fit_are_a_warning(tmp_path: Path) -> None:
    """Nine of the largest chips and more: its labels are names, too."""
    nine = load(tmp_path, STATION + tables("bme280", 9) + tables("bmp180", 9))
    more = load(tmp_path, STATION + tables("bme280", 9) + tables("bmp180", 9) + tables("htu21d", 3))

    assert not [each for each in config.warnings(nine) if each.startswith("sensors")]
    assert ["sensors: 51 values in all; of more than 50 a forwarder may refuse some"] == [
        each.split(" (")[0] for each in config.warnings(more) if each.startswith("sensors")
    ]


def calibrations(count: int, points: int, certificate: str = "") -> str:
    """So many tables of so many points."""
    pairs = ", ".join(f"[{number / 7}, {number / 7 + 0.1}]" for number in range(points))
    names = [(sensor, quantity) for sensor in range(2, 10) for quantity in list(QUANTITIES)[:4]]
    return "".join(
        f"[calibration.bme280-{sensor}.{quantity}]\npoints = [{pairs}]\n"
        + f'certificate = "{certificate}"\n' * bool(certificate)
        for sensor, quantity in names[:count]
    )


def test_a_table_of_too_many_points_is_refused(tmp_path: Path) -> None:
    """They go with the readings: a record has an end."""
    right = load(tmp_path, STATION + calibrations(1, 64))
    assert 64 == len(right.calibration["bme280-2"]["air_temperature"].points)
    (said,) = problems(tmp_path, STATION + calibrations(1, 65))
    assert said.startswith("calibration.bme280-2.air_temperature.points: 65 of them; at most 64, ")


@pytest.mark.parametrize("count", range(1, NAMES_LIMIT + 1))
@pytest.mark.parametrize("certificate", ["", "\N{SNOWMAN}" * 100])
def test_whatever_calibrations_are_let_in_fit_into_a_record(
    tmp_path: Path, count: int, certificate: str
) -> None:
    """With room for all else that a reading may have; what is not let in is said in one line."""
    path = tmp_path / "agent.toml"
    path.write_text(STATION + calibrations(count, 64, certificate), "utf-8")
    loaded = configuration.load(path, config.Configuration, {}, config.ENVIRONMENT_PREFIX)

    said = list(config.topology(loaded))

    if count <= 5:
        assert [] == said
    if not said:
        assert len(msgspec.json.encode(entries(loaded.calibration))) < MAX_RECORD_BYTES / 2
    else:
        assert re.fullmatch(r"calibration: \d+ bytes in all; at most 32768, as .*", "".join(said))


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
