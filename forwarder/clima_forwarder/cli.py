"""The `clima` command: everything that is done on the user station."""

from collections.abc import Sequence

from clima_core import commandline

COMMANDS = ("stations",)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    return commandline.main(
        "clima",
        "Weather stations: take in, keep and show their readings.",
        "clima_forwarder.commands",
        COMMANDS,
        argv,
    )
