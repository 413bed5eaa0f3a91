"""Runs all checks at once, each within a bound, so that a dead host holds up none of the others."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import ModuleType

from clima_core.errors import ClimaError
from clima_forwarder.doctor import (
    access,
    clocks,
    cluster,
    deadletters,
    disk,
    forwarder,
    keys,
    links,
    logstash,
    stations,
    templates,
    versions,
)
from clima_forwarder.doctor.finding import Finding, unchecked
from clima_forwarder.doctor.site import Site

CHECKS: tuple[ModuleType, ...] = (
    links,
    access,
    versions,
    cluster,
    disk,
    templates,
    logstash,
    deadletters,
    forwarder,
    keys,
    clocks,
    stations,
)
CHECK_S = 9.0  # of each check, for a connection and an answer; they all run side by side


async def examine(site: Site, checks: Sequence[ModuleType] = CHECKS) -> list[Finding]:
    """All checks' findings, in their order; for what could not be checked, a line a reason."""
    found = await asyncio.gather(*(_looked(check, site) for check in checks))
    return _merged([finding for findings in found for finding in findings])


async def _looked(check: ModuleType, site: Site) -> list[Finding]:
    try:
        async with asyncio.timeout(CHECK_S):
            findings: list[Finding] = await check.look(site)
    except TimeoutError:
        findings = [unchecked(f"took longer than {CHECK_S:g} s")]
    except ClimaError as error:
        findings = [unchecked(" ".join(str(error).split()))]
    except Exception as error:  # noqa: BLE001 - one check's fault must not hide what others found
        findings = [unchecked(f"a fault in Clima, please report it: {error!r}")]
    return [Finding(each.state, each.text, each.mend, check.NAME) for each in findings]


def _merged(findings: Sequence[Finding]) -> list[Finding]:
    """One dead server is one line, and not one for each thing that it could not be asked."""
    whom: dict[str, list[str]] = {}
    for each in findings:
        if each.state == "unchecked":
            whom.setdefault(each.text, []).append(each.check)
    rest = [each for each in findings if each.state != "unchecked"]
    return rest + [
        Finding("unchecked", reason, "", ", ".join(dict.fromkeys(names)))
        for reason, names in whom.items()
    ]
