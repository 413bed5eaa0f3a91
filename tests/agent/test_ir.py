"""Infrared codes: recordings of remote controls, the real `ir-ctl`, and a stand-in with a device.

The stand-in takes the options that we use, plays a recording as the real one prints it and then
waits for more, as the real one does; what is to be sent it hands to the real one to read.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clima_agent import ir
from clima_agent.cli import main
from clima_core.errors import ConfigurationError, UnavailableError

RECORDINGS = Path(__file__).parent / "ir"
REAL = shutil.which("ir-ctl")
needs_ir_ctl = pytest.mark.skipif(REAL is None, reason="needs ir-ctl (v4l-utils)")

STAND_IN = f"""#!{sys.executable}
import sys, time
from pathlib import Path
folder = Path(__file__).parent
arguments = sys.argv[1:]
device = arguments[arguments.index("-d") + 1]
state = (folder / Path(device).name).read_text()
if "broken" in state:
    sys.exit(device + ": cannot open: Permission denied")
if "--features" in arguments:
    print("Receive features " + device + ":")
    print(" - Device can receive raw IR" if "receiver" in state else " - Device cannot receive")
    print(" - Device can send raw IR" if "transmitter" in state else " - Device cannot send")
elif "--receive" in arguments:
    assert "--mode2" in arguments
    print((folder / "seen").read_text(), end="", flush=True)  # at once: a pause would end the code
    time.sleep(60)
else:
    (file,) = [each.removeprefix("--send=") for each in arguments if each.startswith("--send=")]
    (folder / "sent").write_text(device + " " + Path(file).read_text())
"""


@pytest.fixture
def pi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A board with a receiver and a transmitter: the folder of its devices and its tools."""
    folder = tmp_path / "pi"
    folder.mkdir()
    tool = folder / "ir-ctl"
    tool.write_text(STAND_IN, "utf-8")
    tool.chmod(0o755)
    (folder / "lirc0").write_text("transmitter", "ascii")
    (folder / "lirc1").write_text("receiver", "ascii")
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


@pytest.fixture
def file(tmp_path: Path, pi: Path) -> Path:
    """A configuration that keeps its codes beside it."""
    path = tmp_path / "agent.toml"
    path.write_text(
        '[station]\nid = "roof"\n[ir]\ndirectory = "ir"\n'
        f'receiver = "{pi / "lirc1"}"\ntransmitter = "{pi / "lirc0"}"\n',
        "utf-8",
    )
    return path


NOT_PERMITTED = r"Permission denied; (`sudo usermod -aG \w+|it is root's alone)"


def recording(name: str) -> ir.Code:
    return ir.parsed((RECORDINGS / name).read_text("ascii").splitlines(), name)


@pytest.mark.parametrize(
    ("name", "pulses", "seconds"),
    [("television.mode2", 36, 0.120), ("air-conditioner.mode2", 286, 0.389)],
)
def test_a_recording_is_a_code(name: str, pulses: int, seconds: float) -> None:
    """All of it, with the pauses between its parts, and without what came before and after."""
    code = recording(name)

    assert pulses == code.pulses
    assert pytest.approx(seconds, abs=0.002) == code.seconds
    assert 38_000 == code.carrier_hz


@pytest.mark.parametrize("name", ["television.mode2", "air-conditioner.mode2"])
@needs_ir_ctl
def test_ir_ctl_takes_what_is_kept(name: str, tmp_path: Path) -> None:
    """Without a warning: all that it finds wrong is the device, which is none."""
    path = tmp_path / "code.ir"
    ir.keep(path, recording(name))

    done = subprocess.run(
        [str(REAL), "-d", "/dev/null", f"--send={path}"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stderr.startswith("/dev/null: failed to get lirc features")
    assert 1 == len(done.stderr.splitlines())


@given(st.lists(st.integers(1, 50_000), min_size=11, max_size=999).filter(lambda x: len(x) % 2))
def test_a_file_is_the_same_code_again(lengths: list[int]) -> None:
    """Whatever its lengths."""
    code = ir.Code(tuple(lengths), 36_000)

    assert code == ir.parsed(code.text().splitlines(), "file")


def test_two_of_a_kind_are_one() -> None:
    """A counter that ran over reports a length in two parts."""
    parts = ["pulse 100", "pulse 50", "space 10", "space 5"] + ["pulse 1", "space 1"] * 9

    assert (150, 15, 1, 1) == ir.parsed(parts, "receiver").lengths[:4]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("pulse 1\nspcae 2\n", 'code.ir: line 2: expected .* and a number: "spcae 2"'),
        ("pulse x\n", "code.ir: line 1"),
        ("pulse 1\nspace 2\npulse 3\n", "code.ir: 2 pulses are no code; learn it again"),
        ("", "code.ir: 0 pulses are no code; learn it again"),
        ("pulse 1\nspace 1\n" * 520, "longer than the 1024 pulses and spaces"),
    ],
)
def test_what_is_no_code_is_not_sent(text: str, problem: str, tmp_path: Path) -> None:
    """Said with file and line, before any device is touched."""
    path = tmp_path / "code.ir"
    path.write_text(text, "ascii")

    with pytest.raises(ConfigurationError, match=problem):
        ir.load(path)


def test_learned_sent_and_listed(file: Path, pi: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is sent is what was seen, to the microsecond."""
    (pi / "seen").write_text((RECORDINGS / "air-conditioner.mode2").read_text("ascii"))
    began = time.monotonic()

    assert 0 == main(["ir", "-c", str(file), "learn", "cool-22"])
    assert time.monotonic() - began < 30  # it does not wait for more
    assert 0 == main(["ir", "-c", str(file), "send", "cool-22"])
    assert 0 == main(["ir", "-c", str(file), "list", "--json"])

    said = capsys.readouterr()
    assert "press the button once" in said.err
    assert "cool-22: 286 pulses, 389 ms\n" in said.out
    assert {"name": "cool-22", "pulses": 286} == {
        name: value
        for name, value in json.loads(said.out.splitlines()[-1]).items()
        if name != "seconds"
    }
    device, _, sent = (pi / "sent").read_text("ascii").partition(" ")
    assert str(pi / "lirc0") == device
    assert recording("air-conditioner.mode2").text() == sent


def test_a_code_ends_where_the_receiver_falls_silent(
    pi: Path,
) -> None:
    """Also where it says nothing of a timeout: half a second without a pulse."""
    text = (RECORDINGS / "television.mode2").read_text("ascii").replace("timeout 125000\n", "")
    (pi / "seen").write_text(text, "ascii")

    assert recording("television.mode2") == ir.receive(pi / "lirc1", 15)


def test_sunlight_is_no_code(file: Path, pi: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is kept of it."""
    (pi / "seen").write_text((RECORDINGS / "sunlight.mode2").read_text("ascii"))

    assert 78 == main(["ir", "-c", str(file), "learn", "cool-22"])
    assert "2 pulses are no code; learn it again" in capsys.readouterr().err
    assert not (file.parent / "ir").exists()


def test_nothing_seen(file: Path, pi: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 69 after the wait."""
    (pi / "seen").write_text("", "ascii")

    assert 69 == main(["ir", "-c", str(file), "learn", "cool-22", "--wait", "0.2"])
    assert "nothing was seen in 0.2 s; hold the remote closer" in capsys.readouterr().err


def test_a_name_is_not_taken_twice(
    file: Path, pi: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Unless told so; and what is no name is no path either."""
    (pi / "seen").write_text((RECORDINGS / "television.mode2").read_text("ascii"))
    learn = ["ir", "-c", str(file), "learn"]

    assert [0, 78, 0] == [main([*learn, *more]) for more in (["tv"], ["tv"], ["tv", "--replace"])]
    assert 78 == main([*learn, "../tv"])
    assert 78 == main(["ir", "-c", str(file), "send", "tvv"])
    said = capsys.readouterr().err
    assert "tv.ir: the name is taken; --replace learns it anew" in said
    assert '"../tv": a name is up to 63 of a-z' in said
    assert 'there is no code "tvv"; known: tv' in said


@pytest.mark.parametrize(
    "words",
    [
        ["ir", "-c", "mine", "list"],
        ["ir", "list", "-c", "mine"],
        ["ir", "-c", "?", "list", "-c", "mine"],
    ],
    ids=" ".join,
)
def test_the_configuration_is_named_anywhere(
    words: list[str], file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before the action or behind it, which holds."""
    ir.keep(file.parent / "ir/tv.ir", recording("television.mode2"))

    assert 0 == main([str(file) if word == "mine" else word for word in words])
    assert "tv: 36 pulses, 120 ms\n" == capsys.readouterr().out


def test_the_list_names_what_cannot_be_sent(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1; the others are listed all the same."""
    ir.keep(file.parent / "ir/tv.ir", recording("television.mode2"))
    (file.parent / "ir/bad.ir").write_text("?", "ascii")

    assert 1 == main(["ir", "-c", str(file), "list"])
    said = capsys.readouterr()
    assert "bad.ir: line 1" in said.err
    assert "tv: 36 pulses, 120 ms\n" == said.out


def test_devices_are_found_by_what_they_can(pi: Path) -> None:
    """Their numbers change from boot to boot."""
    assert (pi / "lirc1", pi / "lirc0") == (ir.device("receive", pi), ir.device("send", pi))


def test_each_thing_that_lacks_is_said_with_its_mend(
    pi: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Overlay, permission, tool."""
    (pi / "lirc0").write_text("broken", "ascii")
    with pytest.raises(UnavailableError, match=r"lirc0: cannot open.*gpio-ir-tx,gpio_pin=17"):
        ir.device("send", pi)
    with pytest.raises(UnavailableError, match=NOT_PERMITTED):
        ir.send(pi / "lirc0", pi / "sent")
    with pytest.raises(UnavailableError, match=NOT_PERMITTED):
        ir.receive(pi / "lirc0", 5)
    with pytest.raises(UnavailableError, match=r"no device can receive .*gpio-ir,gpio_pin=18"):
        ir.device("receive", pi / "none")
    monkeypatch.setenv("PATH", str(pi / "none"))
    with pytest.raises(UnavailableError, match="apt install v4l-utils"):
        ir.send(pi / "lirc1", pi / "sent")
