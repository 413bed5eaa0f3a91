"""The command line's frame: every ending has its exit code and its words."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from clima_core import __version__, commandline

COMMAND = """
HELP = "{name} it"

def add_arguments(parser):
    parser.add_argument("--json", action="store_true")

def run(args):
    {body}
"""
BODIES = {
    "pass-by": "return 0",
    "find": "return 1",
    "misread": "from clima_core.errors import ConfigurationError as E; raise E(['a: b', 'c: d'])",
    "miss": "raise ConnectionRefusedError(111, 'Connection refused', 'host:1')",
    "break": "return 1 // 0",
    "interrupt": "raise KeyboardInterrupt",
    "pour": "[print('x' * 1000) for _ in range(1000)]; return 0",
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package of commands, and one that must not be imported without need."""
    folder = tmp_path / f"commands_{tmp_path.name.replace('-', '_')}"
    folder.mkdir()
    (folder / "__init__.py").touch()
    for name, body in BODIES.items():
        module = folder / f"{name.replace('-', '_')}.py"
        module.write_text(COMMAND.format(name=name, body=body))
    (folder / "heavy.py").write_text("raise ImportError('imported without need')")
    monkeypatch.syspath_prepend(tmp_path)
    return folder.name


def run(package: str, *argv: str) -> int:
    return commandline.main("clima", "About.", package, [*BODIES, "heavy"], argv)


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        ("pass-by", 0, ""),
        ("find", 1, ""),
        ("misread", 78, "a: b\nc: d\n"),
        ("miss", 69, "host:1: Connection refused\n"),
        ("interrupt", 130, ""),
    ],
)
def test_each_ending_has_its_exit_code(
    package: str, command: str, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a person can mend is said without a traceback, and only the command called is loaded."""
    assert code == run(package, command, "--json")
    assert said == capsys.readouterr().err


def test_a_fault_of_ours_is_not_mistaken_for_a_finding(
    package: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A traceback, a request to report it, and 70 instead of Python's 1."""
    assert 70 == run(package, "break")
    said = capsys.readouterr().err
    assert "ZeroDivisionError" in said
    assert f"clima {__version__}: this is a fault in Clima; please report it\n" in said


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["mis"], 'no command "mis"; did you mean "miss"?'),
        (["find", "--jsn"], "unrecognized arguments: --jsn"),
        (["find", "--js"], "unrecognized arguments: --js"),
        ([], "break it"),
    ],
)
def test_what_is_not_understood_is_two(
    argv: list[str], said: str, package: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Usage errors exit with 2; a mistyped command is told the nearest one; nothing is guessed."""
    (tmp_path / package / "heavy.py").write_text(COMMAND.format(name="heavy", body="return 0"))
    with pytest.raises(SystemExit) as caught:
        run(package, *argv)
    assert 2 == caught.value.code
    assert said in capsys.readouterr().err


def test_the_version(package: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """`--version` names the program and the distribution's version."""
    (tmp_path / package / "heavy.py").write_text(COMMAND.format(name="heavy", body="return 0"))
    with pytest.raises(SystemExit) as caught:
        run(package, "--version")
    assert 0 == caught.value.code
    assert f"clima {__version__}\n" == capsys.readouterr().out


def test_a_reader_that_has_seen_enough_is_no_error(package: str, tmp_path: Path) -> None:
    """`clima readings | head -1`: no traceback, and the code of a broken pipe."""
    program = (
        "from clima_core.commandline import main;"
        f"raise SystemExit(main('clima', '', '{package}', ['pour']))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, "pour"],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert 141 == process.wait(timeout=30)
        assert b"" == process.stderr.read()
