"""`clima dashboards`: Kibana's dashboards, from the code into a Kibana and what became of them."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from clima_core.errors import EXIT_FINDING, EXIT_OK, ConfigurationError
from clima_dashboards import LANGUAGES, report
from clima_dashboards.alerting import push_rules, remove_rules, why_none
from clima_dashboards.catalogue import Catalogue, catalogue
from clima_dashboards.check import check
from clima_dashboards.dashboards import DASHBOARDS
from clima_dashboards.differences import Difference
from clima_dashboards.kibana import Kibana, RefusedError
from clima_dashboards.push import (
    Plan,
    changes,
    deletions,
    home,
    identities,
    make_home,
    objects_for,
    push,
    remove,
    title,
)
from clima_dashboards.saved_objects import SavedObject, ndjson
from clima_dashboards.saved_objects.build import build
from clima_dashboards.screenshot import screenshot
from clima_elk.installed import State

HELP = "Kibana's dashboards: put them there, look at them, see what somebody changed"

USER = "clima_dashboards"
_CHECKOUT = Path(__file__).parents[3] / "kibana-dashboards"
FOLDER = _CHECKOUT / "ndjson" if _CHECKOUT.exists() else Path("ndjson")  # where it is installed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The seven things one can do with dashboards."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)

    building = actions.add_parser("build", help="write the files that Kibana imports")
    building.set_defaults(action=_build)
    checking = actions.add_parser("check", help="say all that is wrong with the dashboards")
    checking.set_defaults(action=_check)
    for action in (building, checking):
        action.add_argument(
            "--directory", type=Path, metavar="FOLDER", default=FOLDER, help="of the built files"
        )

    pushing = actions.add_parser("push", help="put the dashboards into a Kibana")
    pushing.add_argument("--force", action="store_true", help="give up what somebody changed there")
    pushing.add_argument(
        "--home", action="store_true", help="let Kibana open on the weather: for one of your own"
    )
    pushing.add_argument(
        "--no-rules", dest="rules", action="store_false", help="leave alert rules alone"
    )
    pushing.set_defaults(action=_push)
    removing = actions.add_parser("remove", help="take all of it out of a Kibana again")
    removing.set_defaults(action=_remove)
    comparing = actions.add_parser("diff", help="what somebody changed in Kibana")
    comparing.set_defaults(action=_diff)
    pulling = actions.add_parser("pull", help="the same, as a report of what to change in the code")
    pulling.set_defaults(action=_pull)
    picturing = actions.add_parser("screenshot", help="a picture of each dashboard")
    picturing.add_argument("--directory", type=Path, metavar="FOLDER", default=Path())
    picturing.add_argument("--width", type=int, default=1920, metavar="PIXELS")
    picturing.add_argument("--timezone", metavar="ZONE", help="of who looks at it")
    picturing.add_argument(
        "dashboards", nargs="*", metavar="DASHBOARD", help="such as weather (default: all)"
    )
    picturing.set_defaults(action=_screenshot)
    for action in (pushing, removing, comparing, pulling, picturing):
        _add_kibana(action)


def _add_kibana(parser: argparse.ArgumentParser) -> None:
    environ = os.environ
    parser.add_argument(
        "--language",
        choices=LANGUAGES,
        default=environ.get("CLIMA_LANG") or LANGUAGES[0],
        help="of the texts (default: $CLIMA_LANG, or %(default)s)",
    )
    parser.add_argument(
        "--kibana",
        metavar="URL",
        default=environ.get("CLIMA_KIBANA_URL") or "http://127.0.0.1:5601",
        help="default: $CLIMA_KIBANA_URL, or %(default)s",
    )
    parser.add_argument("--space", metavar="ID", default="default", help="default: %(default)s")
    parser.add_argument(
        "--ca",
        type=Path,
        metavar="FILE",
        default=environ.get("CLIMA_KIBANA_CA"),
        help="the authority of its certificate (default: $CLIMA_KIBANA_CA, or who is known)",
    )
    parser.add_argument("--username", metavar="NAME", default=USER, help="default: %(default)s")
    parser.add_argument(
        "--password-file",
        type=Path,
        metavar="FILE",
        help=f"default: $CLIMA_KIBANA_PASSWORD, or /vault/{USER} where that is",
    )
    parser.add_argument("--api-key-file", type=Path, metavar="FILE", help="instead of a password")


def run(arguments: argparse.Namespace) -> int:
    """Do it; returns the exit code."""
    code: int = arguments.action(arguments)
    return code


def _build(arguments: argparse.Namespace) -> int:
    arguments.directory.mkdir(parents=True, exist_ok=True)
    for language in LANGUAGES:
        path = arguments.directory / f"{language}.ndjson"
        path.write_text(ndjson(build(catalogue(language))), "utf-8", newline="\n")
        print(path)
    return EXIT_OK


def _check(arguments: argparse.Namespace) -> int:
    """The files are compared where they are: an installed Clima comes without."""
    problems = check(arguments.directory if arguments.directory.exists() else None)
    for problem in problems:
        print(problem)
    return EXIT_FINDING if problems else EXIT_OK


def _push(arguments: argparse.Namespace) -> int:
    kibana, texts, objects = _given(arguments)
    _say(push(kibana, objects, force=arguments.force), kibana)
    if arguments.rules:
        _push_rules(kibana, texts, force=arguments.force)
    if arguments.home:
        _make_home(kibana, texts)
    for each in objects:
        if each.type == "dashboard":
            print(
                f"  {each.attributes['title']}: {kibana.page(f'/app/dashboards#/view/{each.id}')}"
            )
    return EXIT_OK


def _say(made: Plan, kibana: Kibana) -> None:
    if made.state is State.SAME:
        print(f"{len(made.objects)} objects are in {kibana.url} and the same")
        return
    print(f"{len(made.objects)} objects written to {kibana.url}")
    if made.retired:
        print(f"{len(made.retired)} objects of an earlier version removed")
    for each in made.released:
        print(f"of an earlier version, and yours from now on: {title(each)}")


def _make_home(kibana: Kibana, texts: Catalogue) -> None:
    try:
        changed = make_home(kibana, texts)
    except RefusedError as error:
        route = home(texts.language, kibana.space)
        print(
            f"{error}; to let Kibana open on the weather, set Default route to {route} in Stack"
            " Management, Advanced Settings"
        )
        return
    print("Kibana opens on the weather" if changed else "where Kibana opens stays as it is")


def _push_rules(kibana: Kibana, texts: Catalogue, *, force: bool) -> None:
    reason = why_none(kibana)
    if reason:
        print(f"alert rules are left out: {reason}")
        return
    steps = push_rules(kibana, texts, force=force)
    done = sum(step.do is not None for step in steps)
    print(f"{done} alert rules written, {len(steps) - done} stay as they are")
    for step in steps:
        if step.note:
            print(f"  {step.key}: {step.note}")
    if kibana.by_key and done:
        print("they run with the rights of this API key, for as long as it is valid")


def _remove(arguments: argparse.Namespace) -> int:
    """Of all languages; rules and connectors too."""
    kibana, _, _ = _given(arguments)
    count = sum(remove(kibana, objects_for(kibana, catalogue(language))) for language in LANGUAGES)
    rules = remove_rules(kibana)
    print(f"{count} objects and {rules} alert rules removed from {kibana.url}")
    return EXIT_OK


def _diff(arguments: argparse.Namespace) -> int:
    kibana, _, objects = _given(arguments)
    found = _found(kibana, objects)
    for difference in found:
        print(f"{difference.title} ({difference.type})")
        for change in difference.changes:
            print(f"  {change}")
    return EXIT_FINDING if found else EXIT_OK


def _pull(arguments: argparse.Namespace) -> int:
    kibana, texts, objects = _given(arguments)
    found = _found(kibana, objects)
    print(report.report(found, texts, kibana.space), end="")
    return EXIT_FINDING if found else EXIT_OK


def _found(kibana: Kibana, objects: Sequence[SavedObject]) -> list[Difference]:
    """What somebody changed, and what they deleted."""
    kibana.version()
    there = kibana.export(identities(objects))
    return [*changes(objects, there), *deletions(objects, there)]


def _screenshot(arguments: argparse.Namespace) -> int:
    kibana, texts, _ = _given(arguments)
    known = {dashboard.key: dashboard for dashboard in DASHBOARDS}
    for key in arguments.dashboards or known:
        if key not in known:
            raise ConfigurationError(f'no dashboard "{key}"; there are {", ".join(known)}')
        path = arguments.directory / f"{key}.{texts.language}.png"
        errors = screenshot(
            kibana, known[key], texts, path, arguments.width, timezone=arguments.timezone
        )
        for error in errors:
            print(f"{key}: {error}")
        if errors:
            return EXIT_FINDING
        print(path)
    return EXIT_OK


def _given(arguments: argparse.Namespace) -> tuple[Kibana, Catalogue, list[SavedObject]]:
    texts = catalogue(arguments.language)
    kibana = Kibana(
        arguments.kibana,
        username=arguments.username,
        password=_password(arguments),
        api_key=_text(arguments.api_key_file) if arguments.api_key_file else None,
        authority=arguments.ca,
        space=arguments.space,
    )
    return kibana, texts, objects_for(kibana, texts)


def _password(arguments: argparse.Namespace) -> str | None:
    vault = Path("/vault") / USER
    if arguments.password_file:
        return _text(arguments.password_file)
    if password := os.environ.get("CLIMA_KIBANA_PASSWORD"):
        return password
    return _text(vault) if arguments.username == USER and vault.exists() else None


def _text(path: Path) -> str:
    return path.read_text("utf-8").strip()
