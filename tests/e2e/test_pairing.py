"""A station is let in by comparing digits: real processes and terminals, and some who say no."""

from __future__ import annotations

import json
import os
import re
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from clima_core import keys, pairing
from clima_core.pairing import FromForwarder, State
from tests.agent.pairing.impostor import Honest, impostor
from tests.e2e.harness import PATIENCE_S, ROOT, Account, Site, Station, wait_until

if sys.platform != "win32":
    import pty

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="needs the terminals of POSIX"),
]


@pytest.fixture
def processes() -> Iterator[ExitStack]:
    """Ends what a test has left running."""
    with ExitStack() as opened:
        yield opened


def newcomer(site: Site, name: str = "roof", folder: str | None = None, **more: Any) -> Station:
    """A station that nobody has let in, and that knows no forwarder."""
    station = site.station(name, name=folder, admitted=False, **more)
    text = station.config.read_text("utf-8")
    station.config.write_text(text.partition("[[forwarders]]")[0], "utf-8")
    return station


def enroll_command(station: Station, *arguments: str) -> list[str]:
    config = ["-c", str(station.config)]
    return [sys.executable, "-m", "clima_agent", "enroll", *arguments, *config]


def enroll(station: Station, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`clima-agent enroll`, with nobody at the terminal."""
    return subprocess.run(
        enroll_command(station, *arguments),
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def begun(site: Site, station: Station) -> str:
    """Have a station ask; the digits that it shows."""
    done = enroll(station, f"127.0.0.1:{site.pairing_port}", "--json")
    assert (1, "") == (done.returncode, done.stderr)
    digits: str = json.loads(done.stdout)["digits"]
    return digits


def asking(site: Site) -> list[dict[str, Any]]:
    """`clima stations pending --json`."""
    done = site.clima("stations", "pending", "--json")
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


@dataclass
class Terminal:
    """A command on a terminal of its own, with a person before it."""

    process: subprocess.Popen[bytes]
    descriptor: int
    screen: str = ""

    def waits_for(self, text: str) -> str:
        """Read until this is there; returns all that was said so far."""

        def there() -> bool:
            if not select.select([self.descriptor], [], [], 0.1)[0]:
                return False
            try:
                self.screen += os.read(self.descriptor, 4096).decode().replace("\r", "")
            except OSError:  # it has ended
                assert text in self.screen, self.screen
            return text in self.screen

        if text not in self.screen:
            wait_until(f"the screen says {text!r}", there)
        return self.screen

    def types(self, line: str) -> None:
        os.write(self.descriptor, f"{line}\n".encode())

    def ends(self) -> int:
        """Its exit code."""
        return self.process.wait(PATIENCE_S)


@contextmanager
def terminal(command: list[str]) -> Iterator[Terminal]:
    """Run a command on a terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    try:
        yield Terminal(process, ours)
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def clima_command(site: Site, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "clima_forwarder", *arguments, "--config", str(site.config)]


# -- two yeses -------------------------------------------------------------------------------


def test_paired_at_two_terminals_a_running_station_begins_to_send(site: Site) -> None:
    """The people at both ends compare and say yes; what was measured before arrives as well."""
    site.start_forwarder()
    roof = newcomer(site, speed=50)
    roof.start()
    roof.wait_read(20)
    address = f"127.0.0.1:{site.pairing_port}"
    with (
        terminal(enroll_command(roof, address)) as pi,
        terminal(clima_command(site, "stations", "add")) as host,
    ):
        (here,) = re.findall(r"Does it show (\d{3} \d{3})\?", pi.waits_for("[yes/no/later]"))
        there = re.findall(r'Does "roof" show (\d{3} \d{3})\?', host.waits_for("[yes/no/later]"))
        assert [here] == there
        host.types("yes")
        host.waits_for("now say yes at the station")
        assert [] == list((site.folder / "stations").glob("*.key"))
        pi.types("yes")
        assert 0 == host.ends()
        assert 0 == pi.ends()
        assert "The running agent was told" in pi.waits_for("told")
    site.wait_stored(roof, 50)
    roof.finish()
    site.assert_sound(roof)


def test_paired_without_a_terminal_the_station_sends_from_its_next_start(site: Site) -> None:
    """`--digits` at both sides, as a script would, with what each has read at the other."""
    site.start_forwarder()
    roof = newcomer(site, speed="max", total=100)
    digits = begun(site, roof)
    (pending,) = asking(site)
    assert ("roof", digits) == (pending["station"], pending["digits"])
    with subprocess.Popen(
        clima_command(site, "stations", "add", "roof", "--digits", digits),
        stdout=subprocess.DEVNULL,
        cwd=ROOT,
    ) as host:
        done = enroll(roof, "--digits", pending["digits"])
        assert (0, 0) == (done.returncode, host.wait(PATIENCE_S)), done.stdout + done.stderr
    assert "next start" in done.stdout
    assert 0 == enroll(roof).returncode
    roof.start()
    assert 0 == roof.ended()
    site.assert_sound(roof)


# -- somebody says no, or nothing ---------------------------------------------------------------


def test_the_person_at_the_station_says_no(site: Site) -> None:
    """It is over on both sides, and nothing leaves."""
    site.start_forwarder()
    roof = newcomer(site, speed=50)
    before = roof.config.read_bytes()
    roof.start()
    with terminal(enroll_command(roof, f"127.0.0.1:{site.pairing_port}")) as pi:
        pi.waits_for("[yes/no/later]")
        pi.types("no")
        assert 1 == pi.ends()
    assert [] == asking(site)
    done = enroll(roof, "--digits", "000000")
    assert (69, True) == (done.returncode, "there is no attempt" in done.stderr)
    roof.wait_read(30)
    assert ([], before) == (site.store.readings("roof"), roof.config.read_bytes())


def test_the_person_at_the_forwarder_says_no(site: Site, processes: ExitStack) -> None:
    """The station hears of it, says what to do, and sends nothing."""
    site.start_forwarder()
    roof = newcomer(site, speed=50)
    before = roof.config.read_bytes()
    roof.start()
    digits = begun(site, roof)
    waiting = processes.enter_context(
        subprocess.Popen(
            enroll_command(roof, "--digits", digits), stderr=subprocess.PIPE, text=True, cwd=ROOT
        )
    )
    with terminal(clima_command(site, "stations", "add", "roof")) as host:
        host.waits_for("[yes/no/later]")
        host.types("n")
        assert 1 == host.ends()
    _, said = waiting.communicate(timeout=PATIENCE_S)
    assert (1, True) == (waiting.returncode, "somebody there said no" in said)
    roof.wait_read(30)
    assert ([], before) == (site.store.readings("roof"), roof.config.read_bytes())


def test_a_forwarder_that_has_not_accepted_is_sent_nothing(
    site: Site, processes: ExitStack
) -> None:
    """The station's yes alone changes nothing; when the other comes, at last, all arrives."""
    site.start_forwarder()
    roof = newcomer(site, speed=50)
    before = roof.config.read_bytes()
    roof.start()
    digits = begun(site, roof)
    waiting = processes.enter_context(
        subprocess.Popen(enroll_command(roof, "--digits", digits), cwd=ROOT)
    )
    folder = site.folder / "stations/pairing"
    wait_until("the station has said yes", lambda: bool(list(folder.glob("*.confirmed"))))
    roof.wait_read(50)
    assert ([], before) == (site.store.readings("roof"), roof.config.read_bytes())
    assert waiting.poll() is None
    assert 0 == site.clima("stations", "add", "roof", "--digits", digits).returncode
    assert 0 == waiting.wait(PATIENCE_S)
    roof.finish()
    site.assert_sound(roof)


# -- somebody in between -----------------------------------------------------------------------


class Recorder:
    """A port that greets as a forwarder's does (ZMTP 3.1, CURVE), and takes what is sent then."""

    UP_TO_HELLO = 64 + 202  # a greeting, and the first command of CURVE

    GREETING = (
        b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"CURVE".ljust(20, b"\0") + b"\x01" + bytes(31)
    )

    def __init__(self) -> None:
        self.received = b""
        self.socket = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self.socket.getsockname()[1])

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(5)
                try:
                    connection.sendall(self.GREETING)
                    taken = 0
                    while taken < self.UP_TO_HELLO and (more := connection.recv(65536)):
                        self.received += more
                        taken += len(more)
                except OSError:
                    continue


def test_somebody_in_between_with_keys_of_his_own_is_found_out(site: Site) -> None:
    """He pairs with each side as the other; the digits differ, and neither side trusts him."""
    site.start_forwarder()
    roof = newcomer(site, speed=50)
    before = roof.config.read_bytes()
    roof.start()
    his = pairing.StationSide(b"m" * 32, "roof", "")
    with socket.create_connection(("127.0.0.1", site.pairing_port)) as connection:
        lines = connection.makefile("rb")
        connection.sendall(pairing.encode(his.request))
        offer = pairing.decode_from_forwarder(lines.readline())
        assert isinstance(offer, pairing.Offer)
        connection.sendall(pairing.encode(his.offered(offer)))
        reveal = pairing.decode_from_forwarder(lines.readline())
        assert isinstance(reveal, pairing.Reveal)
    with impostor(Honest()) as between:
        done = enroll(roof, str(between.peer), "--json")
        shown = json.loads(done.stdout)["digits"]
        (pending,) = asking(site)
        assert shown != pending["digits"]  # but for one chance in a million
        refused = enroll(roof, "--digits", pending["digits"])
    assert (1, True) == (refused.returncode, "somebody sits in between" in refused.stderr)
    done = site.clima("stations", "add", "roof", "--digits", shown)
    assert (1, True) == (done.returncode, "somebody sits in between" in done.stderr)
    assert [] == list((site.folder / "stations").glob("*.key"))
    roof.wait_read(30)
    assert ([], before) == (site.store.readings("roof"), roof.config.read_bytes())


def test_who_only_says_that_he_has_accepted_gets_nothing(site: Site, processes: ExitStack) -> None:
    """Though a careless person said yes: what counts is the handshake with the key itself."""
    roof = newcomer(site, speed=50)
    before = roof.config.read_bytes()
    roof.start()
    recorder = Recorder()

    def accepting(message: FromForwarder) -> bytes:
        return pairing.encode(State("accepted") if isinstance(message, State) else message)

    with impostor(Honest(accepting, port=recorder.port)) as other:
        shown = json.loads(enroll(roof, str(other.peer), "--json").stdout)["digits"]
        waiting = processes.enter_context(
            subprocess.Popen(enroll_command(roof, "--digits", shown), cwd=ROOT)
        )
        wait_until(
            "it has tried to shake hands, and asks once more",
            lambda: len(other.heard) >= 3 or waiting.poll() is not None,
        )
        assert waiting.poll() is None
        roof.wait_read(30)
        waiting.kill()
        waiting.wait()
    recorder.socket.close()
    assert before == roof.config.read_bytes()
    hellos = recorder.received.count(b"HELLO")
    assert hellos
    assert len(recorder.received) <= (hellos + 1) * recorder.UP_TO_HELLO
    assert not any(word in recorder.received for word in (b"roof", b"air_temperature", b"CLIMA1"))


# -- killed in the middle ------------------------------------------------------------------------


def test_both_are_killed_in_the_middle_and_go_on(site: Site) -> None:
    """The digits that were shown still hold; nobody is asked a second time."""
    site.start_forwarder()
    roof = newcomer(site, speed="max", total=100)
    digits = begun(site, roof)
    site.forwarder.kill()
    with subprocess.Popen(enroll_command(roof, "--digits", digits), cwd=ROOT) as waiting:
        kept = roof.folder / "agent.pairing"
        wait_until("the yes is kept", lambda: b'"confirmed":true' in kept.read_bytes())
        waiting.kill()
    site.start_forwarder()
    with subprocess.Popen(enroll_command(roof), cwd=ROOT) as going_on:
        assert 0 == site.clima("stations", "add", "roof", "--digits", digits).returncode
        assert 0 == going_on.wait(PATIENCE_S)
    assert not kept.exists()
    roof.start()
    assert 0 == roof.ended()
    site.assert_sound(roof)


def test_two_stations_of_one_name(site: Site) -> None:
    """The one whose digits were compared is let in; the other then takes `--replace`, or a name."""
    site.start_forwarder()
    roof = newcomer(site, speed="max", total=100)
    twin = newcomer(site, folder="twin", speed="max", total=100)
    digits, others = begun(site, roof), begun(site, twin)
    assert 2 == len(asking(site))
    with subprocess.Popen(enroll_command(roof, "--digits", digits), cwd=ROOT) as first:
        assert 0 == site.clima("stations", "add", "roof", "--digits", digits).returncode
        assert 0 == first.wait(PATIENCE_S)
    assert "has another key" in site.clima("stations", "pending").stdout
    done = site.clima("stations", "add", "roof", "--digits", others)
    assert (78, True) == (done.returncode, "--replace" in done.stderr)
    admitted = keys.load_certificate(site.folder / "stations/roof.key").public
    assert roof.key().public == admitted
    roof.start()
    assert 0 == roof.ended()
    assert Account() == site.account(roof)
    site.assert_sound(roof)


def test_the_forwarder_has_another_key_than_the_one_configured(site: Site) -> None:
    """It was set up anew, or is another one: nothing changes without `--replace`."""
    site.start_forwarder()
    roof = newcomer(site)
    other = keys.hexadecimal(keys.generate().public)
    address = f"127.0.0.1:{site.port}"
    assert 1 == enroll(roof, address, "--key", other).returncode
    before = roof.config.read_bytes()
    done = enroll(roof, f"127.0.0.1:{site.pairing_port}")
    assert (78, True) == (done.returncode, "forwarders[0].public_key" in done.stderr)
    assert ([], before) == (asking(site), roof.config.read_bytes())
    done = enroll(roof, f"127.0.0.1:{site.pairing_port}", "--replace", "--json")
    digits = json.loads(done.stdout)["digits"]
    with subprocess.Popen(
        enroll_command(roof, "--digits", digits, "--replace"), cwd=ROOT
    ) as going_on:
        assert 0 == site.clima("stations", "add", "roof", "--digits", digits).returncode
        assert 0 == going_on.wait(PATIENCE_S)
    right = keys.hexadecimal(site.public_key)
    assert before.replace(other.encode(), right.encode()) == roof.config.read_bytes()


def test_keys_by_hand_as_before(site: Site) -> None:
    """`enroll ADDRESS --key KEY` and `stations add ID KEY`."""
    site.start_forwarder()
    roof = newcomer(site, speed="max", total=50)
    done = enroll(roof, f"127.0.0.1:{site.port}", "--key", keys.hexadecimal(site.public_key))
    assert 1 == done.returncode
    (command,) = re.findall(r"clima (stations add roof [0-9a-f]{64})", done.stdout)
    assert 0 == site.clima(*command.split()).returncode
    assert 0 == enroll(roof).returncode
    roof.start()
    assert 0 == roof.ended()
    site.assert_sound(roof)


def test_what_is_wrong_is_said_with_the_mend(site: Site, tmp_path: Path) -> None:
    """Options that do not go together, digits that are none, an address that is none."""
    site.start_forwarder()
    roof = newcomer(site)
    for arguments, code, said in (
        (("--digits", "12345"), 69, "begin one: clima-agent enroll ADDRESS"),
        (("host/x",), 78, "expected the forwarder's host"),
        (("127.0.0.1:1",), 69, "does the forwarder run"),
        ((f"127.0.0.1:{site.port}",), 69, "is that the port"),
        (("127.0.0.1", "--key", "short"), 78, "--key: is not a public key"),
        (("--key", "short"), 78, "needs the ADDRESS"),
    ):
        done = enroll(roof, *arguments)
        assert (code, True) == (done.returncode, said in done.stderr), (arguments, done.stderr)
    for arguments, code, said in (
        (("roof", "--digits", "12 34"), 78, "expected the 6 digits"),
        (("roof", "--digits", "123456"), 1, "does not ask to be let in"),
        (("--digits", "123456"), 78, "needs the ID"),
    ):
        done = site.clima("stations", "add", *arguments)
        assert (code, True) == (done.returncode, said in done.stderr), (arguments, done.stderr)
    assert tmp_path == site.folder
