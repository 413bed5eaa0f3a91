"""The errors a person can meet, one class per way a caller handles them.

ClimaError                 anything Clima says itself: one clear message, never a traceback
├── ConfigurationError     a file, option or argument is wrong: say all of it, exit 78
├── UnavailableError       something outside is not there (port, server, disk): exit 69, or again
└── ProtocolError          a peer broke docs/protocol.md: drop the message, count it, go on
"""

from collections.abc import Sequence

EXIT_OK = 0
EXIT_FINDING = 1  # the command worked, and what it found is bad news (a gap, a failed check)
EXIT_USAGE = 2
EXIT_UNAVAILABLE = 69
EXIT_SOFTWARE = 70
EXIT_CONFIGURATION = 78


class ClimaError(Exception):
    """Base of everything Clima raises on purpose; `str()` of it is fit to be shown to a person."""

    exit_code = EXIT_SOFTWARE


class ConfigurationError(ClimaError):
    """One or more things wrong in what the user wrote; `problems` holds one line each."""

    exit_code = EXIT_CONFIGURATION

    def __init__(self, problems: str | Sequence[str]) -> None:
        self.problems: tuple[str, ...] = (
            (problems,) if isinstance(problems, str) else tuple(problems)
        )
        super().__init__("\n".join(self.problems))


class UnavailableError(ClimaError):
    """Something Clima needs from outside is not there now; the message says what and the mend."""

    exit_code = EXIT_UNAVAILABLE


class ProtocolError(ClimaError):
    """A message does not follow docs/protocol.md; the message says which rule."""
