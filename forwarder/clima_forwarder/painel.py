"""Dashboards and alert rules as steps of `clima provision`, with the same login.

The dashboards of a language are one step, for they are written whole or not at all.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from clima_core.errors import UnavailableError
from clima_dashboards import LANGUAGES
from clima_dashboards.alerting import Step as RuleStep
from clima_dashboards.alerting import (
    plan_rules,
    present_rules,
    remove_rules,
    unused_connectors,
    why_none,
)
from clima_dashboards.catalogue import Catalogue, catalogue
from clima_dashboards.kibana import Identity, Kibana
from clima_dashboards.push import Plan, carry_out, objects_for, plan, present, title
from clima_elk.installed import State
from clima_elk.steps import Do, Step
from clima_forwarder.outputs.elasticsearch import Options

LOOK_S = 1.0


def add_kibana(parser: argparse.ArgumentParser) -> None:
    """The options that name a Kibana."""
    parser.add_argument(
        "--kibana",
        metavar="URL",
        help="this Kibana's dashboards and alert rules too, with the same login",
    )
    parser.add_argument("--space", metavar="ID", default="default", help="default: %(default)s")
    parser.add_argument(
        "--kibana-ca",
        type=Path,
        metavar="FILE",
        help="the authority of Kibana's certificate (default: that of Elasticsearch's)",
    )
    parser.add_argument(
        "--language",
        choices=LANGUAGES,
        default=os.environ.get("CLIMA_LANG") or LANGUAGES[0],
        help="of the dashboards (default: $CLIMA_LANG, or %(default)s)",
    )


def given(arguments: argparse.Namespace, options: Options) -> Kibana | None:
    """The Kibana that was named."""
    if not arguments.kibana:
        return None
    return Kibana(
        arguments.kibana,
        username=options.username,
        password=options.password.reveal() if options.password else None,
        api_key=options.api_key.reveal() if options.api_key else None,
        authority=arguments.kibana_ca or options.ca_file,
        space=arguments.space,
    )


async def ready(kibana: Kibana, wait_s: float, waiting: Callable[[str], None]) -> None:
    """Once it answers; `waiting` is told its address if that takes a while.

    Raises UnavailableError when it does not within `wait_s`.
    """
    deadline, told = time.monotonic() + wait_s, False
    while True:
        try:
            await asyncio.to_thread(kibana.version)
        except UnavailableError:
            if time.monotonic() >= deadline:
                raise
            if not told:
                waiting(kibana.url)
                told = True
            await asyncio.sleep(LOOK_S)
        else:
            return


async def steps(kibana: Kibana, language: str, *, overwrite: bool) -> list[Step]:
    """What there is to do."""
    texts = catalogue(language)
    made = await asyncio.to_thread(plan, kibana, objects_for(kibana, texts), force=overwrite)
    return [_dashboards(kibana, language, made), *await _rules(kibana, texts, overwrite=overwrite)]


async def removal(kibana: Kibana) -> list[Step]:
    """Of all languages, whatever somebody changed."""
    found = []
    for language in LANGUAGES:
        there = await asyncio.to_thread(present, kibana, objects_for(kibana, catalogue(language)))
        if there:
            found.append(_gone(kibana, language, there))
    rules = await asyncio.to_thread(present_rules, kibana)
    if rules or await asyncio.to_thread(unused_connectors, kibana):
        gone = _do(lambda: remove_rules(kibana), "removed, with their connectors")
        found.append(Step("alert rules", "clima", "there", gone, f"{len(rules)} rules"))
    return found


def _dashboards(kibana: Kibana, language: str, made: Plan) -> Step:
    what = "dashboards"
    if made.changed:
        names = ", ".join(each.title for each in made.changed)
        note = f"kept: somebody changed {names} (--overwrite puts Clima's own there)"
        return Step(what, language, made.state, None, note)
    note = f"{len(made.objects)} objects"
    if made.retired:
        note += f", {len(made.retired)} of an earlier version go"
    if made.released:
        note += f", somebody's own from now on: {', '.join(map(title, made.released))}"
    do = None if made.state is State.SAME else _do(lambda: carry_out(kibana, made), "written")
    return Step(what, language, made.state, do, note)


async def _rules(kibana: Kibana, texts: Catalogue, *, overwrite: bool) -> list[Step]:
    reason = await asyncio.to_thread(why_none, kibana)
    if reason:
        return [Step("alert rule", "all", State.UNKNOWN, None, f"left out: {reason}")]
    planned = await asyncio.to_thread(plan_rules, kibana, texts, force=overwrite)
    return [_rule(each) for each in planned]


def _rule(step: RuleStep) -> Step:
    do = _do(step.do, step.said) if step.do else None
    return Step("alert rule", step.key, step.state, do, step.note)


def _gone(kibana: Kibana, language: str, there: Sequence[Identity]) -> Step:
    do = _do(lambda: kibana.delete(there), "removed")
    return Step("dashboards", language, "there", do, f"{len(there)} objects")


def _do(work: Callable[[], object], said: str) -> Do:
    async def do() -> str:
        await asyncio.to_thread(work)
        return said

    return do
