"""Columns of Lens: the buckets and numbers of a panel, by ids that a person can read.

A formula is kept by Lens as a chain: a column per measure in it, one that calculates (`math`, with
the parsed expression), and the formula itself, which refers to that one.
"""

from __future__ import annotations

from collections.abc import Sequence

from clima_dashboards.catalogue import Catalogue
from clima_dashboards.model import (
    Binary,
    Bucket,
    Formula,
    Measure,
    Number,
    Shape,
    Term,
    Terms,
    Times,
)
from clima_dashboards.saved_objects import JSON
from clima_dashboards.saved_objects.views import label as field_label

OPERATIONS = {"last": "last_value", "unique": "unique_count"}
MATH = {"+": "add", "-": "subtract", "*": "multiply", "/": "divide"}


def columns(
    buckets: Sequence[tuple[str, Bucket]], numbers: Sequence[Number], texts: Catalogue
) -> JSON:
    """The state of one layer: `columns` and `columnOrder`; numbers are m0, m1 …"""
    found: JSON = {name: bucket(each, texts) for name, each in buckets}
    for index, number in enumerate(numbers):
        found.update(_number(f"m{index}", number, texts))
    return {"columns": found, "columnOrder": list(found), "incompleteColumns": {}}


def bucket(each: Bucket, texts: Catalogue) -> JSON:
    """The column of a bucket."""
    label = {"label": field_label(each.field, texts), "customLabel": True}
    if isinstance(each, Times):
        params: JSON = {"interval": each.interval, "includeEmptyRows": True, "dropPartials": False}
        return {
            **label,
            "dataType": "date",
            "operationType": "date_histogram",
            "sourceField": each.field.name,
            "isBucketed": True,
            "scale": "interval",
            "params": params,
        }
    return {**label, **_terms(each)}


def _terms(each: Terms) -> JSON:
    order: JSON = (
        {"type": "alphabetical", "fallback": False}
        if each.by is None
        else {"type": "column", "columnId": f"m{each.by}"}
    )
    kind = "number" if each.field.number else "date" if each.field.type == "date" else "string"
    return {
        "dataType": kind,
        "operationType": "terms",
        "sourceField": each.field.name,
        "isBucketed": True,
        "scale": "ordinal",
        "params": {
            "size": each.size,
            "orderBy": order,
            "orderDirection": "asc" if each.by is None else "desc",
            "otherBucket": each.missing,  # Lens has no bucket for what is missing without it
            "missingBucket": each.missing,
            "parentFormat": {"id": "terms"},
        },
    }


def label(number: Number, texts: Catalogue) -> str:
    """What people call the number."""
    if isinstance(number, Measure) and not number.label:
        return texts.field(number.field.name)
    return texts("measures", str(number.label))


def unit(number: Number) -> str | None:
    """The unit that the numbers are in, where they are shown with one."""
    if isinstance(number, Formula):
        return number.unit
    counted = number.function in {"count", "unique"}
    return None if counted or number.shape != "number" else number.field.unit


def _number(name: str, number: Number, texts: Catalogue) -> JSON:
    if isinstance(number, Measure):
        return {name: _measure(number, label(number, texts))}
    chain: JSON = {}
    tree = _tree(number.term, name, chain)
    text = _text(number.term)
    math = f"{name}X{len(chain)}"
    common = {
        "label": label(number, texts),
        "customLabel": True,
        "dataType": "number",
        "isBucketed": False,
        "scale": "ratio",
    }
    chain[math] = {
        **common,
        "operationType": "math",
        "params": {"tinymathAst": tree},
        "references": list(chain),
    }
    return chain | {
        name: {
            **common,
            "operationType": "formula",
            "params": {
                "formula": text,
                "isFormulaBroken": False,
                "format": _format(number.shape, number.decimals, number.unit),
            },
            "references": [math],
        }
    }


def _tree(term: Term | float, name: str, chain: JSON) -> object:
    """The parsed expression; its measures go into the chain."""
    if isinstance(term, Binary):
        parts = [_tree(each, name, chain) for each in (term.left, term.right)]
        return {
            "type": "function",
            "name": MATH[term.operator],
            "args": parts,
            "text": _text(term),
            "location": {"min": 0, "max": len(_text(term))},
        }
    if isinstance(term, Measure):
        column = f"{name}X{len(chain)}"
        chain[column] = _measure(term, column)
        return column
    return term


def _text(term: object) -> str:
    """As a person would type it into Lens."""
    if isinstance(term, Binary):
        return f"({_text(term.left)} {term.operator} {_text(term.right)})"
    if isinstance(term, Measure):
        where = f", kql='{term.where}'" if term.where else ""
        if term.function == "count":
            return f"count({where.removeprefix(', ')})"
        share = f", percentile={term.percentile}" if term.function == "percentile" else ""
        return f"{OPERATIONS.get(term.function, term.function)}({term.field.name}{share}{where})"
    return f"{term:g}" if isinstance(term, float) else str(term)


def _measure(measure: Measure, name: str) -> JSON:
    counts = measure.function == "count"
    column: JSON = {
        "label": name,
        "customLabel": True,
        "dataType": _kind(measure),
        "operationType": OPERATIONS.get(measure.function, measure.function),
        "sourceField": "___records___" if counts else measure.field.name,
        "isBucketed": False,
        "scale": "ratio" if _kind(measure) == "number" else "ordinal",
        "params": _params(measure),
    }
    if measure.shift:
        column["timeShift"] = measure.shift
    where = measure.where
    if measure.function == "last" and not where:
        where = f'"{measure.field.name}": *'  # as Lens itself does: the newest that has the field
    return column | ({"filter": {"query": where, "language": "kuery"}} if where else {})


def _kind(measure: Measure) -> str:
    if measure.field.number or measure.function in {"count", "unique"}:
        return "number"
    return "date" if measure.field.type == "date" else "string"


def _params(measure: Measure) -> JSON:
    params: JSON = {}
    if measure.function == "last":
        params |= {"sortField": "@timestamp", "showArrayValues": False}
    if measure.function == "percentile":
        params["percentile"] = measure.percentile
    if _kind(measure) == "number" and measure.shape != "duration":
        places = measure.field.decimals if measure.decimals is None else measure.decimals
        counted = measure.function in {"count", "unique"}
        params["format"] = _format(measure.shape, 0 if counted else places, unit(measure))
    return params


def _format(shape: Shape, decimals: int, unit: str | None) -> JSON:
    params: JSON = {"decimals": decimals}
    if unit and shape == "number":
        params["suffix"] = unit if unit == "°" else f" {unit}"
    return {
        "id": "bytes" if shape == "bytes" else "percent" if shape == "percent" else "number",
        "params": params,
    }
