"""Configuration: what is right comes back typed, and what is wrong is all said at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
import pytest
from msgspec import Meta

from clima_core.configuration import Secret, convert, load, nearest
from clima_core.errors import ConfigurationError, UnavailableError


class Station(msgspec.Struct, frozen=True):
    id: Annotated[str, Meta(pattern="^[a-z]+$", description="a name of a-z")]
    elevation_m: Annotated[float, Meta(ge=-430, le=9000)] | None = None


class Bme280(msgspec.Struct, frozen=True, tag_field="driver", tag="bme280"):
    address: Literal[0x76, 0x77] | None = None


class Replay(msgspec.Struct, frozen=True, tag_field="driver", tag="replay"):
    file: Path
    points: list[tuple[float, float]] = []


class Sampling(msgspec.Struct, frozen=True):
    interval_s: Annotated[float, Meta(gt=0)] = 10.0
    timeout_s: float = 5.0
    speed: float | Literal["realtime", "max"] = "realtime"

    def __post_init__(self) -> None:
        if self.timeout_s > self.interval_s:
            raise ValueError("timeout_s is longer than interval_s")


class Model(msgspec.Struct, frozen=True):
    station: Station
    sensors: Annotated[tuple[Bme280 | Replay, ...], Meta(min_length=1)] = (Bme280(),)
    sampling: Sampling = Sampling()
    calibration: dict[Literal["air_temperature", "air_pressure"], float] = {}
    keys: Path = Path("keys")
    password: Secret | None = None


def read(path: Path, text: str, **environ: str) -> Model:
    path.write_text(text)
    return load(path, Model, environ, "CLIMA_AGENT")


def problems(path: Path, text: str, **environ: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        read(path, text, **environ)
    return [problem.replace(str(path), path.name) for problem in caught.value.problems]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where a test's configuration lies."""
    return tmp_path / "agent.toml"


def test_values_come_back_as_their_types(file: Path) -> None:
    """Numbers, lists, tuples and tables become what the model says; defaults fill the rest."""
    found = read(
        file,
        """
        station = { id = "jfk", elevation_m = 4 }
        calibration = { air_temperature = -0.5 }
        [[sensors]]
        driver = "bme280"
        address = 0x77
        [[sensors]]
        driver = "replay"
        file = "jfk.csv"
        points = [[0, 0.5], [10, 1]]
        """,
    )
    expected = Model(
        station=Station("jfk", 4.0),
        sensors=(Bme280(0x77), Replay(file.parent / "jfk.csv", [(0.0, 0.5), (10.0, 1.0)])),
        calibration={"air_temperature": -0.5},
        keys=file.parent / "keys",
    )
    assert expected == found


def test_all_problems_are_said_at_once(file: Path) -> None:
    """One line each: file, option, what was found, what is allowed, the nearest right name."""
    text = """
        password = 5
        [station]
        id = "JFK"
        elevation_m = 1e5
        [[sensors]]
        driver = "bmp280"
        [[sensors]]
        driver = "replay"
        fil = "x.csv"
        points = [[1]]
        [[sensors]]
        address = 0x20
        [sampling]
        interval_s = "10"
        speed = "mx"
        [calibration]
        air_temp = 1
        """
    expected = [
        'agent.toml: station.id: expected a name of a-z, found "JFK"',
        (
            "agent.toml: station.elevation_m: expected a number at least -430 and at most 9000,"
            " found 100000.0"
        ),
        (
            'agent.toml: sensors[0].driver: expected one of "bme280", "replay", found "bmp280";'
            ' did you mean "bme280"?'
        ),
        'agent.toml: sensors[1].fil: unknown option; did you mean "file"?',
        "agent.toml: sensors[1].file: missing; expected a path",
        "agent.toml: sensors[1].points[0]: expected a list of 2, found [1]",
        'agent.toml: sensors[2].driver: missing; expected one of "bme280", "replay"',
        'agent.toml: sampling.interval_s: expected a number above 0, found "10"',
        (
            'agent.toml: sampling.speed: expected a number or one of "realtime", "max", found "mx";'
            ' did you mean "max"?'
        ),
        (
            'agent.toml: calibration: expected one of "air_temperature", "air_pressure",'
            ' found "air_temp"; did you mean "air_temperature"?'
        ),
        'agent.toml: password: expected a text or { file = "…" }',
    ]
    assert expected == problems(file, text)


def test_an_option_far_from_any_other_is_told_which_there_are(file: Path) -> None:
    """Where no name is near, all of them are listed."""
    expected = ["agent.toml: station.q: unknown option; allowed: elevation_m, id"]
    assert expected == problems(file, 'station = { id = "jfk", q = 1 }')


def test_options_that_disagree_are_one_problem_of_their_table(file: Path) -> None:
    """What `__post_init__` refuses is said with the table's name."""
    expected = ["agent.toml: sampling: timeout_s is longer than interval_s"]
    assert expected == problems(file, 'station.id = "jfk"\n[sampling]\ninterval_s = 1')


@pytest.mark.parametrize("value", ["5", "[]", '"jfk"'])
def test_a_table_must_be_a_table(file: Path, value: str) -> None:
    """A scalar or list in the place of a table is named as found."""
    expected = [f"agent.toml: station: expected a table, found {value}"]
    assert expected == problems(file, f"station = {value}")


def test_a_list_that_must_not_be_empty(file: Path) -> None:
    """A length limit of the model holds for lists as well."""
    expected = ["agent.toml: sensors: expected a list of 1, found []"]
    assert expected == problems(file, 'sensors = []\nstation.id = "jfk"')


def test_a_list_of_tables_has_two_brackets(file: Path) -> None:
    """With one pair it is a table, as anybody writes once; a list of anything else has none."""
    expected = [
        "agent.toml: sensors: expected a list of tables, each begun by [[sensors]], found {}"
    ]
    assert expected == problems(file, 'station.id = "jfk"\n[sensors]')
    points = '[[sensors]]\ndriver = "replay"\nfile = "x"\n[sensors.points]'
    expected = ["agent.toml: sensors[0].points: expected a list, found {}"]
    assert expected == problems(file, f'station.id = "jfk"\n{points}')


def test_a_path_that_no_file_can_have(file: Path) -> None:
    """What the system would refuse with a traceback."""
    expected = ['agent.toml: keys: expected a path, found "a\\u0000b"']
    assert expected == problems(file, 'keys = "a\\u0000b"\nstation.id = "jfk"')


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (b"x =", "is not valid TOML: Invalid value (at end of document)"),
        (b"a = 1\nb = [\n", "is not valid TOML: Invalid value (at end of document)"),
        (b"a = 1\na = 2\n", "is not valid TOML: Cannot overwrite a value (at line 2, column 6)"),
        (b'a = 1\nb = "\xe9"\n', "line 2: is not UTF-8 text"),
    ],
)
def test_a_file_that_is_not_toml(file: Path, raw: bytes, problem: str) -> None:
    """The message says where in the file."""
    file.write_bytes(raw)
    with pytest.raises(ConfigurationError) as caught:
        load(file, Model, {}, "CLIMA_AGENT")
    assert f"{file}: {problem}" == str(caught.value)


def test_a_file_nested_deeper_than_python_goes(file: Path) -> None:
    """Wrong like any other."""
    file.write_text("x = " + "[" * 5000)
    with pytest.raises(ConfigurationError, match="is not valid TOML: maximum recursion depth"):
        load(file, Model, {}, "CLIMA_AGENT")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """It says how to get one."""
    with pytest.raises(ConfigurationError, match="no such file; `sample-config` prints one"):
        load(tmp_path / "none.toml", Model, {}, "CLIMA_AGENT")


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    """What the system says is passed on without a traceback."""
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load(tmp_path, Model, {}, "CLIMA_AGENT")


SICK = Path("/proc/self/mem")  # the kernel says EIO, as a dying card does


@pytest.mark.skipif(not SICK.exists(), reason="needs a file that gives EIO")
def test_a_disk_that_does_not_give_the_file_may_do_so_later(file: Path) -> None:
    """The file itself, or one with a secret that it names: neither is a wrong configuration."""
    file.symlink_to(SICK)
    with pytest.raises(UnavailableError, match="cannot be read: Input/output error"):
        load(file, Model, {}, "CLIMA_AGENT")
    table = {"station": {"id": "jfk"}, "password": {"file": str(file)}}
    with pytest.raises(UnavailableError, match="cannot be read: Input/output error"):
        convert(table, Model, "request")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_what_windows_editors_write_is_read(file: Path, encoding: str, newline: str) -> None:
    """A byte order mark, CRLF, and the UTF-16 of PowerShell's `>`."""
    file.write_bytes(f'[station]{newline}id = "jfk"{newline}'.encode(encoding))
    assert "jfk" == load(file, Model, {}, "CLIMA_AGENT").station.id


def test_the_environment_wins_over_the_file(file: Path) -> None:
    """Texts become the option's type; lists and tables are given as TOML; empty is not set."""
    found = read(
        file,
        'station = { id = "jfk", elevation_m = 1 }',
        CLIMA_AGENT_STATION__ELEVATION_M="4.5",
        CLIMA_AGENT_STATION__ID="",
        CLIMA_AGENT_SENSORS='[{ driver = "replay", file = "x.csv" }]',
        CLIMA_AGENT_SAMPLING__SPEED="20",
        CLIMA_AGENT_PASSWORD="5",
        CLIMA_AGENTS_ARE="of another name",
        CLIMA_AGENT_CONFIG="agent.toml, which main looks at",
    )
    assert Station("jfk", 4.5) == found.station
    assert (Replay(Path("x.csv")),) == found.sensors
    assert 20.0 == found.sampling.speed
    assert Secret("5") == found.password


def test_the_environment_alone_is_enough() -> None:
    """Containers need no file."""
    found = load(None, Model, {"CLIMA_AGENT_STATION__ID": "jfk"}, "CLIMA_AGENT")
    assert Model(station=Station("jfk")) == found


def test_a_problem_of_the_environment_names_the_variable(file: Path) -> None:
    """Nobody should look into the file for what is not there."""
    expected = [
        "CLIMA_AGENT_STATION__ID__X: is not in a table; a list is given whole",
        'CLIMA_AGENT_STATON__ID: unknown option; did you mean "station"?',
        (
            "CLIMA_AGENT_STATION__ELEVATION_M: expected a number at least -430 and at most 9000,"
            ' found "high"'
        ),
        "CLIMA_AGENT_SENSORS: [0].foo: unknown option; allowed: address",
    ]
    found = problems(
        file,
        "",
        CLIMA_AGENT_SENSORS='[{ driver = "bme280", foo = 1 }]',
        CLIMA_AGENT_STATION__ELEVATION_M="high",
        CLIMA_AGENT_STATION__ID="jfk",
        CLIMA_AGENT_STATION__ID__X="jfk",
        CLIMA_AGENT_STATON__ID="jfk",
    )
    assert expected == found


def test_a_secret_comes_from_a_file_of_its_own(file: Path) -> None:
    """As Docker and systemd hand secrets over; the line end is not part of it."""
    (file.parent / "password").write_text("geheim\n")
    text = 'station.id = "jfk"\npassword = { file = "password" }'
    assert Secret("geheim") == read(file, text).password
    (file.parent / "password").unlink()
    (problem,) = problems(file, text)
    assert problem.startswith("agent.toml: password: cannot read")


def test_a_secret_never_shows(file: Path) -> None:
    """Not in a repr, and not in a message about what is wrong beside it."""
    found = read(file, 'station.id = "jfk"\npassword = "geheim"')
    assert "geheim" not in repr(found)
    assert "geheim" not in str(found.password)
    assert found.password is not None
    assert "geheim" == found.password.reveal()
    assert "geheim" not in str(problems(file, 'password = ["geheim"]'))


def test_a_table_from_elsewhere_is_read_alike() -> None:
    """`convert` takes what has been parsed already and says where it came from."""
    assert Station("jfk") == convert({"id": "jfk"}, Station, "request")
    with pytest.raises(ConfigurationError, match=r"^request: id: missing; expected a name of a-z$"):
        convert({}, Station, "request")


def test_nearest() -> None:
    """The nearest right name, or all of them, or nothing where there are none."""
    assert '; did you mean "address"?' == nearest("adress", ["address", "bus"])
    assert "; allowed: a, b" == nearest("q", ["b", "a"])
    assert "" == nearest("q", [])
