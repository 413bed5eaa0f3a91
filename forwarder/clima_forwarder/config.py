"""The forwarder's configuration: every option, its limits and its default, and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from clima_core import configuration
from clima_forwarder import shipping
from clima_forwarder.outputs import Options, sqlite

ENVIRONMENT_PREFIX = "CLIMA_FORWARDER"
STATE = Path.home() / ".clima"

Address = Annotated[
    str,
    Meta(
        pattern=r"^tcp://(\*|[^\s/:]+|\[[0-9a-fA-F:]+\]):\d{1,5}$",
        description='an address such as "tcp://*:5570"',
    ),
]


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One table of the file."""


class Stations(Table, frozen=True):
    """Where stations connect to, and who is let in."""

    listen: Address = "tcp://*:5570"
    directory: Path = STATE / "stations"  # a certificate for each; see `clima stations`
    key_file: Path = STATE / "forwarder.key"  # made at the first start
    heartbeat_s: Annotated[float, Meta(ge=0.1, le=600)] = 15.0


class Pairing(Table, frozen=True):
    """Where stations ask to be let in (docs/pairing.md); open to anybody, and strictly bounded."""

    enabled: bool = True
    listen: Address = "tcp://*:5573"
    stations_port: Annotated[int, Meta(ge=1, le=65535)] | None = None  # where they see `stations`
    advertise: bool = True  # by mDNS


class Feed(Table, frozen=True):
    """The live feed: not encrypted, so for this machine or an inner network only."""

    address: Address = "tcp://127.0.0.1:5571"


class Http(Table, frozen=True):
    """`/healthz`, `/readyz`, `/metrics` and `/repair`: no passwords, so loopback by default."""

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 5572

    @property
    def url(self) -> str:
        """Where it answers, for whoever has this configuration."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"


class Limits(Table, frozen=True):
    """What the process may use before it gives up and has itself started anew."""

    memory_bytes: Annotated[int, Meta(ge=64_000_000)] = 512_000_000


class Log(Table, frozen=True):
    """What the forwarder says of itself."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    logstash: shipping.Options | None = None


class Configuration(Table, frozen=True):
    """The whole file."""

    stations: Stations = Stations()
    pairing: Pairing = Pairing()
    output: Options = sqlite.Options()
    feed: Feed = Feed()
    http: Http = Http()
    limits: Limits = Limits()
    log: Log = Log()


def load(path: Path | None, environ: Mapping[str, str]) -> Configuration:
    """The configuration of file and environment; ConfigurationError with all that is wrong."""
    return configuration.load(path, Configuration, environ, ENVIRONMENT_PREFIX)
