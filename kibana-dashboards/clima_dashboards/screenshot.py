"""Pictures of dashboards, taken by a real browser, which also says what failed to draw."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clima_core.errors import ConfigurationError, UnavailableError
from clima_dashboards.catalogue import Catalogue
from clima_dashboards.kibana import Kibana
from clima_dashboards.layout import places
from clima_dashboards.model import Dashboard
from clima_dashboards.saved_objects.dashboard import dashboard_id
from clima_dashboards.saved_objects.ids import in_space

GRID_PX = 28  # of height per row of the grid, margins included
AROUND_PX = 240  # Kibana's own bars
TIMEOUT_S = 180
STILL = "_g=(refreshInterval:(pause:!t,value:60000))"  # nothing is loaded anew meanwhile
OPTIONS = (
    "--no-sandbox", "--disable-gpu", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-first-run",
)  # fmt: skip
HINTS = '[data-test-subj="searchSessionIndicatorPopoverContainer"]'
_DRAWN = """() => {
  const items = [...document.querySelectorAll('[data-shared-item]')];
  return items.length === %d &&
    items.every(each => each.getAttribute('data-render-complete') === 'true');
}"""
_FAILURES = (
    "embeddable-lens-failure", "embeddableStackError", "embeddableError", "visualizationError",
    "vegaMessages", "errorToastMessage", "indexPatternNotFound",
)  # fmt: skip
_ERRORS = f"""() => [...document.querySelectorAll('{
    ", ".join(f'[data-test-subj="{name}"]' for name in _FAILURES)
}, .embPanel__error, .visError')]
  .map(each => (each.innerText || '').trim().slice(0, 300)).filter(text => text)"""


def screenshot(
    kibana: Kibana,
    dashboard: Dashboard,
    texts: Catalogue,
    path: Path,
    width: int = 1920,
    *,
    timezone: str | None = None,
) -> list[str]:
    """Write a PNG of the whole dashboard; returns what the panels say went wrong."""
    with drawn(kibana, dashboard, texts, width, timezone=timezone) as page:
        page.screenshot(path=path)
        errors: list[str] = page.evaluate(_ERRORS)
    return errors


@contextmanager
def drawn(
    kibana: Kibana,
    dashboard: Dashboard,
    texts: Catalogue,
    width: int = 1920,
    *,
    timezone: str | None = None,
) -> Iterator[Any]:
    """A browser's page that has drawn all of the dashboard's panels."""
    bottom = max(place.y + place.height for _, place in places(dashboard))
    panels = sum(1 for _ in dashboard.panels())
    own = in_space(dashboard_id(dashboard.key, texts.language), kibana.space)
    address = kibana.page(f"/app/dashboards#/view/{own}?{STILL}")
    with _playwright() as engine:
        browser = engine.chromium.launch(executable_path=_chromium(), args=list(OPTIONS))
        context = browser.new_context(
            viewport={"width": width, "height": AROUND_PX + GRID_PX * bottom},
            locale=texts.language,
            timezone_id=timezone,
            extra_http_headers=dict(kibana.headers),
        )
        page = context.new_page()
        page.set_default_timeout(TIMEOUT_S * 1000)
        try:
            page.goto(address, wait_until="domcontentloaded")
            page.wait_for_function(_DRAWN % panels, polling=500)
        except Exception as error:
            line = str(error).partition("\n")[0]  # what follows is playwright's own log
            said = line.removesuffix(f" at {address}")
            raise UnavailableError(f"{address}: not drawn: {said}") from error
        page.keyboard.press("Escape")  # hints of Kibana's own, which go slowly
        page.locator(HINTS).wait_for(state="hidden")
        yield page
        browser.close()


def _playwright() -> Any:
    try:
        from playwright.sync_api import sync_playwright  # noqa: PLC0415, an extra that few need
    except ImportError as error:
        raise ConfigurationError("pictures need playwright: pip install playwright") from error
    return sync_playwright()


def _chromium() -> str | None:
    """The browser of the system, where there is one; None: playwright's own."""
    named = os.environ.get("CLIMA_CHROMIUM")
    return named or shutil.which("chromium") or shutil.which("google-chrome")
