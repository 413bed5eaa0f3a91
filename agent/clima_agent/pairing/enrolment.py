"""Goes through a pairing with the person at the station, from the first question to the last line.

What always holds: the forwarder's key is written into the configuration only when the person here
has said that the digits agree, *and* the forwarder has proven, in a handshake with that key, that
it has it and lets this station in. What the pairing port says of that is a hint when to try. So
nothing is ever sent to a forwarder whose digits nobody has compared, or that has not accepted.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec

from clima_agent import probe, running, settings_file
from clima_agent.clock import Machine
from clima_agent.connection import Forwarder
from clima_agent.pairing import attempt as attempts
from clima_agent.pairing import client
from clima_agent.pairing.attempt import Attempt
from clima_agent.pairing.client import PairingError, Peer
from clima_core import keys, pairing
from clima_core.backoff import pause_s
from clima_core.errors import ConfigurationError, UnavailableError
from clima_core.keys import KeyPair

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 5.0
AGAIN = "Begin anew: clima-agent enroll ADDRESS"
RESTART = """\
  sudo systemctl restart clima-agent
  docker compose -f agent.compose.yaml restart     (where it runs in a container)"""


class Here(NamedTuple):
    """The station that is to be let in, and where its files are."""

    station: str
    pair: KeyPair
    board: str
    key_file: Path
    config: Path
    lock: Path  # of the spool, by which a running agent is found

    @property
    def kept(self) -> Path:
        """Where an attempt is kept."""
        return attempts.path_for(self.key_file)


class Enrolment:
    """One run of the command."""

    def __init__(
        self,
        here: Here,
        *,
        say: Callable[[str], None],
        machine: Machine,
        replace: bool = False,
        write: bool = True,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`write`: into the configuration; else it is said what to put there."""
        self._here = here
        self._say = say
        self._machine = machine
        self._replace = replace
        self._write = write
        self._sleep = sleep

    def kept(self) -> Attempt | None:
        """An attempt that a person has still to answer, or that the forwarder has."""
        here = self._here
        return attempts.load(here.kept, here.station, here.pair.public, self._machine)

    def begin(self, peer: Peer) -> Attempt:
        """Exchange keys and nonces; the digits can be compared then."""
        here = self._here
        if self._write:
            settings_file.check_writable(here.config)
        key = bytes.fromhex(keys.hexadecimal(here.pair.public))
        agreed = client.begin(peer, key, here.station, here.board)
        address = peer.stations(agreed.port)
        made = attempts.made(here.station, here.pair.public, peer, agreed, self._machine)
        attempts.save(here.kept, made)
        try:
            settings_file.check_forwarder(
                here.config, address, agreed.forwarder_key, replace=self._replace
            )
        except ConfigurationError:
            self.refuse(made)
            raise
        return made

    def compare(self, attempt: Attempt, digits: str) -> None:
        """Digits read at the other side: go on if they agree, else end it."""
        if digits != attempt.agreed.digits:
            self.refuse(attempt)
            raise PairingError(
                f"{attempt.peer} shows {pairing.shown(digits)}, this station"
                f" {pairing.shown(attempt.agreed.digits)}: refused, and nothing is trusted."
                f" Mistyped? {AGAIN}. If not, somebody sits in between"
            )
        self.accept(attempt)

    def refuse(self, attempt: Attempt) -> None:
        """The person says that the digits differ: it is over on both sides."""
        attempts.forget(self._here.kept)
        try:
            client.tell(attempt.peer, pairing.Withdraw(attempt.agreed.attempt))
        except (PairingError, UnavailableError):
            self._say(f"{attempt.peer} could not be told; it forgets by itself")

    def accept(self, attempt: Attempt) -> None:
        """The person says that they agree: wait until the other side's does, and use the key."""
        here, agreed = self._here, attempt.agreed
        forwarder = Forwarder(
            attempt.peer.stations(agreed.port), keys.public_key(agreed.forwarder_key, "offer")
        )
        attempts.save(here.kept, msgspec.structs.replace(attempt, confirmed=True))
        self._wait(attempt, forwarder)
        self.use(forwarder)
        attempts.forget(here.kept)

    def use(self, forwarder: Forwarder) -> None:
        """Put the forwarder into the configuration, and tell the agent that runs."""
        here, key = self._here, keys.hexadecimal(forwarder.public_key)
        if not self._write:
            self._say(f"Put this into {here.config}:\n")
            self._say(settings_file.forwarder_table(forwarder.address, key))
            return
        settings_file.add_forwarder(here.config, forwarder.address, key, replace=self._replace)
        self._say(f"{here.config} names {forwarder.address} now, and its key")
        if running.reload(here.lock):
            self._say("The running agent was told; it begins to send")
        else:
            self._say(f"It counts from the agent's next start:\n{RESTART}")

    def _wait(self, attempt: Attempt, forwarder: Forwarder) -> None:
        """Until the forwarder has proven that it lets us in; `PairingError` if it does not."""
        failures, said = 0, ""
        while True:
            try:
                state = client.tell(attempt.peer, pairing.Confirm(attempt.agreed.attempt)).state
            except (PairingError, UnavailableError) as error:  # it may be starting anew
                state, hint = "waiting", str(error)
            else:
                hint = "Waiting until somebody there says yes, too: clima stations add"
            if state == "refused":
                attempts.forget(self._here.kept)
                raise PairingError(f"{attempt.peer}: somebody there said no. {AGAIN}")
            if state in ("accepted", "gone"):
                proof = probe.prove(forwarder, self._here.pair, self._here.station)
                if proof.admitted:
                    return
                hint = f"{forwarder.address}: {proof.text}"
            if state == "gone" or attempt.left_s(self._machine) <= 0:
                attempts.forget(self._here.kept)
                raise PairingError(f"{attempt.peer}: nobody there said yes in time. {AGAIN}")
            if hint != said:
                self._say(hint)
            said, failures = hint, failures + 1
            self._sleep(pause_s(failures, FIRST_PAUSE_S, LONGEST_PAUSE_S))
