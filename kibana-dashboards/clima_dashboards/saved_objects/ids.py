"""Names that never change: the same thing has the same id in every build, for ever.

Each language has ids of its own, so that both can live in one Kibana; and so has each space but
the default one, because an id is taken once in all spaces together.
"""

from __future__ import annotations

from uuid import UUID, uuid5

CLIMA = UUID("5f0c6a0e-3c1b-5f5e-9d2c-6b1f0e8a7c11")  # the namespace; never to be changed

DEFAULT = "default"


def identity(*parts: str) -> str:
    """An id by kind, language and key."""
    return str(uuid5(CLIMA, "/".join(parts)))


def in_space(own: str, space: str) -> str:
    """The id that is `own` in the default space, in that one."""
    return own if space == DEFAULT else identity("space", space, own)


def derived(own: str) -> bool:
    """Whether an id is made from a name, as ours are; those that Kibana gives are random."""
    try:
        return UUID(own).version == 5
    except ValueError:
        return False
