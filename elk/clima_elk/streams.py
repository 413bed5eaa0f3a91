"""The data streams and plain indices themselves, once their templates are there.

They are made before the first record comes, so that dashboards and transforms find them, and
nobody needs the privilege to make them but who provisions. What a newer template says counts at
once: a data stream gets a new backing index, a plain index the new fields. So it does later, where
an index lacks fields of its template: whoever put that may have stopped there, or been a forwarder,
or the index has come back from an older backup.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from clima_elk.elasticsearch import RETENTION, Body, InstallError, assets
from clima_elk.installed import State
from clima_elk.retention import (
    KEPT,
    DataStream,
    Window,
    data_streams,
    duration,
    lifecycle,
    said,
)
from clima_elk.retention import RETENTION as DEFAULTS
from clima_elk.steps import Do, Order, Step, call

OURS = "metrics-clima.*,logs-clima.*,clima-*"
"""All data streams and indices of Clima, whatever their namespace."""

JOURNALS = "clima-journals"
ALERTS = "clima-alerts"
SUMMARIES = ("clima-daily", "clima-monthly", "clima-stations")


async def streams(order: Order, planned: Sequence[Step], *, by_ilm: bool) -> list[Step]:
    """What there is to do with each data stream, after these steps."""
    there = await existing(order)
    managed = await data_streams(order.request) if order.server.data_streams else {}
    renewed = changed(planned)
    steps = []
    for kept, names in KEPT.items():
        for name in names:
            if name in there:
                if f"clima-{_data_set(name)}" in renewed or await _lags(order, name):
                    do = _done(order, "POST", f"/{name}/_rollover", said="rolled over")
                    steps.append(Step("data stream", name, State.OLDER, do))
                if name in managed:
                    steps += _retention(order, managed[name], kept, by_ilm=by_ilm)
            elif order.server.data_streams:
                do = _done(order, "PUT", f"/_data_stream/{name}")
                steps.append(Step("data stream", name, State.MISSING, do))
    return steps


async def indices(order: Order, planned: Sequence[Step]) -> list[Step]:
    """The plain ones; a summary only where something writes it."""
    renewed = changed(planned)
    names = [JOURNALS, ALERTS, *(SUMMARIES if order.server.summaries else ())]
    return [await _index(order, name, renewed=name in renewed) for name in names]


class _Named(msgspec.Struct, frozen=True):
    name: str


class Resolved(msgspec.Struct, frozen=True):
    """What there is of some names."""

    indices: list[_Named] = []
    data_streams: list[_Named] = []


async def existing(order: Order) -> list[str]:
    """All of Clima's data streams and plain indices that there are, whatever their namespace."""
    answer = await call(order, "GET", f"/_resolve/index/{OURS}")
    found = msgspec.json.decode(answer, type=Resolved)
    return [each.name for each in (*found.data_streams, *found.indices)]


def changed(planned: Sequence[Step]) -> set[str]:
    """The index templates whose mappings or settings these steps change."""
    names = {
        step.name
        for step in planned
        if "template" in step.what and step.changes and not step.name.startswith(RETENTION)
    }
    return {
        each.name
        for each in assets("index_templates")
        if names & {each.name, *each.body["composed_of"]}
    }


def _data_set(data_stream: str) -> str:
    """`weather` of `metrics-clima.weather-default`."""
    return data_stream.split("-")[1].removeprefix("clima.")


def _retention(order: Order, stream: DataStream, kept: str, *, by_ilm: bool) -> list[Step]:
    """Give a data stream a retention that has none, or another that was asked for."""
    path, body = f"/{stream.name}/_settings", {"index.lifecycle.name": f"clima-{kept}"}
    if by_ilm or stream.ilm_policy:  # how long, the policy says
        managed = bool(stream.ilm_policy or (stream.lifecycle and not by_ilm))
        wanted = f"by policy clima-{kept}"
    elif order.server.lifecycle:
        asked: Window = order.retention.get(kept, DEFAULTS[kept])
        now = duration(stream.lifecycle.data_retention) if stream.lifecycle else None
        managed = stream.lifecycle is not None and (kept not in order.retention or now == asked)
        path, body = f"/_data_stream/{stream.name}/_lifecycle", lifecycle(asked)
        wanted = said(asked)
    else:
        return []
    if managed:
        return []
    state = "has another" if stream.lifecycle else State.MISSING
    return [Step("retention", stream.name, state, _done(order, "PUT", path, body), wanted)]


async def _index(order: Order, name: str, *, renewed: bool) -> Step:
    status, answer = await order.request("GET", f"/{name}/_mapping", None)
    if status == 404:
        return Step("index", name, State.MISSING, _done(order, "PUT", f"/{name}"))
    if status != 200:
        raise InstallError(f"/{name}", status, answer)
    if renewed or await _lags(order, name):
        return Step("index", name, State.OLDER, _new_fields(order, name))
    return Step("index", name, State.SAME)


def _new_fields(order: Order, name: str) -> Do:
    """A field that is there stays of the kind that it is: no index can change that."""

    async def do() -> str:
        wanted, (there,) = await _wanted(order, name), (await _mappings(order, name)).values()
        await call(
            order, "PUT", f"/{name}/_mapping", wanted | {"properties": {}} | _absent(wanted, there)
        )
        return "has the new fields"

    return do


async def _lags(order: Order, name: str) -> bool:
    """Whether the index, or the newest one of the data stream, lacks a field of its template."""
    there = await _mappings(order, name)
    return bool(_absent(await _wanted(order, name), there[max(there, key=_generation)]))


async def _wanted(order: Order, name: str) -> Body:
    """The mappings that an index of this name would have if it were made now."""
    simulated = await call(order, "POST", f"/_index_template/_simulate_index/{name}")
    mappings: Body = msgspec.json.decode(simulated)["template"].get("mappings", {})
    return mappings


async def _mappings(order: Order, name: str) -> dict[str, Body]:
    """Those of the index, or of each that the data stream is made of."""
    found = msgspec.json.decode(await call(order, "GET", f"/{name}/_mapping"))
    return {index: each["mappings"] for index, each in found.items()}


def _generation(index: str) -> int:
    """Of a backing index, `.ds-NAME-DATE-GENERATION`."""
    number = index.rpartition("-")[2]
    return int(number) if number.isdecimal() else 0


def _absent(wanted: Body, there: Body) -> Body:
    """The part of a mapping with the fields that the other one has not; empty if it has all."""
    known, found = there.get("properties", {}), {}
    for name, field in wanted.get("properties", {}).items():
        if name not in known:
            found[name] = field
        elif inside := _absent(field, known[name]):
            found[name] = inside
    return {"properties": found} if found else {}


def _done(order: Order, method: str, path: str, body: Body | None = None, said: str = "made") -> Do:
    async def do() -> str:
        await call(order, method, path, body)
        return said

    return do
