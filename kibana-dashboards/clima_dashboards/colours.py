"""One colour for each quantity, everywhere; told apart with any kind of colour vision.

From Paul Tol's schemes (https://personal.sron.nl/~pault/): vibrant and muted for quantities,
sunset and YlOrBr for scales. A level is never said by colour alone: the number stands beside it.
"""

from __future__ import annotations

from collections.abc import Mapping

QUANTITIES: Mapping[str, str] = {
    "air_temperature": "#CC3311",
    "dew_point_temperature": "#009988",
    "relative_humidity": "#33BBEE",
    "air_pressure_at_mean_sea_level": "#AA4499",
    "air_pressure": "#AA4499",
    "tendency_of_air_pressure": "#882255",
    "illuminance": "#DDAA33",
    "wind_speed": "#117733",
    "wind_speed_of_gust": "#999933",
    "wind_from_direction": "#117733",
    "precipitation_amount": "#0077BB",
    "visibility_in_air": "#888888",
}
COLD, MILD, HOT = "#0077BB", "#EE7733", "#CC3311"
GOOD, DOUBTFUL, BAD, MINOR = "#D4EEEA", "#F9B577", "#CC3311", "#BBC4D0"
PLAIN = "#69707D"
LINK = "#0061A6"  # of what can be clicked, as Kibana has it
TEMPERATURES = (
    "#364B9A", "#4A7BB7", "#6EA6CD", "#98CAE1", "#C2E4EF", "#EAECCC",
    "#FEDA8B", "#FDB366", "#F67E4B", "#DD3D2D", "#A50026",
)  # fmt: skip
RISING = ("#FFF7BC", "#FEE391", "#FEC44F", "#FB9A29", "#EC7014", "#CC4C02", "#8C2D04")
RAIN = ("#DEEBF7", "#9ECAE1", "#4292C6", "#08519C", "#08306B")


def of(field: str) -> str | None:
    """The colour of a field's quantity: `weather.air_temperature`, or `….max` of a summary."""
    parts = field.split(".")
    return QUANTITIES.get(parts[1]) if len(parts) > 1 else None
