"""Charts of Lens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from clima_dashboards import colours
from clima_dashboards.catalogue import Catalogue
from clima_dashboards.fields import View
from clima_dashboards.model import (
    Bucket,
    Curves,
    HeatMap,
    Level,
    Number,
    Panel,
    Table,
    Terms,
)
from clima_dashboards.reading import measures, of_number, view_of
from clima_dashboards.saved_objects import JSON, Reference
from clima_dashboards.saved_objects.columns import columns, label, unit
from clima_dashboards.saved_objects.views import reference

LAYER = "layer"
KIND = "data_stream.type"


def curves(panel: Curves, texts: Catalogue) -> JSON:
    """A chart over time."""
    layer: JSON = {
        "layerId": LAYER,
        "layerType": "data",
        "seriesType": panel.style,
        "xAccessor": "x",
        "accessors": [f"m{index}" for index in range(len(panel.measures))],
        "yConfig": [_axis(f"m{index}", each, panel) for index, each in enumerate(panel.measures)],
        "palette": {"type": "palette", "name": "default"},
    }
    buckets: list[tuple[str, Bucket]] = [("x", panel.over)]
    if panel.by:
        buckets.insert(0, ("by", panel.by))
        layer["splitAccessor"] = "by"
    elif any(field.name == KIND for field in view_of(panel)):
        buckets.insert(0, ("kind", Terms(view_of(panel)[KIND], size=1)))
    visualization: JSON = {
        "preferredSeriesType": layer["seriesType"],
        "layers": [layer],
        "legend": _legend(panel),
        "valueLabels": "hide",
        **_fitting(panel),
        **_axes(panel, texts),
        "hideEndzones": True,
    }
    layers = {LAYER: columns(buckets, panel.measures, texts)}
    return _state("lnsXY", replace(panel, where=measured(panel)), visualization, layers)


def _legend(panel: Curves) -> JSON:
    """Where there is more than one line."""
    return {
        "isVisible": (bool(panel.by) or len(panel.measures) > 1) and panel.legend,
        "position": "bottom" if len(panel.measures) <= 4 else "right",
        "showSingleSeries": False,
        "legendSize": "auto",
    }


def _fitting(panel: Curves) -> JSON:
    """What is between two values is dashed: nobody measured it."""
    return {
        "fittingFunction": "None" if panel.style.startswith("bar") else "Linear",
        "emphasizeFitting": False,
        "endValue": "None",
        "curveType": "LINEAR",
    }


def _axes(panel: Curves, texts: Catalogue) -> JSON:
    """Their titles, which have the units, and how far they reach."""
    left = axis_title([each for each in panel.measures if not each.right], texts)
    right = axis_title([each for each in panel.measures if each.right], texts)
    return {
        "xTitle": "",
        "yTitle": left,
        "yRightTitle": right,
        "axisTitlesVisibilitySettings": {
            "x": False,
            "yLeft": bool(left),
            "yRight": bool(right),
        },
        "tickLabelsVisibilitySettings": {"x": True, "yLeft": True, "yRight": True},
        "gridlinesVisibilitySettings": {"x": True, "yLeft": True, "yRight": False},
        "labelsOrientation": {"x": 0, "yLeft": 0, "yRight": 0},
        "yLeftExtent": {"mode": "full" if panel.zero else "dataBounds"},
        "yRightExtent": {"mode": "full"},
    }


def measured(panel: Curves) -> str:
    """KQL for the documents that the chart can show anything of.

    Where there are none, a chart by station, or by `KIND`, of which all documents of a data set
    have the same one, has no bucket, and Lens says so instead of drawing an empty frame.
    """
    if panel.where:
        return panel.where
    each = [one.where or f"{one.field.name}: *" for one in measures(panel)]
    return " or ".join(dict.fromkeys(each))


def axis_title(numbers: Sequence[Number], texts: Catalogue) -> str:
    """The numbers of an axis by name, and their unit."""
    units = list(dict.fromkeys(found for each in numbers if (found := unit(each))))
    if len(numbers) == 1:
        return " ".join([label(numbers[0], texts), *(f"({each})" for each in units)])
    return ", ".join(units)


def _axis(name: str, number: Number, panel: Curves) -> JSON:
    config: JSON = {"forAccessor": name, "axisMode": "right" if number.right else "left"}
    if not panel.by and (colour := number.colour or colours.of(of_number(number)[0].field.name)):
        config["color"] = colour
    return config


def table(panel: Table, texts: Catalogue) -> JSON:
    """A table; cells are coloured by steps."""
    rows = [(f"b{n}", bucket) for n, bucket in enumerate(panel.rows)]
    steps = dict(panel.levels)
    shown: list[JSON] = [{"columnId": name} for name, _ in rows]
    for index in range(len(panel.columns)):
        column: JSON = {"columnId": f"m{index}", "alignment": "right"}
        if index in steps:
            column |= {"colorMode": "cell", "palette": _steps(steps[index])}
        shown.append(column)
    visualization: JSON = {
        "layerId": LAYER,
        "layerType": "data",
        "columns": shown,
        "rowHeight": "single",
        "rowHeightLines": 1,
    }
    if panel.order:
        visualization["sorting"] = {"columnId": f"m{panel.order[0]}", "direction": panel.order[1]}
    return _state(
        "lnsDatatable", panel, visualization, {LAYER: columns(rows, panel.columns, texts)}
    )


def heat_map(panel: HeatMap, texts: Catalogue) -> JSON:
    """A heat map."""
    visualization: JSON = {
        "shape": "heatmap",
        "layerId": LAYER,
        "layerType": "data",
        "xAccessor": "x",
        "yAccessor": "y",
        "valueAccessor": "m0",
        "legend": {"isVisible": True, "position": "right", "type": "heatmap_legend"},
        "gridConfig": {
            "type": "heatmap_grid",
            "isCellLabelVisible": False,
            "isYAxisLabelVisible": True,
            "isXAxisLabelVisible": True,
            "isYAxisTitleVisible": False,
            "isXAxisTitleVisible": False,
        },
        "palette": _scale(panel.colours),
    }
    state = columns([("x", panel.x), ("y", panel.y)], [panel.value], texts)
    return _state("lnsHeatmap", panel, visualization, {LAYER: state})


def _steps(levels: Sequence[Level]) -> JSON:
    """A palette whose first colour reaches down without end, and the last one up."""
    stops = [{"color": each.colour, "stop": each.at} for each in levels]
    ends = [*(each.at for each in levels[1:]), None]
    return {
        "type": "palette",
        "name": "custom",
        "params": {
            "name": "custom",
            "reverse": False,
            "rangeType": "number",
            "rangeMin": None,
            "rangeMax": None,
            "continuity": "all",
            "progression": "fixed",
            "steps": len(levels),
            "maxSteps": 5,
            "colorStops": [
                stop | ({"stop": None} if not n else {}) for n, stop in enumerate(stops)
            ],
            "stops": [
                {"color": each.colour, "stop": end if end is not None else each.at + 1e9}
                for each, end in zip(levels, ends, strict=True)
            ],
        },
    }


def _scale(scale: Sequence[str]) -> JSON:
    """A palette in equal steps from the least to the greatest value, which are in it.

    Without `continuity` the very least one has no colour, by a rounding of Kibana's.
    """
    width = 100 / len(scale)
    starts = [
        {"color": colour, "stop": round(n * width, 2) if n else None}
        for n, colour in enumerate(scale)
    ]
    ends = [{"color": colour, "stop": round((n + 1) * width, 2)} for n, colour in enumerate(scale)]
    return {
        "type": "palette",
        "name": "custom",
        "params": {
            "name": "custom",
            "reverse": False,
            "rangeType": "percent",
            "rangeMin": None,
            "rangeMax": None,
            "continuity": "all",
            "progression": "fixed",
            "steps": len(scale),
            "maxSteps": 5,
            "colorStops": starts,
            "stops": ends,
        },
    }


def _state(kind: str, panel: Panel, visualization: JSON, layers: JSON) -> JSON:
    return {
        "visualizationType": kind,
        "state": {
            "visualization": visualization,
            "query": {"query": panel.where, "language": "kuery"},
            "filters": [],
            "datasourceStates": {"indexpattern": {"layers": layers}},
        },
    }


def references(state: JSON, view: View, language: str) -> tuple[Reference, ...]:
    """What a chart needs: its view, for each layer."""
    layers = state["state"]["datasourceStates"]["indexpattern"]["layers"]
    names = ["indexpattern-datasource-current-indexpattern"]
    names += [f"indexpattern-datasource-layer-{name}" for name in layers]
    return tuple(reference(view, language, name) for name in names)
