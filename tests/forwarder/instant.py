"""An event loop in which time passes only when nobody has anything to do, and then at once."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Selector(selectors.DefaultSelector):
    """Never waits: the time it was to wait has passed."""

    passed_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "everyone waits for something that nobody will do"
        self.passed_s += timeout
        return super().select(0)


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._passing = _Selector()
        super().__init__(self._passing)

    def time(self) -> float:
        return self._passing.passed_s


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end, like `asyncio.run`, however many seconds it sleeps."""
    with asyncio.Runner(loop_factory=_Loop) as runner:
        return runner.run(work)
