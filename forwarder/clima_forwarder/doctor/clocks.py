"""Do all clocks tell the same time? A reading has its station's, and a key ends by the server's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import msgspec

from clima_forwarder.doctor.finding import Finding, UncheckedError, broken, ok, together, warning
from clima_forwarder.doctor.readings import newest
from clima_forwarder.doctor.site import Site

NAME = "clocks"

TOLERATED_S = 2.0  # a Date header has whole seconds
WRONG_S = 60.0
HEARD_LATELY = timedelta(hours=1)
_HOST = "set the host's clock; WSL2 after sleep: wsl --shutdown, or hwclock -s"
_PI = "on the Pi: timedatectl; a Pi without a battery needs the network's time"


class _Node(msgspec.Struct, frozen=True):
    timestamp: int


class _Nodes(msgspec.Struct, frozen=True):
    nodes: dict[str, _Node]


async def look(site: Site) -> list[Finding]:
    """Elasticsearch's and the forwarder's clock against ours, and stations' against theirs."""
    return await together(_elasticsearch(site), _forwarder(site), _stations(site))


async def _elasticsearch(site: Site) -> list[Finding]:
    """Elasticsearch sends no Date header; each node's statistics say when they were taken."""
    if site.elasticsearch is None:
        return []
    await site.operator()  # connected, and known: what follows takes one round trip
    asked = datetime.now(UTC)
    stats = await site.ask("/_nodes/stats/os", _Nodes, filter_path="nodes.*.timestamp")
    came = datetime.now(UTC)
    return [
        _judged("Elasticsearch", datetime.fromtimestamp(each.timestamp / 1000, UTC), asked, came)
        for each in stats.nodes.values()
    ]


async def _forwarder(site: Site) -> list[Finding]:
    answer = await site.get(f"{site.forwarder}/healthz")
    if "date" not in answer.headers:
        raise UncheckedError("the forwarder does not tell the time")
    date = parsedate_to_datetime(answer.headers["date"]) + timedelta(seconds=0.5)
    return [_judged("the forwarder", date, answer.asked, answer.came)]


def _judged(whose: str, theirs: datetime, asked: datetime, came: datetime) -> Finding:
    """Their time against ours, which lay between these two when they told it."""
    ahead = max((theirs - came).total_seconds(), 0) + min((theirs - asked).total_seconds(), 0)
    if abs(ahead) <= TOLERATED_S:
        return ok(f"{whose}: as here")
    said = f"{whose}: its clock is {_words(ahead)} ours ({datetime.now(UTC):%H:%M:%S} UTC)"
    return broken(said, _HOST) if abs(ahead) > WRONG_S else warning(said, _HOST)


async def _stations(site: Site) -> list[Finding]:
    """What each station found when it compared; and a reading from the future is no doubt."""
    now = datetime.now(UTC)
    seen = await newest(site)
    found = []
    for each in seen:
        # Of a reading's age nothing follows: a station may be silent, or report by the hour.
        ahead = max((each.times[0] - now).total_seconds(), 0.0) if each.times else 0.0
        heard_lately = each.said is not None and now - each.said.time < HEARD_LATELY
        if ahead <= TOLERATED_S and each.said and heard_lately:
            # How far the forwarder's clock is ahead of the station's.
            ahead = -(each.said.health.clock_offset or 0.0)
        if abs(ahead) > TOLERATED_S:
            said = f"{each.station}: its clock is {_words(ahead)} the forwarder's"
            found.append(broken(said, _PI) if abs(ahead) > WRONG_S else warning(said, _PI))
    compared = sum(each.said is not None for each in seen) - len(found)
    return found or ([ok(f"{compared} stations agree with the forwarder")] if compared > 0 else [])


def _words(ahead_s: float) -> str:
    return f"{abs(ahead_s):.1f} s {'ahead of' if ahead_s > 0 else 'behind'}"
