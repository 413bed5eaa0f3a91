"""What is wrong, set where it goes wrong, and told to whoever asks.

`/readyz` says it, the log says each change once, and the credit that stations get follows it:
while the store does not take anything, none is given, so that nothing piles up here. That it
takes no dead letters alone is said as well, and costs nobody any credit: readings go on.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

log = structlog.get_logger("clima_forwarder.health")


class Health:
    """The forwarder's state of health; empty `problems` means ready."""

    def __init__(self) -> None:
        self.problems: dict[str, str] = {"store": "not opened yet"}
        self.store_is_open = False
        self._listeners: list[Callable[[], None]] = []

    @property
    def store_works(self) -> bool:
        return "store" not in self.problems

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
        self.problems["store"] = reason
        if new:
            log.warning("store_unavailable", reason=reason)
            self._tell()

    def store_worked(self) -> None:
        """The store took something, or answered."""
        if self.store_is_open and self.problems.pop("store", None) is not None:
            log.info("store_available")
            self._tell()

    def letters_failed(self, reason: str) -> None:
        """The store keeps no dead letters, whatever else it takes."""
        new = "dead letters" not in self.problems
        self.problems["dead letters"] = reason
        if new:
            log.warning("dead_letters_not_kept", reason=reason)

    def letters_kept(self) -> None:
        """The store has kept dead letters."""
        if self.problems.pop("dead letters", None) is not None:
            log.info("dead_letters_kept")

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()
