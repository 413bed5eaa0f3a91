"""How the board is: read from /proc and /sys, nothing else; what is not there is left out.

The names are those of `clima_core.reading.Health`; the spool's own figures are added by others.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path


def figures(spool: Path, root: Path = Path("/")) -> dict[str, float | int]:
    """What can be known; `spool` is on the disk that matters, `root` holds `proc` and `sys`."""
    probes: dict[str, Callable[[], float | int]] = {
        "cpu_temperature": lambda: cpu_temperature(root),
        "load_1m": lambda: float(_words(root / "proc/loadavg")[0]),
        "memory_available": lambda: _memory_available(root / "proc/meminfo"),
        "disk_free": lambda: _disk_free(spool),
        "wifi_signal": lambda: _wifi_signal(root / "proc/net/wireless"),
        "uptime": lambda: float(_words(root / "proc/uptime")[0]),
    }
    found: dict[str, float | int] = {}
    for name, probe in probes.items():
        try:
            found[name] = probe()
        except (OSError, ValueError, LookupError):
            continue  # this board or kernel does not have it
    return found


def _words(path: Path) -> list[str]:
    return path.read_text("ascii", "replace").split()


def cpu_temperature(root: Path = Path("/")) -> float:
    """In °C; the kernel says thousandths. OSError or ValueError where the board has none."""
    return int((root / "sys/class/thermal/thermal_zone0/temp").read_text("ascii")) / 1000


THROTTLED = "sys/devices/platform/soc*/*firmware/get_throttled"  # the Pi 5's "soc" has an address
TROUBLES = ("supply voltage too low", "frequency capped", "throttled", "temperature limit")


def throttling(root: Path = Path("/")) -> list[str] | None:
    """What the Pi's firmware complains of, now or since boot; None where there is no such thing.

    The flags are those of `vcgencmd get_throttled`: bits 0 to 3 now, 16 to 19 since boot.
    """
    try:
        flags = int(next(root.glob(THROTTLED)).read_text("ascii"), 16)
    except (StopIteration, OSError, ValueError):
        return None
    now = [f"{each} now" for bit, each in enumerate(TROUBLES) if flags >> bit & 1]
    since = [
        f"{each} since boot"
        for bit, each in enumerate(TROUBLES)
        if flags >> bit + 16 & 1 and not flags >> bit & 1
    ]
    return now + since


def _memory_available(path: Path) -> int:
    words = _words(path)
    return int(words[words.index("MemAvailable:") + 1]) * 1024


def _disk_free(path: Path) -> int:
    """What an ordinary user may still write."""
    disk = os.statvfs(path)
    return disk.f_bavail * disk.f_frsize


def _wifi_signal(path: Path) -> float:
    """Signal level in dBm of the first interface: `wlan0: 0000   54.  -56.  -256 …`."""
    first = path.read_text("ascii").splitlines()[2].split()
    return float(first[3])
