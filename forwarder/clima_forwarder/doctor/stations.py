"""Does every station send as often as it usually does, and what does it still hold?"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from clima_forwarder.doctor.finding import Finding, broken, ok, warning
from clima_forwarder.doctor.readings import Seen, newest, waiting
from clima_forwarder.doctor.site import Site

NAME = "stations"

PATIENCE = 3  # of its usual intervals
UNDER_WAY = timedelta(seconds=90)  # the spool's window, a batch, a refresh
SILENT = timedelta(days=1)
CONNECTED = timedelta(minutes=5)  # since it last reported; unchanged reports are not kept
BEHIND = timedelta(minutes=15)
ON_THE_PI = "and on the Pi: clima-agent enroll ADDRESS-OF-THIS-HOST"
SHOWN = 20  # stations that are well are listed by name up to here


async def look(site: Site) -> list[Finding]:
    """One line per station; many that are well are one."""
    now = datetime.now(UTC)
    seen = await newest(site)
    if not seen:
        return [warning("no station is let in", f"{site.command('stations add')}, {ON_THE_PI}")]
    found = [each for station in seen for each in judged(site, station, now)]
    well = [each for each in found if each.state == "ok"]
    if len(well) <= SHOWN:
        return found
    rest = [each for each in found if each.state != "ok"]
    return [*rest, ok(f"{len(well)} stations read as they usually do")]


def judged(site: Site, seen: Seen, now: datetime) -> list[Finding]:
    """Its last reading, and what is not stored yet where there is much of it."""
    return [_last(site, seen, now), *_backlog(seen, now), *_silent(site, seen)]


def _last(site: Site, seen: Seen, now: datetime) -> Finding:
    if not seen.times:
        said = f"{seen.station}: let in {seen.added or 'some time ago'}, and no reading ever came"
        if seen.report:
            return warning(f"{said}; but it has connected", "clima-agent status, on the Pi")
        return warning(
            said,
            "on the Pi: clima-agent enroll says whether it reaches the forwarder, with which key",
        )
    age = now - seen.times[0]
    usual = seen.interval_s
    said = f"{seen.station}: last reading {ago(age)} ago"
    if usual is not None:
        said += f", usually one each {ago(timedelta(seconds=usual))}"
    if age > SILENT and seen.report and now - seen.report.reported < CONNECTED:
        return warning(
            f"{said}, though it is connected",
            "a recording, a wrong clock, or sensors that fail: clima-agent status, on the Pi",
        )
    if age > SILENT:
        mend = f"see to it; {site.command('stations revoke')} {seen.station} if it is no more"
        return broken(said, mend)
    if age > PATIENCE * timedelta(seconds=usual or 0) + UNDER_WAY:
        return warning(said, "is it on, and in the network? clima-agent status, on the Pi")
    return ok(said)


def _backlog(seen: Seen, now: datetime) -> list[Finding]:
    """What it holds that is not stored yet; it says so with each heartbeat."""
    if seen.report is None:
        return []
    count = waiting(seen.report)
    behind = timedelta(seconds=count * (seen.interval_s or 10.0))
    if behind < BEHIND:
        return []
    reported = ago(now - seen.report.reported)
    said = f"{seen.station}: {count} readings ({ago(behind)}) wait on it, it said {reported} ago"
    return [warning(said, "nothing is lost; they come when the chain above is well")]


def _silent(site: Site, seen: Seen) -> list[Finding]:
    if not seen.silent:
        return []
    said = f"{seen.station}: {seen.silent} readings are on a card that speaks no more"
    return [warning(said, f"{site.command('audit')} says since when, and which journal's it is")]


def ago(span: timedelta) -> str:
    """A span for people, in the largest unit of which there are two."""
    seconds = max(0.0, span.total_seconds())
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
