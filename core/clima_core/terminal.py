"""A person at a terminal: whether there is one, and what they answer."""

from __future__ import annotations

import sys


def someone() -> bool:
    """Whether there is somebody to ask."""
    return sys.stdin.isatty()


def ask(question: str) -> str:
    """What was typed, in small letters; nothing where the input has ended."""
    try:
        return input(question).strip().lower()
    except EOFError:
        return ""
