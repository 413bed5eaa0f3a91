"""All that Clima needs in Elasticsearch, as steps that can be shown, or done one by one."""

from __future__ import annotations

from clima_elk import steps
from clima_elk.elasticsearch import assets
from clima_elk.installed import installed
from clima_elk.steps import Order, Step
from clima_elk.streams import indices, streams
from clima_elk.transforms import transforms


async def plan(order: Order) -> list[Step]:
    """Every step, in the order in which they can be done; InstallError where it may not look."""
    by_ilm = await _by_ilm(order)
    planned = [
        *await steps.pipelines(order),
        *await steps.policies(order, by_ilm=by_ilm),
        *await steps.templates(order, by_ilm=by_ilm),
    ]
    return [
        *planned,
        *await streams(order, planned, by_ilm=by_ilm),
        *await indices(order, planned),
        *await transforms(order),
        *await steps.roles(order),
    ]


async def _by_ilm(order: Order) -> bool:
    """Whether ILM is what deletes: where there is nothing newer, or it does so already."""
    if order.server.lifecycle and order.server.ilm:
        there = [await installed(order.request, each) for each in assets("ilm_policies")]
        return any(there)
    return order.server.ilm
