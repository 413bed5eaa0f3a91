"""What must hold before anybody sees a dashboard; each problem in one line.

A field that the templates do not have fails earlier still, when it is named (fields.py).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path

from clima_core.errors import ConfigurationError
from clima_dashboards import LANGUAGES
from clima_dashboards.catalogue import Catalogue, catalogue
from clima_dashboards.dashboards import DASHBOARDS
from clima_dashboards.layout import places
from clima_dashboards.model import Dashboard, Measure, Panel, Terms, Times
from clima_dashboards.reading import buckets, fields, measures, view_of
from clima_dashboards.rules import RULES, Connectors, rule_body
from clima_dashboards.saved_objects import SavedObject, ndjson
from clima_dashboards.saved_objects.build import build

OPTIONAL = {"fields", "parts"}  # what Discover shows
_NUMBERS = {"average", "min", "max", "sum", "median", "percentile"}
_NAMED = re.compile(r"([a-z@_][\w@]*(?:\.\w+)+|@timestamp)\s*(?::|[<>]=?)")


def check(folder: Path | None = None, dashboards: Sequence[Dashboard] = DASHBOARDS) -> list[str]:
    """All that is wrong; `folder` holds the built files, if they are to be compared."""
    problems = [text for one in dashboards for text in dashboard_problems(one)]
    for language in LANGUAGES:
        texts = catalogue(language)
        absent = list(missing(texts, *map(catalogue, LANGUAGES)))
        problems += absent
        if absent:
            continue
        try:
            objects = build(texts, dashboards)
            for rule in RULES:
                rule_body(rule, Connectors("", ""), texts)
        except ConfigurationError as error:
            problems += error.problems
            continue
        problems += [f"{language}: {text}" for text in object_problems(objects)]
        problems += unused(texts)
        if folder:
            problems += _outdated(folder / f"{language}.ndjson", ndjson(objects))
    return problems


def dashboard_problems(dashboard: Dashboard) -> Iterator[str]:
    """Of one dashboard: its panels, and where they lie."""
    keys = Counter(panel.key for panel in dashboard.panels())
    yield from (f"{dashboard.key}: {n} panels are called {key}" for key, n in keys.items() if n > 1)
    for (one, place), (other, beside) in combinations(places(dashboard), 2):
        if place.overlaps(beside):
            yield f"{dashboard.key}: {one.key} and {other.key} overlap"
    for panel in dashboard.panels():
        yield from (f"{dashboard.key}: {panel.key}: {text}" for text in panel_problems(panel))


def panel_problems(panel: Panel) -> Iterator[str]:
    """Fields of the wrong type for what is asked of them, or of another view."""
    for measure in measures(panel):
        yield from _measure_problems(measure)
        if measure.where:
            yield from _kql_problems(panel, measure.where)
    for bucket in buckets(panel):
        kind = bucket.field.type
        if isinstance(bucket, Times) and kind != "date":
            yield f"{bucket.field.name} is {kind}, and a time is asked for"
        if isinstance(bucket, Terms) and kind not in {"keyword", "long", "date", "double"}:
            yield f"{bucket.field.name} is {kind}, which has no terms to count"
    views = {field.view.key for field in fields(panel)}
    if len(views) > 1:
        yield f"reads {' and '.join(sorted(views))}; one panel has one data view"
    if panel.where:
        yield from _kql_problems(panel, panel.where)


def _measure_problems(measure: Measure) -> Iterator[str]:
    field = measure.field
    dates = {"min", "max"}
    fits = field.number or (field.type == "date" and measure.function in dates)
    if measure.function in _NUMBERS and not fits:
        yield f"{field.name} is {field.type}, which has no {measure.function}"
    if measure.function in {"last", "unique"} and field.type == "text":
        yield f"{field.name} is text, which cannot be sorted or counted"


def _kql_problems(panel: Panel, kql: str) -> Iterator[str]:
    view = view_of(panel)
    for name in _NAMED.findall(kql):
        try:
            view[name]
        except LookupError as error:
            yield str(error)


def object_problems(objects: Sequence[SavedObject]) -> Iterator[str]:
    """Ids that occur twice, references that lead nowhere."""
    known = Counter((each.type, each.id) for each in objects)
    for (kind, own), n in known.items():
        if n > 1:
            yield f"{kind} {own}: {n} objects have this id"
    for each in objects:
        for reference in each.references:
            if (reference.type, reference.id) not in known:
                title = each.attributes.get("title", each.id)
                yield f"{title}: refers to {reference.type} {reference.id}, which is not there"


def missing(texts: Catalogue, *others: Catalogue) -> Iterator[str]:
    """Texts that another language has: not every one is asked for by a build."""
    for section, key in sorted({each for other in others for each in other} - set(texts)):
        yield f'catalogue/{texts.language}.toml: [{section}] has no "{key}"; add it'


def unused(texts: Catalogue) -> Iterator[str]:
    """Texts that nothing shows; `texts` has been used for a build, and for the rules."""
    for section, key in sorted(set(texts) - texts.asked):
        if section not in OPTIONAL:
            yield f'catalogue/{texts.language}.toml: [{section}] "{key}" is not used; remove it'


def _outdated(path: Path, right: str) -> Iterator[str]:
    if not path.exists() or path.read_text("utf-8") != right:
        yield f"{path.name}: is not what the code makes; run `clima dashboards build`"
