"""A table of records: per station the greatest and least values, and when that was."""

from __future__ import annotations

from clima_dashboards import colours, queries
from clima_dashboards.catalogue import Catalogue
from clima_dashboards.model import Record, Records
from clima_dashboards.saved_objects import JSON
from clima_dashboards.saved_objects.vega import formula, nothing, quoted, source, specification
from clima_dashboards.saved_objects.vega.board import CELLS, layout, marks, rows

DATES = {"en": "'%b %d, %Y'", "pt-BR": "'%d/%m/%Y'"}


def records(panel: Records, texts: Catalogue) -> JSON:
    """The specification."""
    cells = ", ".join(_cell(n, each, panel, texts) for n, each in enumerate(panel.records))
    time = panel.station.view.time or panel.date.name
    found = source(
        "found",
        panel.station.view,
        time,
        queries.records(panel),
        "aggregations.stations.buckets",
        [],
    )
    shown = rows(formula("age", "0"), formula("seen", _days(texts)), formula("cells", f"[{cells}]"))
    head = [
        {"n": n, "label": f"{texts('measures', each.label)} ({each.field.unit})"}
        for n, each in enumerate(panel.records)
    ]
    return specification(
        texts,
        signals=layout(len(panel.records)),
        data=[found, shown, CELLS, {"name": "head", "values": head}],
        marks=[nothing("stations", texts, "no_days"), *marks(panel, texts)],
    )


def _cell(n: int, record: Record, panel: Records, texts: Catalogue) -> str:
    hits = f"datum.r{n}.best.hits.hits"
    value = f"(length({hits}) ? {hits}[0].fields[{quoted(record.field.name)}][0] : null)"
    date = f"{hits}[0].fields[{quoted(panel.date.name)}][0]"
    when = f"utcFormat(toDate(substring({date}, 0, 10)), {DATES[texts.language]})"
    shown = f"format({value}, '.{record.field.decimals}f')"
    return (
        f"{{n: {n}, none: !isValid({value}), arrow: null,"
        f" text: isValid({value}) ? {shown} : {quoted(texts('words', 'unmeasured'))},"
        f" below: isValid({value}) ? {when} : '',"
        f" colour: {quoted(colours.of(record.field.name) or colours.PLAIN)}}}"
    )


def _days(texts: Catalogue) -> str:
    return f"format(datum.doc_count, ',') + {quoted(' ' + texts('words', 'days'))}"
