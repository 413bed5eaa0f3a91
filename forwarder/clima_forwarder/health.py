"""What is wrong, set where it goes wrong, and told to whoever asks.

`/readyz` says it, the log says each change once, and the credit that stations get follows it:
while the store does not take anything, none is given, so that nothing piles up here. That it
takes no dead letters alone is said as well, and costs nobody any credit: readings go on. A station
sends those again each minute; where none comes any more, it has been let go, or stored in the end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import structlog

log = structlog.get_logger("clima_forwarder.health")

LETTERS_S = 300.0  # since the last one that was not kept; several of `batches.RETRY_LETTERS_S`
_LETTERS = "dead letters"


class Health:
    """The forwarder's state of health; empty `problems` means ready."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._problems: dict[str, str] = {"store": "not opened yet"}
        self.store_is_open = False
        self._letters_until = 0.0
        self._listeners: list[Callable[[], None]] = []

    @property
    def problems(self) -> Mapping[str, str]:
        """What is wrong now, by what it is wrong with."""
        if _LETTERS in self._problems and self._monotonic() >= self._letters_until:
            del self._problems[_LETTERS]
            log.info("dead_letters_gone")
        return self._problems

    @property
    def store_works(self) -> bool:
        return "store" not in self._problems

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever the store begins or ceases to work."""
        self._listeners.append(listener)

    def store_opened(self) -> None:
        """The store is reached, checked and set up; before that nothing may be written to it."""
        self.store_is_open = True
        self.store_worked()

    def store_failed(self, reason: str) -> None:
        """An attempt failed in a way that may pass."""
        new = self.store_works
        self._problems["store"] = reason
        if new:
            log.warning("store_unavailable", reason=reason)
            self._tell()

    def store_worked(self) -> None:
        """The store took something, or answered."""
        if self.store_is_open and self._problems.pop("store", None) is not None:
            log.info("store_available")
            self._tell()

    def letters_failed(self, reason: str) -> None:
        """The store keeps no dead letters, whatever else it takes."""
        new = _LETTERS not in self.problems
        self._problems[_LETTERS] = reason
        self._letters_until = self._monotonic() + LETTERS_S
        if new:
            log.warning("dead_letters_not_kept", reason=reason)

    def letters_kept(self) -> None:
        """The store has kept dead letters."""
        if self._problems.pop(_LETTERS, None) is not None:
            log.info("dead_letters_kept")

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()
