"""Infrared codes as `ir-ctl` of v4l-utils reads and writes them, and the kernel's devices.

A code is kept as a text file that `ir-ctl --send` takes as it is: `carrier`, then `pulse` and
`space` by turns, in microseconds. A receiver strips the carrier off, so it is taken to be the
usual one.
"""

from __future__ import annotations

import re
import selectors
import shutil
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Literal, NamedTuple, cast

from clima_agent import permissions
from clima_core import files
from clima_core.errors import ConfigurationError, UnavailableError

SUFFIX = ".ir"
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
CARRIER_HZ = 38_000
LEAST_PULSES = 6  # fewer are sunlight or a lamp
MOST_EDGES = 1024  # what ir-ctl sends at once
END_US = (
    100_000  # a longer space ends a code; the parts of an air conditioner's are 10 to 40 ms apart
)
QUIET_S = 0.5
OVERLAYS = (
    "turn it on by `dtoverlay=gpio-ir,gpio_pin=18` (receiver) and"
    " `dtoverlay=gpio-ir-tx,gpio_pin=17` (transmitter) in config.txt, then reboot"
)
TOOL = "ir-ctl"


class Code(NamedTuple):
    """Pulses and the spaces between them in µs, beginning and ending with a pulse."""

    lengths: tuple[int, ...]
    carrier_hz: int = CARRIER_HZ

    @property
    def pulses(self) -> int:
        return (len(self.lengths) + 1) // 2

    @property
    def seconds(self) -> float:
        return sum(self.lengths) / 1e6

    def text(self) -> str:
        """The file."""
        kinds = ("pulse", "space")
        lines = (f"{kinds[i % 2]} {length}" for i, length in enumerate(self.lengths))
        return "\n".join((f"carrier {self.carrier_hz}", *lines)) + "\n"


def parsed(lines: Iterable[str], source: str) -> Code:
    """The code in such a file or stream; ConfigurationError with the line that is no part of one.

    A space before it, and a space or `timeout` after it, belong to nobody; two of a kind in
    succession, as a receiver reports when its counter ran over, are one.
    """
    lengths: list[int] = []
    carrier = CARRIER_HZ
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if not (len(words) == 2 and words[0] in _KEYWORDS and words[1].isdecimal()):
            expected = '"pulse", "space" or "carrier" and a number'
            raise ConfigurationError(
                f'{source}: line {number}: expected {expected}: "{line.strip()}"'
            )
        kind, value = words[0], int(words[1])
        if kind == "carrier":
            carrier = value
        elif kind == "pulse" and len(lengths) % 2 == 0:
            lengths.append(value)
        elif kind == "pulse" or (lengths and len(lengths) % 2 == 0):
            lengths[-1] += value
        elif lengths:
            lengths.append(value)
    code = Code(tuple(lengths[: len(lengths) - (len(lengths) + 1) % 2]), carrier)
    if code.pulses < LEAST_PULSES:
        raise ConfigurationError(f"{source}: {code.pulses} pulses are no code; learn it again")
    if len(code.lengths) > MOST_EDGES:
        raise ConfigurationError(
            f"{source}: longer than the {MOST_EDGES} pulses and spaces of ir-ctl"
        )
    return code


_KEYWORDS = ("pulse", "space", "timeout", "carrier")


def path_of(directory: Path, name: str) -> Path:
    """Where the code of that name is kept; ConfigurationError for what is no name."""
    if not NAME.fullmatch(name):
        raise ConfigurationError(f'"{name}": a name is up to 63 of a-z, 0-9 and -, as "fan-on"')
    return directory / (name + SUFFIX)


def load(path: Path) -> Code:
    """The code in a file."""
    try:
        return parsed(path.read_text("utf-8", "replace").splitlines(), str(path))
    except FileNotFoundError:
        known = ", ".join(sorted(each.stem for each in path.parent.glob("*" + SUFFIX))) or "none"
        raise ConfigurationError(
            f'{path}: there is no code "{path.stem}"; known: {known}'
        ) from None


def keep(path: Path, code: Code) -> None:
    """Write the code in one step."""
    files.write(path, code.text().encode("ascii"))


def device(direction: Literal["receive", "send"], devices: Path = Path("/dev")) -> Path:
    """The first LIRC device that can; UnavailableError with the overlay that makes one."""
    problems = []
    for path in sorted(devices.glob("lirc*")):
        done = subprocess.run(
            [_tool(), "-d", path, "--features"], capture_output=True, text=True, check=False
        )
        if f"Device can {direction} raw IR" in done.stdout:
            return path
        problems.append(done.stderr.strip() or f"{path}: cannot {direction}")
    raise UnavailableError(
        "; ".join((*problems, f"no device can {direction} infrared: {OVERLAYS}"))
    )


def send(device: Path, file: Path) -> None:
    """Send the code; UnavailableError in the words of ir-ctl."""
    done = subprocess.run(
        [_tool(), "-d", device, f"--send={file}"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise UnavailableError(_said(done.stderr, device))


def receive(device: Path, patience_s: float) -> Code:
    """The next code that is seen; UnavailableError when none is, or in the words of ir-ctl.

    Not by its option for a single message: that ends at a space of 19 ms, within a longer code.
    """
    command = [_tool(), "-d", str(device), "--receive", "--mode2"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
    ) as process:
        try:
            lines = _lines_of_a_code(cast(IO[bytes], process.stdout), patience_s)
        finally:
            process.terminate()
        if not lines:
            wrong = cast(IO[bytes], process.stderr).read().decode(errors="replace")
            nothing = f"{device}: nothing was seen in {patience_s:g} s; hold the remote closer"
            raise UnavailableError(_said(wrong, device) if wrong else nothing)
    return parsed(lines, str(device))


def _lines_of_a_code(stream: IO[bytes], patience_s: float) -> list[str]:
    lines: list[str] = []
    rest = b""
    deadline = time.monotonic() + patience_s
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while selector.select(max(0.0, deadline - time.monotonic())):
            if not (some := stream.read(4096)):
                return lines
            *whole, rest = (rest + some).split(b"\n")
            for line in whole:
                text = line.decode("ascii", "replace")
                if lines and _ends(text):
                    return lines
                if lines or text.startswith("pulse"):
                    lines.append(text)
            if lines:
                deadline = time.monotonic() + QUIET_S
    return lines


def _ends(line: str) -> bool:
    kind, _, length = line.partition(" ")
    return kind == "timeout" or (kind == "space" and length.isdecimal() and int(length) >= END_US)


def _tool() -> str:
    found = shutil.which(TOOL)
    if found is None:
        raise UnavailableError(f"{TOOL} is not installed; `sudo apt install v4l-utils` mends that")
    return found


def _said(words: str, device: Path) -> str:
    """What ir-ctl said, with the mend where it is known."""
    text = "; ".join(line for line in words.splitlines() if line) or f"{device}: failed"
    if "Permission denied" in text:
        text += f"; {permissions.mend(device, 'video')}"
    if "No such file" in text:
        text += f"; {OVERLAYS}"
    return text
