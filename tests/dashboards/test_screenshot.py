"""Pictures where there is no Kibana to take them of."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import MagicMock

import pytest

from clima_core.errors import EXIT_UNAVAILABLE
from clima_dashboards import screenshot
from clima_forwarder.cli import main

SAID = "Page.goto: net::ERR_CONNECTION_REFUSED at http://127.0.0.1:1"


def test_a_kibana_that_is_not_there_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """In one line: the browser's own log tells nobody more."""
    engine = MagicMock()
    page = engine.return_value.__enter__().chromium.launch().new_context().new_page()
    page.goto.side_effect = RuntimeError(f"{SAID}\nCall log:\n  - navigating")
    monkeypatch.setattr(screenshot, "_playwright", engine)
    engine.return_value.__exit__.return_value = None

    where = ["--kibana", "http://127.0.0.1:1", "--directory", str(tmp_path)]
    code = main(["dashboards", "screenshot", *where])

    said = capsys.readouterr().err
    assert EXIT_UNAVAILABLE == code, said
    assert said.endswith(f": not drawn: {SAID}\n")
