"""The passwords and keys of a user station: one file each, made once, of random numbers.

What always holds: a secret is in no message, log or repr; its file is readable by its owner alone
and there whole or not at all; and a secret that is there is never replaced but by `adopt`, which
puts in its place what `propose` has written down before. Whoever renews a password can therefore
be stopped at any moment: either the old one or the proposed one is the right one, and both are
here.
"""

from __future__ import annotations

import secrets
import string
from collections.abc import Iterable
from pathlib import Path

from clima_core.configuration import Secret
from clima_core.errors import ConfigurationError
from clima_core.files import sync_directory
from clima_elk.files import File, Owner, directory, put
from clima_elk.users import USERS

CLIMA = Owner(10001, 10001)  # who our images run as
ELASTIC = "elastic"
LOGSTASH_INPUT = "logstash_input"
KIBANA_KEYS = ("kibana_security_key", "kibana_objects_key", "kibana_reporting_key")
PERSON = "clima"

NAMES = (ELASTIC, *(user.name for user in USERS), LOGSTASH_INPUT, *KIBANA_KEYS)
"""Every secret; those that are passwords are called like their user."""

_NEXT = ".next"
_ALPHABET = string.ascii_letters + string.digits  # nothing that a shell or a file format minds
_READABLE = "abcdefghjkmnpqrstuvwxyz23456789"  # nothing that looks like something else


class Vault:
    """The secrets in one directory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def make(self, names: Iterable[str] = NAMES) -> list[str]:
        """Make the secrets that are missing; returns their names.

        Raises UnavailableError where this user may not write.
        """
        directory(self.folder, CLIMA)
        missing = [name for name in names if not (self.folder / name).exists()]
        for name in missing:
            self._put(name, fresh(name))
        return missing

    def has(self, name: str) -> bool:
        """Whether there is such a secret."""
        return (self.folder / name).exists()

    def read(self, name: str) -> Secret:
        """The secret; raises ConfigurationError, with the mend, when it cannot be had."""
        return self._read(self.folder / name)

    def proposed(self, name: str) -> Secret | None:
        """What was proposed and not adopted yet, as after a renewal that was stopped."""
        path = self.folder / f"{name}{_NEXT}"
        return self._read(path) if path.exists() else None

    def propose(self, name: str) -> Secret:
        """A new secret in place of an old one, safely here before anybody is told of it."""
        if (proposed := self.proposed(name)) is not None:
            return proposed
        return self._put(f"{name}{_NEXT}", fresh(name))

    def adopt(self, name: str) -> None:
        """The proposed secret is the right one from now on."""
        (self.folder / f"{name}{_NEXT}").replace(self.folder / name)
        sync_directory(self.folder)

    def _put(self, name: str, secret: Secret) -> Secret:
        put(File(self.folder / name, secret.reveal().encode(), CLIMA))
        return secret

    def _read(self, path: Path) -> Secret:
        try:
            text = path.read_text("ascii").strip()
        except FileNotFoundError:
            raise ConfigurationError(
                f"{path}: there is no such secret; `docker compose up init` makes it"
            ) from None
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "is damaged"
            raise ConfigurationError(f"{path}: cannot be read: {reason}") from None
        if not text:
            raise ConfigurationError(f"{path}: is empty; delete it, and `clima init` makes it anew")
        return Secret(text)


def fresh(name: str) -> Secret:
    """A new secret: 190 bits for machines, 99 that can be typed for people."""
    if name == PERSON:
        groups = ("".join(secrets.choice(_READABLE) for _ in range(4)) for _ in range(5))
        return Secret("-".join(groups))
    return Secret("".join(secrets.choice(_ALPHABET) for _ in range(32)))
