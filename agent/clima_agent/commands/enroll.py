"""`clima-agent enroll`: has a forwarder let this station in, or says how things stand.

With the address of a forwarder, or of one that is found in the network, it pairs: both sides show
six digits, and a person compares them. With `--key` the forwarder's key is given by hand. With
`--moved` a person says that this board is in the place of the card's own (`board.py`).
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from clima_agent import board, config, probe
from clima_agent.cli import add_config
from clima_agent.clock import System
from clima_agent.connection import Forwarder
from clima_agent.pairing import client, search
from clima_agent.pairing.attempt import Attempt
from clima_agent.pairing.client import Peer
from clima_agent.pairing.enrolment import RESTART, Enrolment, Here
from clima_core import keys, pairing, terminal
from clima_core.errors import EXIT_FINDING, EXIT_OK, ConfigurationError, UnavailableError
from clima_core.keys import KeyPair

HELP = "have a forwarder let this station in, by comparing six digits"
STATIONS_PORT = 5570
MODEL = Path("/proc/device-tree/model")

LATER = """\
Kept for ten minutes. When they agree:  clima-agent enroll --digits THE-SIX-DIGITS-OF-THE-OTHER-SIDE
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add_config(parser)
    parser.add_argument(
        "address",
        metavar="ADDRESS",
        nargs="?",
        help="the forwarder's host; left out: those that are configured, or one found by mDNS",
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--digits", help="the six that the forwarder's side shows; asks nothing then")
    how.add_argument("--key", help="instead of pairing: the forwarder's public key")
    how.add_argument(
        "--moved",
        action="store_true",
        help="the board was replaced: its station goes on here, with name, key and readings",
    )
    parser.add_argument("--yes", action="store_true", help="with --moved: ask nothing")
    parser.add_argument(
        "--replace", action="store_true", help="put out another key that ADDRESS is configured with"
    )
    parser.add_argument(
        "--print", action="store_true", help="say what to configure instead of writing it"
    )
    parser.add_argument(
        "--interface", metavar="IP", action="append", help="look by mDNS on this one alone"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object, and no questions")


def run(arguments: argparse.Namespace) -> int:
    """Exit code 1 while no forwarder lets the station in."""
    place = board.place(config.load(arguments.config, os.environ))
    if arguments.moved:
        return _moved(place, yes=arguments.yes)
    configured = place.config
    pair = keys.load_or_create(configured.identity.key_file)
    board.bind(place)
    if place.other is not None:
        print(_of_another_board(place), file=sys.stderr)
    enrolment = _enrolment(arguments, configured, pair)
    if arguments.key is not None:
        return _by_hand(arguments, enrolment, pair)
    attempt = enrolment.kept()
    if (
        attempt
        and arguments.address
        and client.parsed(arguments.address, pairing.PORT) != attempt.peer
    ):
        attempt = None
    if attempt is None and arguments.address is None and configured.forwarders:
        return _standing(arguments, configured, pair)
    if attempt is None and arguments.digits is not None:
        raise UnavailableError(
            "there is no attempt that these digits could belong to (they hold for ten minutes);"
            " begin one: clima-agent enroll ADDRESS"
        )
    attempt = attempt or enrolment.begin(_peer(arguments))
    return _decide(arguments, enrolment, attempt)


def _enrolment(
    arguments: argparse.Namespace, configured: config.Configuration, pair: KeyPair
) -> Enrolment:
    here = Here(
        configured.station.id,
        pair,
        _model(),
        configured.identity.key_file,
        arguments.config,
        configured.spool.directory / "spool.lock",
    )
    return Enrolment(
        here,
        say=partial(print, flush=True, file=sys.stderr if arguments.json else sys.stdout),
        machine=System(),
        replace=arguments.replace,
        write=not arguments.print,
    )


def _decide(arguments: argparse.Namespace, enrolment: Enrolment, attempt: Attempt) -> int:
    """Compare with what was read at the other side, or ask whether it agrees."""
    if arguments.digits is not None:
        enrolment.compare(attempt, pairing.typed(arguments.digits))
        return EXIT_OK
    if attempt.confirmed:
        enrolment.accept(attempt)
        return EXIT_OK
    shown = pairing.shown(attempt.agreed.digits)
    if arguments.json:
        found = {
            "station": attempt.station,
            "digits": attempt.agreed.digits,
            "forwarder": str(attempt.peer),
        }
        print(msgspec.json.encode(found).decode())
        return EXIT_FINDING
    print(f"Digits of {attempt.station} with {attempt.peer}:\n\n    {shown}\n")
    print("On the user's station, `clima stations add` must show the same for this name")
    print("(with Compose: docker compose run --rm cli stations add).\n", flush=True)
    if not terminal.someone():
        print(LATER, end="")
        return EXIT_FINDING
    match terminal.ask(f"Does it show {shown}? [yes/no/later] "):
        case "y" | "yes":
            enrolment.accept(attempt)
            return EXIT_OK
        case "n" | "no":
            enrolment.refuse(attempt)
            print("Refused; nothing is trusted. Other digits mean that somebody sits in between,")
            print("or that it was another station. Begin anew: clima-agent enroll ADDRESS")
        case _:
            print(LATER, end="")
    return EXIT_FINDING


def _moved(place: board.Place, *, yes: bool) -> int:
    """Have the card's station go on here, once a person has said so."""
    if place.other is None:
        whose = "this board's" if place.board else "no board's, as this one has no serial number"
        print(f"The card is {whose}: there is nothing to do.")
        return EXIT_OK
    print(_of_another_board(place))
    if not yes:
        if not terminal.someone():
            print("Nobody is here to confirm it. To confirm: clima-agent enroll --moved --yes")
            return EXIT_FINDING
        print("Two boards must never go by one name: the other one is not to run again.")
        if terminal.ask("Is this board in its place? [yes/no] ") not in ("y", "yes"):
            print("Left as it was.")
            return EXIT_FINDING
    board.moved(place)
    print(f'"{place.other.station}" goes on here when the agent has been started again:')
    print(RESTART)
    return EXIT_OK


def _of_another_board(place: board.Place) -> str:
    card_of = place.other.station if place.other else ""
    return (
        f'The card was set up on another board, as "{card_of}". Here this station is'
        f' "{place.config.station.id}",\nwith a key of its own. If that board was replaced by this'
        " one: clima-agent enroll --moved"
    )


def _peer(arguments: argparse.Namespace) -> Peer:
    """Whom to ask: the address given, or one that is found."""
    if arguments.address is not None:
        return client.parsed(arguments.address, pairing.PORT)
    print("Looking for forwarders in this network …", file=sys.stderr, flush=True)
    found = search.forwarders(arguments.interface)
    if len(found) == 1:
        print(f"Found {found[0].name} at {found[0].peer}", file=sys.stderr)
        return found[0].peer
    if found and terminal.someone() and not arguments.json:
        return _chosen(found)
    lines = [f"  clima-agent enroll {each.peer}   ({each.name})" for each in found]
    raise UnavailableError(
        "\n".join(["several forwarders are here; which one?", *lines])
        if found
        else "no forwarder was found in this network (one in a container never is): give its"
        " address, clima-agent enroll ADDRESS"
    )


def _chosen(found: Sequence[search.Found]) -> Peer:
    for number, each in enumerate(found, 1):
        print(f"  {number}  {each.name}  {each.peer}")
    answer = terminal.ask("Which one? ")
    if answer.isascii() and answer.isdigit() and 0 < int(answer) <= len(found):
        return found[int(answer) - 1].peer
    raise UnavailableError("none was chosen")


def _by_hand(arguments: argparse.Namespace, enrolment: Enrolment, pair: KeyPair) -> int:
    """The forwarder's key is given: write it down, and see how it stands."""
    if arguments.address is None:
        raise ConfigurationError("--key: needs the ADDRESS of the forwarder whose key it is")
    peer = client.parsed(arguments.address, STATIONS_PORT)
    key = keys.given(arguments.key, "--key")
    enrolment.use(Forwarder(peer.stations(peer.port), key))
    if arguments.print:
        return EXIT_OK
    configured = board.place(config.load(arguments.config, os.environ)).config
    return _standing(arguments, configured, pair)


def _standing(
    arguments: argparse.Namespace, configured: config.Configuration, pair: KeyPair
) -> int:
    """Whether each configured forwarder lets the station in."""
    station = configured.station.id
    forwarders = [Forwarder(each.address, each.key()) for each in configured.forwarders]
    answers = {each.address: probe.ask(each, pair, station) for each in forwarders}
    found: dict[str, Any] = {
        "station": station,
        "public_key": keys.hexadecimal(pair.public),
        "fingerprint": keys.fingerprint(pair.public),
        "forwarders": answers,
    }
    print(msgspec.json.encode(found).decode() if arguments.json else _as_text(found))
    return EXIT_OK if "welcome" in answers.values() else EXIT_FINDING


def _as_text(found: dict[str, Any]) -> str:
    lines = [
        f"station      {found['station']}",
        f"fingerprint  {found['fingerprint']}",
        "",
        *(f"{address}: {answer}" for address, answer in found["forwarders"].items()),
    ]
    if "welcome" not in found["forwarders"].values():
        lines += [
            "",
            "To be let in: clima-agent enroll ADDRESS; or on the user's station",
            f"  clima stations add {found['station']} {found['public_key']}",
            "and compare the fingerprint that it prints.",
        ]
    return "\n".join(lines)


def _model() -> str:
    """The kind of board this is, for the person at the other side; empty when it does not say."""
    try:
        text = MODEL.read_bytes().decode("ascii", "replace")
    except OSError:
        return ""
    return "".join(each for each in text if " " <= each <= "~")[:64]
