"""What befalls a station on a roof in some hours, drawn from a seed: the same one, the same fate.

Times are seconds since the simulation began, or since the boot where it says so.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Literal

HOUR = 3600.0
Shown = Literal["saved", "epoch", "future", "right"]
Link = Literal["up", "cut", "silent"]
Fault = Literal["gone", "stuck", "noisy", "hung"]


@dataclass(frozen=True)
class Boot:
    """One life of the station, up to a power cut."""

    off_s: float  # before it
    up_s: float
    shows: Shown  # what the clock says at the start
    ntp_after_s: float | None  # when it is set right; None: never in this life
    wrong_s: float  # by how much that is wrong, as NTP over a bad line is
    set_by_hand: tuple[float, float] | None  # when, and how far ahead
    struck_after: int  # operations of the disk at the power cut
    torn: bool  # some of what was not synced is on the disk


@dataclass(frozen=True)
class Fate:
    """Everything that happens."""

    boots: list[Boot]
    links: list[tuple[float, Link]] = field(default_factory=list)
    forwarder_dies: list[float] = field(default_factory=list)
    faults: list[tuple[float, str, Fault, float]] = field(default_factory=list)  # … chip, how long
    drift: float = 0.0  # of a crystal that nothing corrects


def drawn(seed: int, hours: float) -> Fate:
    """The fate of so many hours; in the last of them there is a network, and the right time."""
    chance = random.Random(seed)
    return Fate(
        boots=_boots(chance, hours * HOUR),
        links=_links(chance, hours * HOUR),
        forwarder_dies=sorted(chance.uniform(0, hours * HOUR) for _ in range(2)),
        faults=_faults(chance, hours * HOUR),
        drift=chance.uniform(-40e-6, 40e-6),
    )


def _boots(chance: random.Random, total_s: float) -> list[Boot]:
    boots: list[Boot] = []
    lived_s = 0.0
    while lived_s < total_s:
        off_s = chance.choice([5.0, 60.0, 600.0, chance.expovariate(1 / HOUR)])
        mean_s = chance.choice([30.0, 600.0, 4 * HOUR, 12 * HOUR])
        up_s = min(chance.expovariate(1 / mean_s), max(1.0, total_s - lived_s))
        lived_s += off_s + up_s
        boots.append(_boot(chance, off_s, up_s))
    return [*boots, Boot(60.0, HOUR, "epoch", 20.0, 0.0, None, 0, torn=False)]


def _boot(chance: random.Random, off_s: float, up_s: float) -> Boot:
    never, soon, late = None, chance.uniform(2, 90), chance.uniform(0, 3 * HOUR)
    by_hand = (chance.uniform(0, up_s), chance.choice([-86400.0, -7.0, 7.0, 3600.0, 4e7]))
    return Boot(
        off_s=off_s,
        up_s=up_s,
        shows=chance.choice(["saved", "saved", "epoch", "future", "right"]),
        ntp_after_s=chance.choice([never, soon, soon, late]),
        wrong_s=chance.uniform(-0.3, 0.3),
        set_by_hand=by_hand if chance.random() < 0.4 else None,
        struck_after=chance.choice([0, chance.randrange(60)]),
        torn=chance.random() < 0.7,
    )


def _links(chance: random.Random, total_s: float) -> list[tuple[float, Link]]:
    changes: list[tuple[float, Link]] = []
    at = 0.0
    while (at := at + chance.expovariate(1 / (2 * HOUR))) < total_s:
        changes.append((at, chance.choice(["cut", "silent"])))
        at += chance.expovariate(1 / chance.choice([20.0, HOUR, 4 * HOUR]))
        changes.append((at, "up"))
    return changes


def _faults(chance: random.Random, total_s: float) -> list[tuple[float, str, Fault, float]]:
    kinds: list[Fault] = ["gone", "stuck", "noisy", "hung"]
    every = [(kind, chip) for kind in kinds for chip in ("htu21d", "bmp180")]
    return [
        (chance.uniform(0, total_s), chip, kind, chance.expovariate(1 / HOUR))
        for kind, chip in 3 * every
    ]
