"""What the forwarder says of itself: can it store, and who troubles it?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from clima_forwarder.doctor.finding import Finding, UncheckedError, broken, ok, warning
from clima_forwarder.doctor.site import Site

NAME = "forwarder"


async def look(site: Site) -> list[Finding]:
    """Whether it is ready, and the counters that somebody should know of."""
    ready = await site.get(f"{site.forwarder}/readyz")
    counters = await site.get(f"{site.forwarder}/metrics")
    answer = ready.json()
    if not isinstance(answer, dict) or "problems" not in answer:
        raise UncheckedError(f"{site.forwarder} is not the forwarder")
    values = dict(_values(counters.body.decode(errors="replace")))
    return [*_ready(site, answer, values), *_troubled(site, values)]


def _ready(site: Site, answer: Any, values: dict[str, float]) -> list[Finding]:
    problems: dict[str, str] = answer["problems"]
    if problems:
        mend = f"mend what is broken above; {site.restart('forwarder')}"
        return [
            broken(f"it is not ready: {name}: {' '.join(why.split())}", mend)
            for name, why in problems.items()
        ]
    return [ok(f"it stores, and {values.get('clima_sessions', 0):.0f} stations are connected")]


def _troubled(site: Site, values: dict[str, float]) -> list[Finding]:
    """Counted since its start."""
    found = []
    if clones := values.get("clima_cloned_keys_total"):
        found.append(
            warning(
                f"{clones:.0f} times two devices used one station's key at once (a cloned card)",
                "the log's station_cloned names it: give one a key of its own with"
                f" {site.command('stations add')}, or {site.command('stations revoke')} ID",
            )
        )
    if revoked := values.get("clima_messages_refused_total{revoked}"):
        found.append(
            warning(
                f"{revoked:.0f} messages came from stations that were put out",
                "the log's station_put_out names the key; switch that station off",
            )
        )
    if protocol := values.get("clima_messages_refused_total{protocol}"):
        found.append(
            warning(
                f"{protocol:.0f} messages were no messages of Clima's",
                "the log's message_refused says which station's; update its agent",
            )
        )
    if conflicts := values.get("clima_records_total{conflict}"):
        found.append(
            warning(
                f"{conflicts:.0f} records had the identity of another one",
                "a cloned or restored card; the station numbers its records anew by itself",
            )
        )
    return found


def _values(text: str) -> Iterator[tuple[str, float]]:
    """Each sample as `name` or `name{value of its label}`."""
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(sample.labels.values())
            yield (f"{sample.name}{{{labels}}}" if labels else sample.name), sample.value
