"""Is all that `clima provision` installs there, and of this version?"""

from __future__ import annotations

from clima_elk.elasticsearch import InstallError
from clima_elk.provision import plan
from clima_elk.server import detect
from clima_elk.steps import Order
from clima_forwarder.doctor.finding import Finding, UncheckedError, ok, warning
from clima_forwarder.doctor.site import MAY_NOT, Site

NAME = "templates"

SHOWN = 5


async def look(site: Site) -> list[Finding]:
    """What provisioning would change now, as its dry run plans it."""
    if site.elasticsearch is None:
        return []
    connection = await site.operator()
    request = connection.exchange
    try:
        steps = await plan(Order(request, await detect(request)))
    except InstallError as error:
        if error.status == 403:
            raise UncheckedError(MAY_NOT) from error
        raise UncheckedError(f"Elasticsearch answered {error.status} to {error.path}") from error
    pending = [f"{step.what} {step.name}: {step.state}" for step in steps if step.changes]
    if not pending:
        return [ok(f"all {len(steps)} templates and the like are there, and current")]
    more = f" and {len(pending) - SHOWN} more" if len(pending) > SHOWN else ""
    return [warning("; ".join(pending[:SHOWN]) + more, site.command("provision"))]
