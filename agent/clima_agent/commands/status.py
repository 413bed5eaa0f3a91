"""`clima-agent status`: the station on one screen: last values, spool, link, clock, board.

Looks only: it may run beside the agent, and when the agent does not.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from operator import itemgetter
from pathlib import Path
from typing import Any

import msgspec

from clima_agent import board, config, health, provenance
from clima_agent.cli import add_config
from clima_agent.clock import Keeper
from clima_agent.lock import exclusive
from clima_agent.spool import undated
from clima_agent.spool.file import SpoolDamagedError, SpoolFile
from clima_agent.spool.ledger import Ledger, ledgers_in
from clima_core import __version__, keys
from clima_core.errors import EXIT_OK, UnavailableError
from clima_core.reading import QUANTITIES

QUIET_S = 60.0  # and some readings: the newest ones may not be in the spool yet
HELP = "the station on one screen: last values, spool, link, clock, board"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add_config(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Print the state of the station."""
    found = _status(board.place(config.load(arguments.config, os.environ)))
    print(msgspec.json.encode(found).decode() if arguments.json else _as_text(found))
    return EXIT_OK


def _status(here: board.Place) -> dict[str, Any]:
    configured = here.config
    spool = _spool(configured.spool.directory / "spool.db")
    if spool is None:
        path = configured.spool.directory / "spool.db"
        raise UnavailableError(f"{path}: there is no spool yet; `clima-agent run` makes it")
    key_file = configured.identity.key_file
    known = Keeper(configured.clock.trust).known
    running = _running(configured)
    silence = _silence(configured, spool) if running else ()
    overdue = provenance.overdue(configured.calibration, datetime.now(UTC))
    return {
        "station": configured.station.id,
        "version": __version__,
        "running": running,
        "key": keys.fingerprint(keys.load(key_file).public) if key_file.exists() else None,
        "identity": _identity(here),
        **spool,
        "forwarders": [each.address for each in configured.forwarders],
        "time_known": known.how if known else None,
        "board": health.figures(configured.spool.directory),
        "throttling": health.throttling(),
        "calibration": provenance.entries(configured.calibration),
        "warnings": [*silence, *overdue],
    }


def _spool(path: Path) -> dict[str, Any] | None:
    """What a spool holds; None where there is none. UnavailableError where it cannot be read."""
    try:
        if not path.exists():
            return None
    except PermissionError:
        raise UnavailableError(f"{path}: not permitted; `sudo clima-agent status`") from None
    file = SpoolFile(path, read_only=True)
    try:
        ledgers = list(ledgers_in(file).values())
        lanes = [_lane(ledger) for ledger in ledgers]
        return {
            "spool_bytes": file.used_bytes,
            "waiting": sum(lane["waiting"] for lane in lanes),
            "undated": undated.count(file),
            "lanes": lanes,
            "oldest_waiting": _oldest_waiting(file, ledgers),
            "last": _last(file, ledgers),
        }
    except SpoolDamagedError as error:
        mend = "`clima-agent run` puts it aside when it starts, and saves what is left of it"
        raise UnavailableError(f"{error}; {mend}") from error
    finally:
        file.close()


def _identity(here: board.Place) -> dict[str, Any]:
    """Which board this is; and whose the card is, with what waits there, if it is not its own."""
    found: dict[str, Any] = {"board": here.board, "card_of": None}
    if here.other is not None:
        theirs = _spool(here.configured.spool.directory / "spool.db")
        waiting = theirs["waiting"] + theirs["undated"] if theirs else 0
        found |= {"card_of": here.other.station, "waiting_there": waiting}
    return found


def _lane(ledger: Ledger) -> dict[str, Any]:
    return {
        "journal": ledger.lane.journal,
        "stream": ledger.lane.stream,
        "since": ledger.since,
        "last": ledger.last,
        "waiting": len(ledger.waiting),
        "acknowledged": len(ledger.acknowledged),
        "dropped": {reason: len(ranges) for reason, ranges in ledger.dropped.items()},
    }


def _last(file: SpoolFile, ledgers: Sequence[Ledger]) -> dict[str, Any] | None:
    """The newest reading that has a time: when, what each sensor said, and what came of it."""
    readings = [
        msgspec.json.decode(body)
        for ledger in ledgers
        if ledger.lane.stream == "w" and ledger.last
        for body in file.bodies(ledger.number, ledger.last, ledger.last)
    ]
    newest = max(readings, key=itemgetter("@timestamp"), default=None)
    kept = ("@timestamp", "weather", "sensor", "quality")
    return newest and {name: newest[name] for name in kept if name in newest}


def _oldest_waiting(file: SpoolFile, ledgers: Sequence[Ledger]) -> datetime | None:
    firsts = [(ledger.number, first) for ledger in ledgers if (first := ledger.waiting.first)]
    times = [file.recorded(number, first) for number, first in firsts]
    return min((datetime.fromtimestamp(time, UTC) for time in times if time), default=None)


def _silence(configured: config.Configuration, spool: dict[str, Any]) -> Iterator[str]:
    """That there are no readings any more; of recordings, and before the time is known, nothing."""
    if spool["undated"] or any(sensor.recorded for sensor in configured.sensors):
        return
    last, now = spool["last"], datetime.now(UTC)
    at = datetime.fromisoformat(last["@timestamp"]) if last else None
    if at is None or (now - at).total_seconds() > QUIET_S + 3 * configured.sampling.interval_s:
        since = f"since {_short(at)}" if at else "yet"
        yield f"no reading {since}; `clima-agent check` says how the sensors are"


def _running(configured: config.Configuration) -> bool:
    try:
        with exclusive(configured.spool.directory / "spool.lock"):
            return False
    except UnavailableError:
        return True


def _as_text(found: dict[str, Any]) -> str:
    lines = [
        f"station   {found['station']}  ({'running' if found['running'] else 'not running'})",
        f"version   {found['version']}",
        f"key       {found['key'] or 'none yet; clima-agent enroll makes it'}",
        f"spool     {found['spool_bytes'] / 1e6:.1f} MB, {found['waiting']} records waiting",
        f"link      {_link(found)}",
        f"clock     {_clock(found)}",
        f"board     {_board(found)}",
        *_card(found["identity"]),
        "",
        *_values(found["last"]),
        "",
        f"{'journal':14}{'data':10}{'assigned':>10}{'acknowledged':>14}{'waiting':>10}  given up",
    ]
    names = {"w": "weather", "s": "station", "l": "log"}
    for lane in found["lanes"]:
        dropped = ", ".join(f"{count} {reason}" for reason, count in lane["dropped"].items())
        lines.append(
            f"{lane['journal']:14}{names[lane['stream']]:10}{lane['last']:>10}"
            f"{lane['acknowledged']:>14}{lane['waiting']:>10}  {dropped}".rstrip()
        )
    for each in found["calibration"]:
        dates = "".join(
            f", {word} {text}"
            for word, text in (
                ("certificate", each.certificate),
                ("of", each.date),
                ("due", each.due),
            )
            if text
        )
        lines.append(f"{each.sensor}, {each.quantity}: {each.correction}{dates}")
    lines += found["warnings"]
    return "\n".join(lines)


def _card(identity: dict[str, Any]) -> list[str]:
    """Only what is worth a line: that it is not this board's, or that this cannot be told."""
    if identity["board"] is None:
        return ["card      this machine has no serial number: a clone cannot be told"]
    if identity["card_of"] is None:
        return []
    holds = f"holds {identity['waiting_there']} records of it, which are not sent"
    return [
        f'card      is of "{identity["card_of"]}", on another board; {holds}',
        f"          {board.MEND}",
    ]


def _link(found: dict[str, Any]) -> str:
    """By what waits: whether a connection stands, only the agent knows."""
    if not found["forwarders"]:
        return "no forwarder is configured; readings stay here"
    addresses = ", ".join(found["forwarders"])
    oldest = found["oldest_waiting"]
    return f"{addresses}; " + (f"waiting since {_short(oldest)}" if oldest else "nothing waits")


def _clock(found: dict[str, Any]) -> str:
    says = {"kernel": "right, as the kernel says", "system": "the system's, trusted"}
    now = says.get(found["time_known"], "the kernel says that it is not synchronised")
    undated = found["undated"]
    return now + (f"; the time is not known yet: {undated} records wait for it" if undated else "")


def _board(found: dict[str, Any]) -> str:
    board = found["board"]
    parts = []
    if "cpu_temperature" in board:
        parts.append(f"{board['cpu_temperature']:.0f} °C")
    if "disk_free" in board:
        parts.append(f"{board['disk_free'] / 1e9:.1f} GB free")
    if "wifi_signal" in board:
        parts.append(f"Wi-Fi {board['wifi_signal']:.0f} dBm")
    return ", ".join(parts + (found["throttling"] or []))


def _values(last: dict[str, Any] | None) -> list[str]:
    """The last reading, a line per quantity: the value, what the sensors said, the flags."""
    if last is None:
        return ["no reading with a time yet"]
    lines = [f"{'last reading':40}{_short(datetime.fromisoformat(last['@timestamp']))}"]
    for quantity, value in last.get("weather", {}).items():
        shown = "–" if value is None else f"{value:g} {QUANTITIES[quantity].unit}"
        said = (
            f"{name} {values[quantity]:g}"
            for name, values in last.get("sensor", {}).items()
            if values.get(quantity) is not None
        )
        flags = last.get("quality", {}).get(quantity, [])
        lines.append(f"  {quantity:38}{shown:16}{', '.join((*said, *flags))}".rstrip())
    return lines


def _short(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
