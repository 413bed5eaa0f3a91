"""What the tests of dashboards share: a Kibana, where there is any."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from clima_dashboards.kibana import Kibana
from tests.conftest import missing
from tests.dashboards import kibana_server
from tests.elasticsearch_server import Container


@pytest.fixture(scope="session")
def real_kibana(request: pytest.FixtureRequest) -> Iterator[Kibana]:
    """One that somebody looks after, or of our own; its dashboards of ours are replaced."""
    kibana = kibana_server.given()
    if kibana:
        yield kibana
        return
    if not kibana_server.can_launch():
        missing("kibana", "no Kibana: see tests/dashboards/kibana_server.py")
    behind = request.getfixturevalue("full_elasticsearch")
    if not isinstance(behind, Container):
        missing("kibana", "CLIMA_TEST_FULL_ELASTICSEARCH_URL needs a CLIMA_TEST_KIBANA_URL too")
    with kibana_server.launched(behind) as kibana:
        yield kibana
