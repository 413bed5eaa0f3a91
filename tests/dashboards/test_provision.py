"""`clima provision --kibana`: dashboards and rules go the way of all the rest, with one login."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Callable, Iterator

import pytest

from clima_core.errors import EXIT_CONFIGURATION, EXIT_FINDING, EXIT_OK, EXIT_UNAVAILABLE
from clima_dashboards.alerting import push_rules
from clima_dashboards.catalogue import catalogue
from clima_dashboards.kibana import Kibana
from clima_dashboards.rules import RULES
from clima_dashboards.saved_objects.build import build
from clima_forwarder.cli import main
from clima_forwarder.painel import removal
from tests.dashboards.kibana_standin import Standin, standin
from tests.elasticsearch_server import Server, free_port

OBJECTS = build(catalogue("pt-BR"))
Provision = Callable[..., tuple[int, str, str]]


@pytest.fixture
def kibana() -> Iterator[Standin]:
    with standin() as running:
        yield running


@pytest.fixture
def provision(
    elasticsearch: Server,
    kibana: Standin,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Provision:
    """The command, with a login that the server without security does not ask for."""
    monkeypatch.setenv("CLIMA_FORWARDER_OUTPUT__USERNAME", "me")
    monkeypatch.setenv("CLIMA_FORWARDER_OUTPUT__PASSWORD", "hunter2")
    given = ("--url", elasticsearch.url, "--kibana", kibana.url, "--language", "pt-BR")

    def run(*options: str) -> tuple[int, str, str]:
        code = main(["provision", *given, *options])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def lines(said: str, what: str) -> list[str]:
    return [each for each in said.splitlines() if each.startswith(what)]


def test_they_are_put_there_once(provision: Provision, kibana: Standin) -> None:
    """The second time there is nothing to do; the login is that of Elasticsearch."""
    code, said, _ = provision()
    assert (EXIT_OK, ["dashboards pt-BR: written"]) == (
        code,
        [each.partition(" (")[0] for each in lines(said, "dashboards")],
    )
    assert (len(OBJECTS), len(RULES)) == (len(kibana.objects), len(kibana.rules))
    assert f"Basic {base64.b64encode(b'me:hunter2').decode()}" == kibana.login

    code, said, _ = provision()
    assert (EXIT_OK, []) == (code, lines(said, "dashboards") + lines(said, "alert rule"))


def test_a_dry_run_writes_nothing(provision: Provision, kibana: Standin) -> None:
    """It says what is missing, and what would be done."""
    code, said, _ = provision("--dry-run")
    (dashboards,) = lines(said, "dashboards")
    assert EXIT_OK == code
    assert re.search(rf"pt-BR +missing +{len(OBJECTS)} objects  \*$", dashboards)
    assert len(RULES) == len([each for each in lines(said, "alert rule") if each.endswith("*")])
    assert ({}, {}, []) == (kibana.objects, kibana.rules, kibana.connectors)


def test_what_a_person_changed_is_kept_and_said(provision: Provision, kibana: Standin) -> None:
    """Until all is to be overwritten."""
    provision()
    panel = next(each for each in OBJECTS if each.type == "lens")
    kibana.edit("lens", panel.id, title="mine")

    code, _, said = provision("--strict")
    assert EXIT_FINDING == code
    assert (
        f"dashboards pt-BR: changed by a person; kept: somebody changed {panel.attributes['title']}"
        in said
    )
    assert "mine" == kibana.objects["lens", panel.id]["attributes"]["title"]

    provision("--overwrite")
    assert "mine" != kibana.objects["lens", panel.id]["attributes"]["title"]


def test_remove_takes_them_away_too(provision: Provision, kibana: Standin) -> None:
    """A dry run says how much; then it is gone, and what is somebody else's is there."""
    provision()
    kibana.objects["dashboard", "mine"] = {"type": "dashboard", "id": "mine", "attributes": {}}
    code, said, _ = provision("--remove", "--dry-run")
    assert EXIT_OK == code
    assert re.search(rf"^dashboards +pt-BR +there +{len(OBJECTS)} objects  \*$", said, re.MULTILINE)
    assert re.search(rf"^alert rules +clima +there +{len(RULES)} rules  \*$", said, re.MULTILINE)

    async def remove() -> None:
        for step in await removal(Kibana(kibana.url)):
            assert step.do
            await step.do()

    asyncio.run(remove())  # Elasticsearch's own part is not ours to take away: others use it
    assert ([("dashboard", "mine")], {}, []) == (
        list(kibana.objects),
        kibana.rules,
        kibana.connectors,
    )


def test_connectors_go_where_somebody_has_deleted_the_rules(kibana: Standin) -> None:
    """They are of no use to anybody then."""
    push_rules(Kibana(kibana.url), catalogue("en"))
    kibana.rules.clear()

    async def remove() -> None:
        (step,) = await removal(Kibana(kibana.url))
        assert step.do
        await step.do()

    asyncio.run(remove())
    assert [] == kibana.connectors
    assert [] == asyncio.run(removal(Kibana(kibana.url)))


def test_a_kibana_without_a_key_of_its_own_gets_dashboards_alone(
    provision: Provision, kibana: Standin
) -> None:
    """And why is said."""
    kibana.keeps_keys = False
    code, _, said = provision()
    assert EXIT_OK == code
    assert "xpack.encryptedSavedObjects.encryptionKey" in said
    assert (len(OBJECTS), {}) == (len(kibana.objects), kibana.rules)


def test_nothing_is_begun_where_kibana_cannot_be_used(
    provision: Provision, kibana: Standin
) -> None:
    """Too old, or not there within the time: no step has been done before that is known."""
    kibana.version = "8.2.0"
    code, said, error = provision()
    assert (EXIT_CONFIGURATION, "") == (code, said)
    assert "8.3 or newer" in error
    url = f"http://127.0.0.1:{free_port()}"
    code, said, error = provision("--kibana", url, "--wait", "0.1")
    assert (EXIT_UNAVAILABLE, "") == (code, said)
    assert url in error
