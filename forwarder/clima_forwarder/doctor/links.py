"""Does every name resolve, every port answer, and is it what it should be that answers?"""

from __future__ import annotations

import asyncio
import os
import socket
from typing import NamedTuple
from urllib.parse import urlsplit

from clima_core.errors import UnavailableError
from clima_forwarder.doctor.finding import Finding, broken, ok, unchecked, warning
from clima_forwarder.doctor.site import ANSWER_S, Site

NAME = "links"

PAIRING = "pairing"
_GREETING = b"\xff\0\0\0\0\0\0\0\1\x7f\3"  # how ZMTP 3 begins: https://rfc.zeromq.org/spec/23/
_MECHANISM = slice(12, 32)


class Target(NamedTuple):
    """One port that something else in the chain talks to."""

    service: str
    what: str
    host: str
    port: int
    speaks: str  # a URL, the security mechanism of a ZeroMQ socket, or PAIRING
    login: bool = False  # a 401 is the right answer to a stranger


async def look(site: Site) -> list[Finding]:
    """One line per port."""
    return list(await asyncio.gather(*(_looked(site, target) for target in targets(site))))


def targets(site: Site) -> list[Target]:
    """Every port of what is configured."""
    urls = [("forwarder", "health", f"{site.forwarder}/healthz", False)]
    if site.elasticsearch:
        urls.append(("elasticsearch", "Elasticsearch", site.elasticsearch.url, True))
    if site.logstash:
        urls.append(("logstash", "Logstash's input", site.logstash.url, True))
        urls.append(("logstash", "Logstash's statistics", site.logstash.statistics_url, True))
    if site.kibana:
        urls.append(("kibana", "Kibana", f"{site.kibana}/api/status", True))
    found = [_http(*each) for each in urls]
    listen = site.reachable(site.config.stations.listen)
    feed = site.reachable(site.config.feed.address)
    found.append(Target("forwarder", "stations' port", *listen, "CURVE"))
    found.append(Target("forwarder", "live feed", *feed, "NULL"))
    if site.config.pairing.enabled:
        pairing = site.reachable(site.config.pairing.listen)
        found.append(Target("forwarder", "pairing port", *pairing, PAIRING))
    return found


def _http(service: str, what: str, url: str, login: bool) -> Target:
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 80)
    return Target(service, what, parts.hostname or "", port, url, login)


async def _looked(site: Site, target: Target) -> Finding:
    where = f"{target.what} at {target.host}:{target.port}"
    if target.port == 0:
        return unchecked(f"{where}: the system chooses its port at each start")
    problem = await _unreached(target)
    if target.speaks == PAIRING:  # no reading depends on it
        mend = "its log says why: pairing_not_open"
        return warning(f"{where}: {problem}", mend) if problem else ok(f"{where} answers")
    if problem:
        return broken(f"{where}: {problem}", site.restart(target.service))
    problem = await (_not_zeromq(target) if "://" not in target.speaks else _no_http(site, target))
    if problem:
        return broken(f"{where}: {problem}", site.restart(target.service))
    return ok(f"{where} answers")


async def _unreached(target: Target) -> str | None:
    """Why no connection comes about."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(ANSWER_S):
            await loop.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
            _, writer = await asyncio.open_connection(target.host, target.port)
    except socket.gaierror:
        return f'the name "{target.host}" does not resolve'
    except TimeoutError:
        return f"no connection within {ANSWER_S:g} s"
    except OSError as error:
        return f"no connection: {os.strerror(error.errno) if error.errno else error}"
    writer.close()
    return None


async def _no_http(site: Site, target: Target) -> str | None:
    try:
        answer = await site.get(target.speaks)
    except UnavailableError as error:
        return f"the port is open, but {error}"
    if answer.status == 401 and target.login:
        return None
    # What refuses a GET (405, 400) speaks HTTP well enough.
    return f"answers {answer.status}" if answer.status == 429 or answer.status >= 500 else None


async def _not_zeromq(target: Target) -> str | None:
    """Greet it as a peer would: a socket of ZeroMQ answers with the mechanism it asks for."""
    try:
        async with asyncio.timeout(ANSWER_S):
            reader, writer = await asyncio.open_connection(target.host, target.port)
            try:
                writer.write(_GREETING)
                greeting = await reader.readexactly(_MECHANISM.stop)
            finally:
                writer.close()
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        return "something answers that does not speak ZeroMQ; is another program on this port?"
    mechanism = greeting[_MECHANISM].rstrip(b"\0").decode("ascii", "replace")
    if greeting[0] != 0xFF or mechanism != target.speaks:
        return f"what answers does not speak ZeroMQ with {target.speaks}"
    return None
