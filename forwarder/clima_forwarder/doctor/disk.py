"""How much room is left where Elasticsearch stores, as its own watermarks count it?"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import NamedTuple

import msgspec

from clima_forwarder.doctor.finding import Finding, broken, ok, warning
from clima_forwarder.doctor.site import Site
from clima_forwarder.outputs import sqlite

NAME = "disk"

SQLITE_LEAST = 500_000_000  # bytes free that leave time to do something about it
_UNITS = {"b": 1, "kb": 2**10, "mb": 2**20, "gb": 2**30, "tb": 2**40, "pb": 2**50}
_MEND = "make room, or add a disk; at the flood stage Elasticsearch refuses every write"


class _Total(msgspec.Struct, frozen=True):
    total_in_bytes: int
    available_in_bytes: int


class _Files(msgspec.Struct, frozen=True):
    total: _Total


class _Node(msgspec.Struct, frozen=True):
    name: str
    fs: _Files


class _Nodes(msgspec.Struct, frozen=True):
    nodes: dict[str, _Node]


class Watermarks(NamedTuple):
    """Bytes that must be free: without `low` no shard comes here, without `flood` no write."""

    low: float
    high: float
    flood: float


async def look(site: Site) -> list[Finding]:
    """One line per node, or one for the SQLite file's disk."""
    if isinstance(site.config.output, sqlite.Options):
        return [_sqlite(site.config.output.path)]
    if site.elasticsearch is None:
        return []
    stats = await site.ask("/_nodes/stats/fs", _Nodes)
    settings = await site.ask(
        "/_cluster/settings",
        dict[str, dict[str, object]],
        include_defaults="true",
        flat_settings="true",
    )
    return [_node(node, settings) for node in stats.nodes.values()]


def _node(node: _Node, settings: dict[str, dict[str, object]]) -> Finding:
    total, free = node.fs.total.total_in_bytes, node.fs.total.available_in_bytes
    marks = watermarks(settings, total)
    said = f"{node.name}: {size(free)} of {size(total)} free"
    if not marks.flood:
        mend = "PUT /_cluster/settings: cluster.routing.allocation.disk.threshold_enabled null"
        return warning(f"{said}; its watermarks are off, so nothing keeps it from filling", mend)
    if free < marks.flood:
        return broken(f"{said}, and the flood stage is at {size(marks.flood)}", _MEND)
    if free < marks.high:
        return broken(f"{said}; nothing new fits below {size(marks.high)} (high watermark)", _MEND)
    if free < marks.low:
        return warning(f"{said}; new indices want {size(marks.low)} (low watermark)", _MEND)
    return ok(f"{said}; writing ends at {size(marks.flood)}")


def watermarks(settings: dict[str, dict[str, object]], total: int) -> Watermarks:
    """What the server was told, transient over persistent over its defaults."""
    merged = {
        name: str(value)
        for kind in ("defaults", "persistent", "transient")
        for name, value in settings.get(kind, {}).items()
    }
    prefix = "cluster.routing.allocation.disk.watermark."
    if merged.get("cluster.routing.allocation.disk.threshold_enabled") == "false":
        return Watermarks(0, 0, 0)
    usual = {"low": "85%", "high": "90%", "flood_stage": "95%"}
    return Watermarks(
        *(
            _least_free(
                merged.get(prefix + name, default),
                merged.get(f"{prefix}{name}.max_headroom", "-1"),
                total,
            )
            for name, default in usual.items()
        )
    )


def _least_free(mark: str, headroom: str, total: int) -> float:
    """A share that may be used, or bytes that stay free; the headroom bounds what a share asks."""
    if mark.endswith("%"):
        free = total * (1 - float(mark[:-1]) / 100)
        return min(free, _bytes(headroom)) if headroom != "-1" else free
    if re.fullmatch(r"0?\.\d+|[01]\.?\d*", mark):
        return total * (1 - float(mark))
    return _bytes(mark)


def _bytes(text: str) -> float:
    found = re.fullmatch(r"([\d.]+)\s*([a-z]+)", text.lower())
    return float(found[1]) * _UNITS.get(found[2], 1) if found else 0


def _sqlite(path: Path) -> Finding:
    folder = next(each for each in (path.parent, *path.parents) if each.exists())
    free = shutil.disk_usage(folder).free
    said = f"{size(free)} free beside {path}"
    if free < SQLITE_LEAST:
        return broken(said, "make room; stations hold their readings meanwhile")
    return ok(said)


def size(amount: float) -> str:
    """Bytes for people."""
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.3g} {unit}"
        amount /= 1000
    return f"{amount:.3g} TB"
