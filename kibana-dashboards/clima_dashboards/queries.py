"""The search that each panel stands for, as Elasticsearch gets it.

The pictures in Vega carry these very searches; what Lens sends for the others has the same
aggregations, so that a test can ask the server and compare with what the data says. A measure of
a year ago (`shift`) is asked for a second time, over the time of a year ago.
"""

from __future__ import annotations

import re
from typing import Any

from clima_dashboards.fields import Field
from clima_dashboards.model import (
    Band,
    Board,
    Bucket,
    Documents,
    Formula,
    Measure,
    Panel,
    Record,
    Records,
    Rose,
    StationMap,
    Terms,
    Times,
)
from clima_dashboards.reading import buckets, fields, numbers, of_number, view_of

Body = dict[str, Any]
STATIONS = 12  # more do not fit on a wall; one more is asked for, to say that there are more
PLACES = 1000  # more do on a map
AUTO = "30m"  # what Kibana chooses for a day
MISSING = "__missing__"  # as Kibana calls what has no value


def newest(field: Field, time: Field) -> Body:
    """The newest value there is."""
    hits = {
        "size": 1,
        "sort": [{time.name: "desc"}],
        "_source": False,
        "docvalue_fields": [field.name],
    }
    return {"filter": {"exists": {"field": field.name}}, "aggs": {"newest": {"top_hits": hits}}}


def search(panel: Panel) -> Body:
    """The whole body of the panel's search, but for the time and the dashboard's filters."""
    body: Body = {"size": 0, "aggs": aggregations(panel)}
    if isinstance(panel, Documents):
        body = {"size": 100, "sort": _order(panel)}
    used = {field.name for field in fields(panel)}
    runtime = {
        name: {"type": each.type, "script": {"source": each.script}}
        for name, each in view_of(panel).runtime.items()
        if name in used
    }
    return body | ({"runtime_mappings": runtime} if runtime else {})


def aggregations(panel: Panel) -> Body:
    """What the panel shows, as aggregations: buckets within buckets, and the numbers as m0, m1 …

    The measures of a formula are m0X0, m0X1 …: whoever asks calculates.
    """
    match panel:
        case Board():
            return board(panel)
        case StationMap():
            return station_map(panel)
        case Rose():
            return rose(panel)
        case Band():
            return band(panel)
        case Records():
            return records(panel)
    aggs = {
        f"m{n}X{part}" if isinstance(number, Formula) else f"m{n}": metric(measure)
        for n, number in enumerate(numbers(panel))
        for part, measure in enumerate(of_number(number))
    }
    for depth, bucket in reversed(list(enumerate(buckets(panel)))):
        aggs = {f"b{depth}": _bucket(bucket) | {"aggs": aggs}}
    return aggs


def metric(measure: Measure) -> Body:
    """One number; within a filter, and then called `value`, where the measure has one."""
    if measure.function == "last":
        return newest(measure.field, measure.field.view["@timestamp"])
    name = measure.field.name
    match measure.function:
        case "count":
            found: Body = {"value_count": {"field": name}}
        case "percentile":
            found = {"percentiles": {"field": name, "percents": [measure.percentile]}}
        case "median":
            found = {"percentiles": {"field": name, "percents": [50]}}
        case function:
            found = {_FUNCTIONS.get(function, function): {"field": name}}
    if not measure.where:
        return found
    return {"filter": kql(measure.where), "aggs": {"value": found}}


def kql(where: str) -> Body:
    """Elasticsearch's own query string understands what we write in KQL."""
    text = _COMPARED.sub(r":\1\2", where)
    return {"query_string": {"query": _OPERATORS.sub(lambda m: m[0].upper(), text)}}


_FUNCTIONS = {"average": "avg", "unique": "cardinality"}
_COMPARED = re.compile(r'\s*([<>]=?)\s*"?([^\s"]+)"?')
_OPERATORS = re.compile(r"\b(and|or|not)\b")


def _bucket(bucket: Bucket) -> Body:
    match bucket:
        case Times(field, interval):
            span = AUTO if interval == "auto" else interval
            kind = "calendar_interval" if span in {"1d", "1M", "1w", "1y"} else "fixed_interval"
            return {"date_histogram": {"field": field.name, kind: span}}
        case Terms(field, size, by, missing):
            order = {"_key": "asc"} if by is None else {f"m{by}": "desc"}
            terms: Body = {"field": field.name, "size": size, "order": order}
            return {"terms": terms | ({"missing": MISSING} if missing else {})}


def _order(panel: Documents) -> list[Body]:
    given = panel.order or ((panel.columns[0].view["@timestamp"], "desc"),)
    return [{field.name: way} for field, way in given]


def board(panel: Board) -> Body:
    """Per station: the newest values, and those of its own latest day."""
    present = {
        f"c{n}{part}": newest(measure.field, panel.time)
        for n, part, measure in parts(panel)
        if measure.function == "last"
    }
    today = {
        f"c{n}{part}": {measure.function: {"field": measure.field.name}}
        for n, part, measure in parts(panel)
        if measure.function != "last"
    }
    counted = {
        f"c{n}{part}n": {"value_count": {"field": measure.field.name}}
        for n, part, measure in parts(panel)
        if measure.function == "sum"  # of nothing it is 0, which was not measured
    }
    day = {"field": panel.date.name, "size": 1, "order": {"_key": "desc"}}
    aggs = {
        **present,
        "time": {"max": {"field": panel.time.name}},
        "today": {"terms": day, "aggs": today | counted},
    }
    return per_station(panel.station, aggs)


def parts(panel: Board) -> list[tuple[int, str, Measure]]:
    """All measures of a board: number of the cell, a letter for the part, the measure."""
    found = []
    for n, cell in enumerate(panel.cells):
        found.append((n, "v", cell.value))
        found += [(n, f"b{m}", measure) for m, measure in enumerate(cell.below)]
        found += [(n, "a", cell.arrow)] if cell.arrow else []
    return found


def station_map(panel: StationMap) -> Body:
    """Per station: where it is, and the newest values."""
    shown = [panel.centre, *panel.beside, panel.arrow, panel.speed]
    aggs = {f"v{n}": newest(measure.field, panel.time) for n, measure in enumerate(shown)}
    aggs["time"] = {"max": {"field": panel.time.name}}
    aggs["place"] = {"geo_centroid": {"field": panel.place.name}}
    return per_station(panel.station, aggs, PLACES)


def per_station(station: Field, aggs: Body, size: int = STATIONS + 1) -> Body:
    """A bucket for each station, by id."""
    terms = {"field": station.name, "size": size, "order": {"_key": "asc"}}
    return {"stations": {"terms": terms, "aggs": aggs}}


def rose(panel: Rose) -> Body:
    """Counts by sector, the first one around north, and class of speed; calm by itself."""
    width = 360 / panel.sectors
    edges = panel.classes
    ranges = [
        {"key": str(n), "from": low} | ({"to": edges[n + 1]} if n + 1 < len(edges) else {})
        for n, low in enumerate(edges)
    ]
    speeds = {"range": {"field": panel.speed.name, "ranges": ranges}}
    sectors = {"field": panel.direction.name, "interval": width, "offset": -width / 2}
    return {
        "sectors": {"histogram": sectors, "aggs": {"speeds": speeds}},
        "calm": {"filter": {"range": {panel.speed.name: {"lt": edges[0]}}}},
        "all": {"value_count": {"field": panel.speed.name}},
    }


def records(panel: Records) -> Body:
    """Per station and record: the document that holds it, by value and date."""

    def best(record: Record) -> Body:
        hits = {
            "size": 1,
            "sort": [{record.field.name: "asc" if record.least else "desc"}],
            "_source": False,
            "docvalue_fields": [record.field.name, panel.date.name],
        }
        exists = {"exists": {"field": record.field.name}}
        return {"filter": exists, "aggs": {"best": {"top_hits": hits}}}

    return per_station(panel.station, {f"r{n}": best(each) for n, each in enumerate(panel.records)})


def band(panel: Band) -> Body:
    """Least, middle and greatest value per bucket of time."""
    three = {"low": panel.low, "middle": panel.middle, "high": panel.high}
    function = {"average": "avg"}
    return {
        "times": {
            "date_histogram": {"field": panel.over.field.name, "calendar_interval": "1d"},
            "aggs": {
                name: {function.get(each.function, each.function): {"field": each.field.name}}
                for name, each in three.items()
            },
        }
    }
