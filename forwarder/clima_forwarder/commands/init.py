"""`clima init`: what a user station needs before its services start; does nothing a second time.

Makes the secrets, writes each service's configuration with them, and says beforehand what would
keep the services from working. Compose runs it as root, with the few capabilities that it takes
to give files away; nothing that it prints is secret.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path

from clima_core.errors import EXIT_OK, ConfigurationError
from clima_core.files import make_directory
from clima_elk import host, services, stack, tls
from clima_elk.files import Owner, directory
from clima_elk.vault import CLIMA, Vault
from clima_forwarder import operator

HELP = "make the secrets and the services' configuration files (Compose runs this)"
BACKUPS = Owner(services.STACK.uid, CLIMA.gid)  # Elasticsearch writes snapshots, we the rest
_ADDRESS = re.compile(r"https?://[\w.:\[\]-]+/?", re.ASCII)
CHOICES = {
    "output": ("logstash", "elasticsearch"),
    "users": ("native", "file"),
    "tls": ("off", "own", "given"),
    "checks": ("strict", "warn"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command; Compose gives them by environment."""
    add = parser.add_argument
    environ = os.environ
    add("--vault", type=Path, default=Path("/vault"), help="default: %(default)s")
    add("--services", type=Path, default=Path("/services"), help="default: %(default)s")
    add("--data", type=Path, default=Path("/elasticsearch-data"), help="default: %(default)s")
    add("--backups", type=Path, default=Path("/backups"), help="default: %(default)s")
    for name, (first, *others) in CHOICES.items():
        variable = f"CLIMA_{name.upper()}"
        given = environ.get(variable) or first
        shown = f"{first} or {' or '.join(others)} (default: ${variable}, or {first})"
        add(f"--{name}", default=given, metavar="NAME", help=shown)
    add("--certificates", type=Path, default=Path("/certificates"), help="for --tls given")
    add(
        "--public-url",
        default=environ.get("CLIMA_PUBLIC_URL") or "http://localhost:5601",
        metavar="URL",
        help="where people find Kibana (default: $CLIMA_PUBLIC_URL, or http://localhost:5601)",
    )
    add(
        "--stack-version",
        default=environ.get("STACK_VERSION") or stack.NEWEST,
        metavar="X.Y.Z",
        help=f"of the images (default: $STACK_VERSION, or {stack.NEWEST})",
    )


def run(arguments: argparse.Namespace) -> int:
    """Exit code 78 for what a person has to mend first."""
    _check_choices(arguments)
    _check_host(arguments)
    vault = Vault(arguments.vault)
    make_directory(vault.folder)
    with operator.alone(vault.folder):
        made = vault.make()
        settings = services.Settings(
            output=arguments.output,
            users=arguments.users,
            stack=stack.parse(arguments.stack_version),
            public_url=arguments.public_url,
            certificates=_certificates(arguments, vault),
        )
        changed = services.render(vault, arguments.services, settings)
    if arguments.backups.is_dir():
        directory(arguments.backups, BACKUPS, 0o2770)  # the group stays with what is put there
    print(_said(made, "secret", "made"))
    print(_said([str(path) for path in changed], "configuration file", "written"))
    return EXIT_OK


def _check_choices(arguments: argparse.Namespace) -> None:
    """Raise ConfigurationError for a value that is none, whether typed or in a variable."""
    problems = [
        f'CLIMA_{name.upper()}: "{getattr(arguments, name)}" is none of {", ".join(names)}'
        for name, names in CHOICES.items()
        if getattr(arguments, name) not in names
    ]
    if not _ADDRESS.fullmatch(arguments.public_url):
        problems.append(
            f'CLIMA_PUBLIC_URL: "{arguments.public_url}" is no address that Kibana starts with;'
            " expected one such as http://localhost:5601, without a path"
        )
    if problems:
        raise ConfigurationError(problems)


def _check_host(arguments: argparse.Namespace) -> None:
    """Raise ConfigurationError for whatever would keep the services from working."""
    memory = host.memory_problem(arguments.output)
    if memory and arguments.checks == "strict":
        raise ConfigurationError([memory, "To go on all the same: CLIMA_CHECKS=warn"])
    for warning in filter(None, (memory, host.maps_problem(), host.processor_problem())):
        print(warning, file=sys.stderr)
    stack.check(stack.parse(arguments.stack_version), stack.written_by(arguments.data))


def _certificates(arguments: argparse.Namespace, vault: Vault) -> tls.Certificates | None:
    if arguments.tls == "own":
        names = os.environ.get("CLIMA_KIBANA_NAMES", "").replace(",", " ").split()
        return tls.own(vault, names)
    return tls.given(arguments.certificates) if arguments.tls == "given" else None


def _said(names: list[str], what: str, done: str) -> str:
    if not names:
        return f"no {what} had to be {done}"
    return f"{len(names)} {what}s {done}: {', '.join(names)}"
