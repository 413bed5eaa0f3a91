"""Stations on a grid of parallels and meridians: it needs no map tiles, and so no Internet.

Beside each, as on a weather chart: temperature at the upper left, dew point below it, pressure at
the upper right, and an arrow that flies with the wind. One degree is as long to the north as on
the ground to the east, at the middle latitude.
"""

from __future__ import annotations

from clima_dashboards import colours, queries
from clima_dashboards.catalogue import Catalogue
from clima_dashboards.model import CALM, Measure, StationMap
from clima_dashboards.saved_objects import JSON
from clima_dashboards.saved_objects.vega import (
    clickable,
    clicks,
    fixed,
    formula,
    mark,
    newest,
    nothing,
    of,
    quoted,
    source,
    specification,
)
from clima_dashboards.saved_objects.vega.board import DAYS

LEAST = 0.04  # degrees of latitude that the map shows at least
SHOWN: JSON = {"signal": "shown"}  # there is a station to show
KM = 111.2  # in a degree of latitude
CENTRE: dict[str, JSON] = {"x": of("x", "lon"), "y": of("y", "lat")}


def station_map(panel: StationMap, texts: Catalogue) -> JSON:
    """The specification."""
    heat = {
        "name": "heat",
        "type": "quantize",
        "domain": [-15, 40],
        "range": list(colours.TEMPERATURES),
    }
    return specification(
        texts,
        signals=[*_signals(), *clicks(panel, panel.station)],
        data=[_heard(panel), _placed(panel), EDGES],
        scales=[
            _scale("x", "width", "[lon0 - across, lon0 + across]"),
            _scale("y", "height", "[lat0 - up, lat0 + up]"),
            heat,
        ],
        axes=[
            _axis("bottom", "x", "east", "west", texts),
            _axis("left", "y", "north", "south", texts),
        ],
        marks=[
            nothing("stations", texts, "nowhere", rows="heard"),
            *_marks(panel, texts),
            *_ruler(),
        ],
    )


def _heard(panel: StationMap) -> JSON:
    """A row for each station."""
    return source(
        "heard",
        panel.station.view,
        panel.time.name,
        queries.station_map(panel),
        "aggregations.stations.buckets",
        [],
        DAYS,
    )


def _placed(panel: StationMap) -> JSON:
    """A row for each station that says where it is; its values are n0, n1 …"""
    shown = [panel.centre, *panel.beside, panel.arrow, panel.speed]
    transform = [
        {"type": "filter", "expr": "datum.place.count > 0"},
        formula("lon", "datum.place.location.lon"),
        formula("lat", "datum.place.location.lat"),
        *(formula(f"n{n}", newest(f"v{n}", each.field)) for n, each in enumerate(shown)),
    ]
    return {"name": "stations", "source": "heard", "transform": transform}


EDGES: JSON = {
    "name": "edges",
    "source": "stations",
    "transform": [
        {
            "type": "aggregate",
            "ops": ["min", "max", "min", "max"],
            "fields": ["lon", "lon", "lat", "lat"],
            "as": ["west", "east", "south", "north"],
        }
    ],
}


def _signals() -> list[JSON]:
    """What the map shows: all stations with room around, in equal scales to the east and north."""
    edge = "length(data('stations')) ? data('edges')[0]"
    return [
        {"name": "shown", "update": "length(data('stations')) ? 1 : 0"},
        {"name": "box", "update": f"{edge} : {{west: -1, east: 1, south: -1, north: 1}}"},
        {"name": "lat0", "update": "(box.south + box.north) / 2"},
        {"name": "lon0", "update": "(box.west + box.east) / 2"},
        {"name": "squeeze", "update": "max(0.05, cos(lat0 * PI / 180))"},
        {
            "name": "perpixel",
            "update": f"max({LEAST} / height, (box.north - box.south) / (height * 0.5),"
            " (box.east - box.west) * squeeze / (width * 0.55))",
        },
        {"name": "across", "update": "perpixel * width / squeeze / 2"},
        {"name": "up", "update": "perpixel * height / 2"},
        {"name": "km", "update": f"pow(10, floor(log(perpixel * width / 3 * {KM}) / LN10))"},
    ]


def _scale(name: str, extent: str, domain: str) -> JSON:
    return {
        "name": name, "type": "linear", "zero": False, "nice": False, "range": extent,
        "domain": {"signal": domain},
    }  # fmt: skip


def _axis(orient: str, scale: str, positive: str, negative: str, texts: Catalogue) -> JSON:
    side = (
        f"datum.value < 0 ? {quoted(texts('words', negative))} : {quoted(texts('words', positive))}"
    )
    return {
        "orient": orient,
        "scale": scale,
        "grid": True,
        "gridOpacity": SHOWN,
        "tickOpacity": SHOWN,
        "labelOpacity": SHOWN,
        "tickCount": 5,
        "domain": False,
        "encode": {
            "labels": {
                "update": {"text": {"signal": f"format(abs(datum.value), '.2f') + '° ' + ({side})"}}
            }
        },
    }


def _marks(panel: StationMap, texts: Catalogue) -> list[JSON]:
    """Of each station: wind, circle, name, and the values around it."""
    beside = len(panel.beside)
    places = [(-12, -9, "right"), (-12, 20, "right"), (12, -9, "left")]
    shown = zip([panel.centre, *panel.beside], places, strict=True)
    values = [_value(f"n{n}", measure, *place) for n, (measure, place) in enumerate(shown)]
    wind = _wind(f"datum.n{1 + beside}", f"datum.n{2 + beside}", colours.of(panel.speed.field.name))
    circle = mark(
        "symbol",
        "stations",
        **CENTRE,
        size=130,
        stroke=fixed(colours.PLAIN),
        fill=f"isValid(datum.n0) ? scale('heat', datum.n0) : '{colours.PLAIN}'",
    )
    name = clickable(_text(12, 19, "datum.key", 12), panel, texts)
    return [wind, circle, name, *values]


def _wind(direction: str, speed: str, colour: str | None) -> JSON:
    """An arrow that ends at the station, larger the harder it blows."""
    towards = f"(({direction} || 0) + 180) * PI / 180"
    return mark(
        "symbol",
        "stations",
        x={**of("x", "lon"), "offset": {"signal": f"-54 * sin({towards})"}},
        y={**of("y", "lat"), "offset": {"signal": f"54 * cos({towards})"}},
        shape=fixed("arrow"),
        size=f"isValid({direction}) && {speed} >= {CALM} ? 400 + 120 * min({speed}, 20) : 0",
        angle=f"({direction} || 0) + 180",
        fill=fixed(colour or colours.PLAIN),
    )


def _value(name: str, measure: Measure, dx: int, dy: int, align: str) -> JSON:
    number = f"format(datum.{name}, '.{measure.field.decimals}f')"
    colour = colours.of(measure.field.name) or colours.PLAIN
    text = f"isValid(datum.{name}) ? {number} : ''"
    return _text(dx, dy, text, 16, align=fixed(align), fill=fixed(colour))


def _text(dx: int, dy: int, text: str, size: int, **more: JSON) -> JSON:
    """In bold letters, that many pixels from the station."""
    bold = fixed("bold")
    return mark(
        "text",
        "stations",
        **CENTRE,
        dx=dx,
        dy=dy,
        text=text,
        fontSize=size,
        fontWeight=bold,
        **more,
    )


def _ruler() -> list[JSON]:
    """How long a round number of kilometres is."""
    right, length = "width - 10", f"km / {KM} / perpixel"
    colour, text = fixed(colours.PLAIN), "format(km, ',') + ' km'"
    return [
        mark(
            "rule",
            x=f"{right} - {length}",
            x2=right,
            y="height - 10",
            stroke=colour,
            strokeWidth=2,
            opacity="shown",
        ),
        mark("text", x=right, y="height - 15", align=fixed("right"), text=text, opacity="shown"),
    ]
