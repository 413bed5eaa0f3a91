"""Can the keys of forwarder and stations be read, and is every secret the one that counts?"""

from __future__ import annotations

from clima_core import keys
from clima_core.errors import ConfigurationError
from clima_forwarder.doctor.finding import Finding, broken, ok, warning
from clima_forwarder.doctor.site import Site
from clima_forwarder.rotation import unfinished
from clima_forwarder.stations import Stations

NAME = "keys"


async def look(site: Site) -> list[Finding]:
    """The forwarder's pair, files that shut a station out, and renewals that were stopped."""
    configured = site.config.stations
    found = [
        broken(f"the renewal of {name} was stopped half-way", f"{site.command('rotate')} {name}")
        for name in unfinished(site.vault)
    ]
    _, problems = Stations(configured.directory).read()
    mend = f"let that station in again: {site.command('stations add')} ID KEY --replace"
    found += [broken(problem, mend) for problem in sorted(problems)]
    if not configured.key_file.exists():
        said = f"{configured.key_file}: no key yet; the forwarder makes it at its first start"
        return [warning(said, site.restart("forwarder")), *found]
    try:
        pair = keys.load(configured.key_file)
    except ConfigurationError as error:
        return [broken(str(error), f"{site.command('restore')}, if there is a backup"), *found]
    return [ok(f"the forwarder's key reads {keys.fingerprint(pair.public)}"), *found]
