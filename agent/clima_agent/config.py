"""The agent's configuration: every option, its limits and its default, and nowhere else.

`load` reads a file in two layers: syntax (each option by itself) and topology (options that must
agree with each other). What depends on the machine is looked at by `clima-agent check`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from msgspec import Meta

from clima_agent.clock import Trust
from clima_agent.pipeline.calibrate import TEMPERATURE, Calibration
from clima_agent.pipeline.check import LIMITS, Limits
from clima_agent.pipeline.formulas import RECOMMENDED_BELOW_M
from clima_agent.sources import Sensor, Setting
from clima_agent.sources.replay import Replay
from clima_core import configuration, keys
from clima_core.errors import ConfigurationError
from clima_core.identity import STATION_ID
from clima_core.reading import NAMES_LIMIT, QUANTITIES

ENVIRONMENT_PREFIX = "CLIMA_AGENT"
STATE = Path("/var/lib/clima-agent")

# What a forwarder would refuse, hours later and reading by reading (docs/protocol.md). Of the 100
# names that a station may use, its values have what the flags of all quantities and `clock` leave;
# the labels of its log are some 34 more.
VALUES_LIMIT, VALUES_BESIDE_LABELS = 84, 50
POINTS_LIMIT = 64  # of one calibration: all of them go with a reading after each change
LAST_PORT = 65535
CALIBRATIONS_BYTES = 32 * 1024  # half of what a record may have

Seconds = Annotated[float, Meta(ge=0.1, le=86400)]
Bytes = Annotated[int, Meta(ge=1_000_000)]


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One table of the file."""


class Station(Table, frozen=True):
    """Who and where; latitude and longitude in degrees, WGS 84, north and east positive."""

    id: Annotated[
        str,
        Meta(
            pattern=STATION_ID.pattern,
            description="up to 63 of a-z, 0-9 and -, not beginning with -",
        ),
    ]
    name: Annotated[str, Meta(min_length=1, max_length=100)] | None = None
    latitude: Annotated[float, Meta(ge=-90, le=90)] | None = None
    longitude: Annotated[float, Meta(ge=-180, le=180)] | None = None
    elevation_m: Annotated[float, Meta(ge=-430, le=9000)] | None = None  # of the barometer
    timezone: str = "UTC"

    def __post_init__(self) -> None:
        if (self.latitude is None) != (self.longitude is None):
            raise ValueError("has only one of latitude and longitude; expected both or neither")
        try:
            ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(
                f'timezone: "{self.timezone}" is not a time zone; '
                'expected an IANA name such as "Europe/Lisbon" or "UTC"'
            ) from None


class Sampling(Table, frozen=True):
    """How often; `speed` is the pace at which recorded sources are played."""

    interval_s: Seconds = 10.0
    speed: Literal["realtime", "max"] | Annotated[float, Meta(gt=0)] = "realtime"
    health_interval_s: Seconds = 60.0

    @property
    def factor(self) -> float:
        """Seconds of the recording per second of the clock; infinite for "max"."""
        if self.speed == "max":
            return float("inf")
        return 1.0 if self.speed == "realtime" else self.speed


class Clock(Table, frozen=True):
    """When to believe what the clock says; a board with a battery-backed clock: "system"."""

    trust: Trust = "kernel"  # or "system"
    forwarder_after_s: Annotated[float, Meta(ge=0, le=86400)] = 60.0  # if nobody else knows


class Spool(Table, frozen=True):
    """The queue on disk, and what of it may be lost, kept and used."""

    directory: Path = STATE / "spool"
    commit_window_s: Annotated[float, Meta(ge=0, le=3600)] = 30.0  # a power cut can lose this
    keep_days: Annotated[float, Meta(ge=0)] = 7.0  # acknowledged records, for repair
    keep_bytes: Bytes = 256_000_000
    limit_bytes: Bytes = 1_000_000_000  # everything, when nothing can be sent

    def __post_init__(self) -> None:
        if self.keep_bytes > self.limit_bytes:
            raise ValueError("keep_bytes is more than limit_bytes; expected at most as much")


class Forwarder(Table, frozen=True):
    """Where to send, in order of preference; its public key is how the agent knows it."""

    address: Annotated[
        str,
        Meta(
            pattern=r"^tcp://([A-Za-z0-9][\w.;%-]*|\[[0-9a-fA-F:]+\]):[1-9]\d{0,4}\Z",
            description='an address such as "tcp://weather.local:5570"',
        ),
    ]
    public_key: str | None = None
    public_key_file: Path | None = None

    def __post_init__(self) -> None:
        if (port := int(self.address.rpartition(":")[2])) > LAST_PORT:
            raise ValueError(f"address: there is no port {port}; expected at most {LAST_PORT}")
        if (self.public_key is None) == (self.public_key_file is None):
            raise ValueError("expected one of public_key and public_key_file")
        if self.public_key is not None:
            try:
                keys.public_key(self.public_key, "public_key")
            except ConfigurationError as error:
                raise ValueError(str(error)) from None

    def key(self) -> str:
        """The forwarder's public key in Z85; ConfigurationError when its file is no such thing."""
        if self.public_key_file is not None:
            return keys.load_needed(self.public_key_file).public
        return keys.public_key(self.public_key or "", self.address)


class Identity(Table, frozen=True):
    """The station's own key pair, made by `clima-agent enroll`, and the board it belongs to.

    `serial_file` says which board this is, where neither device tree nor /proc/cpuinfo does.
    """

    key_file: Path = STATE / "agent.key"
    serial_file: Path | None = None


class Infrared(Table, frozen=True):
    """For `clima-agent ir`; a device left out is the first that can."""

    directory: Path = STATE / "ir"
    receiver: Path | None = None
    transmitter: Path | None = None


class Log(Table, frozen=True):
    """What the agent says of itself."""

    level: Literal["debug", "info", "warning", "error"] = "info"


class Configuration(Table, frozen=True):
    """The whole file; lists in the order of preference."""

    station: Station
    sampling: Sampling = Sampling()
    sensors: tuple[Sensor, ...] = ()
    calibration: dict[str, dict[str, Calibration]] = {}  # by sensor and quantity
    checks: dict[str, Limits] = {}  # by quantity
    clock: Clock = Clock()
    spool: Spool = Spool()
    forwarders: tuple[Forwarder, ...] = ()
    identity: Identity = Identity()
    ir: Infrared = Infrared()
    log: Log = Log()


def load(path: Path | None, environ: Mapping[str, str]) -> Configuration:
    """The configuration of file and environment; ConfigurationError with all that is wrong.

    UnavailableError when the disk does not give the file.
    """
    found = configuration.load(path, Configuration, environ, ENVIRONMENT_PREFIX)
    source = path or "configuration"
    problems = [f"{source}: {problem}" for problem in topology(found)]
    if problems:
        raise ConfigurationError(problems)
    return found


def topology(config: Configuration) -> Iterator[str]:
    """What does not fit together, one line each."""
    yield from _sensors(config)
    names = [sensor.name for sensor in config.sensors]
    for name, calibrations in config.calibration.items():
        if names and name not in names:  # without any, what is found is used: not known yet
            hint = configuration.nearest(name, names)
            yield f"calibration.{name}: there is no sensor of that name{hint}"
        yield from _unknown(f"calibration.{name}", calibrations)
        yield from _self_heating(f"calibration.{name}", calibrations, names)
    if (count := sum(map(len, config.calibration.values()))) > NAMES_LIMIT:
        yield f"calibration: {count} tables; a reading can tell of {NAMES_LIMIT}"
    yield from _too_long(config.calibration)
    yield from _unknown("checks", config.checks)
    for quantity, limits in config.checks.items():
        if not limits.over(LIMITS.get(quantity, Limits())).possible:
            yield f"checks.{quantity}: minimum is not below maximum"
    for address, count in Counter(each.address for each in config.forwarders).items():
        if count > 1:
            yield f"forwarders: {address} is there {count} times; once is enough"


def warnings(config: Configuration) -> Iterator[str]:
    """What works and may not be meant, one line each."""
    elevation_m = config.station.elevation_m
    if not config.sensors:
        yield "sensors: none; what is found is used (`clima-agent scan --write` writes it down)"
    if (count := _values(config.sensors)) > VALUES_BESIDE_LABELS:
        yield (
            f"sensors: {count} values in all; of more than {VALUES_BESIDE_LABELS} a forwarder may"
            " refuse some (it takes 100 names of a station, those of its log among them)"
        )
    if not config.forwarders:
        yield "forwarders: none; readings stay on this station"
    if elevation_m is None:
        missing = "missing; without it no pressure at sea level is worked out"
        yield f"station.elevation_m: {missing}; give the barometer's height in metres"
    elif elevation_m >= RECOMMENDED_BELOW_M:
        yield (
            f"station.elevation_m: {elevation_m:g}; WMO recommends its formula for pressure at "
            f"sea level below {RECOMMENDED_BELOW_M} m"
        )


def _sensors(config: Configuration) -> Iterator[str]:
    for name, count in Counter(sensor.name for sensor in config.sensors).items():
        if count > 1:
            yield f'sensors: {count} are called "{name}"; give each its own name'
    for place, names in _by_place(config.sensors).items():
        if len(names) > 1:
            yield (
                f"sensors: {' and '.join(names)} are one device ({place}); say of each where it is,"
                " or leave one"
            )
    if len({sensor.recorded for sensor in config.sensors}) > 1:
        recorded = ", ".join(sensor.name for sensor in config.sensors if sensor.recorded)
        yield f"sensors: recorded ones ({recorded}) cannot be mixed with live ones"
    if (count := len(config.sensors)) > NAMES_LIMIT:
        yield f"sensors: {count} tables; a reading can tell of {NAMES_LIMIT}"
    if (count := _values(config.sensors)) > VALUES_LIMIT:
        yield f"sensors: {count} values in all; a forwarder takes {VALUES_LIMIT} of one station"


def _by_place(sensors: Sequence[Sensor]) -> dict[str, list[str]]:
    """Those that are at one place on the board, by it."""
    names: dict[str, list[str]] = {}
    for sensor in sensors:
        if sensor.place is not None:
            names.setdefault(sensor.place, []).append(sensor.name)
    return names


def _values(sensors: Sequence[Sensor]) -> int:
    """How many values a reading has of all sensors together."""
    anywhere = Setting(datetime.now(UTC), 10.0)  # `open` touches no device; but replay reads a file
    return sum(
        len(each.columns if isinstance(each, Replay) else each.open(anywhere).quantities)
        for each in sensors
    )


def _too_long(calibrations: Mapping[str, Mapping[str, Calibration]]) -> Iterator[str]:
    """A record has an end, and one of the readings has to carry all calibrations."""
    fits = True
    for name, table in calibrations.items():
        for quantity, calibration in table.items():
            if (count := len(calibration.points)) > POINTS_LIMIT:
                fits = False
                yield (
                    f"calibration.{name}.{quantity}.points: {count} of them; at most"
                    f" {POINTS_LIMIT}, as they go with the readings: keep those where the"
                    " correction bends"
                )
    size = len(msgspec.json.encode(calibrations))
    if fits and size > CALIBRATIONS_BYTES:
        yield (
            f"calibration: {size} bytes in all; at most {CALIBRATIONS_BYTES}, as one reading has to"
            " carry all of it: fewer points, or shorter numbers"
        )


def _self_heating(
    table: str, calibrations: Mapping[str, Calibration], sensors: Sequence[str]
) -> Iterator[str]:
    for quantity, calibration in calibrations.items():
        at = f"{table}.{quantity}.self_heating"
        if calibration.self_heating and quantity != TEMPERATURE:
            yield f"{at}: is an option of {TEMPERATURE} alone; the humidity beside it follows it"
        elif calibration.self_heating and "system" not in sensors:
            yield f'{at}: needs how warm the processor is; add [[sensors]] with driver = "system"'


def _unknown(table: str, quantities: Iterable[str]) -> Iterator[str]:
    for quantity in quantities:
        if quantity not in QUANTITIES:
            hint = configuration.nearest(quantity, QUANTITIES)
            yield f"{table}.{quantity}: there is no quantity of that name{hint}"
