"""Every text that people read on a dashboard, one file per language with the same keys."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files

from clima_core.errors import ConfigurationError
from clima_dashboards import LANGUAGES


class Catalogue:
    """The texts of one language. It remembers which were asked for."""

    def __init__(self, language: str, sections: Mapping[str, Mapping[str, str]]) -> None:
        self.language = language
        self._sections = sections
        self.asked: set[tuple[str, str]] = set()

    def __call__(self, section: str, key: str) -> str:
        """A text; ConfigurationError, naming file, section and key, where it is missing."""
        self.asked.add((section, key))
        try:
            return self._sections[section][key]
        except KeyError:
            raise ConfigurationError(
                f'catalogue/{self.language}.toml: [{section}] has no "{key}"; add it'
            ) from None

    def field(self, name: str) -> str:
        """What people call a field; those of summaries are put together from two words."""
        quantity, _, part = name.rpartition(".")
        if self.has("fields", name) or not self.has("parts", part):
            return self("fields", name)
        return f"{self('fields', quantity)}, {self('parts', part)}"

    def names(self, field: str) -> bool:
        """Whether `field` can be called anything."""
        quantity, _, part = field.rpartition(".")
        return self.has("fields", field) or (
            self.has("parts", part) and self.has("fields", quantity)
        )

    def has(self, section: str, key: str) -> bool:
        return key in self._sections.get(section, {})

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """Section and key of every text."""
        for section, texts in self._sections.items():
            yield from ((section, key) for key in texts)


def catalogue(language: str) -> Catalogue:
    """The texts of a language; ConfigurationError where there is none of that name."""
    if language not in LANGUAGES:
        raise ConfigurationError(
            f'language "{language}": not translated; expected one of {", ".join(LANGUAGES)}'
        )
    return Catalogue(language, _sections(language))


@cache
def _sections(language: str) -> dict[str, dict[str, str]]:
    file = files(__package__).joinpath(f"{language}.toml")
    return tomllib.loads(file.read_text("utf-8"))
