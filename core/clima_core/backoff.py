"""How long to wait before trying again: capped, exponential, and not in step with the others."""

from __future__ import annotations

import random


def pause_s(failures: int, first_s: float, cap_s: float) -> float:
    """Seconds to wait after so many failures in a row; up to half of it is left to chance."""
    longest = min(cap_s, first_s * float(2 ** min(failures, 10)))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, not a secret
