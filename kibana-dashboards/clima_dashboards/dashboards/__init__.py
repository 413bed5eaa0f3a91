"""The dashboards, one module each."""

from __future__ import annotations

from clima_dashboards.dashboards.climate import CLIMATE
from clima_dashboards.dashboards.logs import LOGS
from clima_dashboards.dashboards.stations import STATIONS
from clima_dashboards.dashboards.weather import WEATHER
from clima_dashboards.model import Dashboard

DASHBOARDS: tuple[Dashboard, ...] = (WEATHER, CLIMATE, STATIONS, LOGS)
