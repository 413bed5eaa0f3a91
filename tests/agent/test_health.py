"""Health: from files like the kernel's."""

from __future__ import annotations

from pathlib import Path

import pytest

from clima_agent import health
from clima_core.reading import Health

FILES = {
    "sys/class/thermal/thermal_zone0/temp": "48312\n",
    "proc/loadavg": "0.42 0.30 0.25 1/123 4567\n",
    "proc/meminfo": "MemTotal:  947732 kB\nMemFree:  1 kB\nMemAvailable:  612340 kB\n",
    "proc/uptime": "86400.25 300000.00\n",
    "proc/net/wireless": (
        "Inter-| sta-|   Quality        |   Discarded packets               | Missed | WE\n"
        " face | tus | link level noise |  nwid  crypt   frag  retry   misc | beacon | 22\n"
        " wlan0: 0000   54.  -56.  -256        0      0      0      0      0        0\n"
    ),
}


def board(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(FILES[name], "ascii")
    return root


def test_reads_what_the_kernel_says(tmp_path: Path) -> None:
    """In the units of the record."""
    found = health.figures(tmp_path, board(tmp_path, *FILES))

    assert found.pop("disk_free") > 0
    assert {
        "cpu_temperature": 48.312,
        "load_1m": 0.42,
        "memory_available": 612340 * 1024,
        "wifi_signal": -56.0,
        "uptime": 86400.25,
    } == found
    assert found.keys() <= set(Health.__struct_fields__)


def test_what_is_not_there_is_left_out(tmp_path: Path) -> None:
    """No Wi-Fi, no thermal zone, a file of another form, no disk: the rest is still said."""
    root = board(tmp_path, "proc/loadavg", "proc/net/wireless")
    (root / "proc/net/wireless").write_text("Inter-|\n face |\n", "ascii")

    assert {"load_1m": 0.42} == health.figures(tmp_path / "missing", root)


@pytest.mark.parametrize("folder", ["soc/soc:firmware", "soc@107c000000/soc@107c000000:firmware"])
@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("0\n", []),
        ("50005\n", ["supply voltage too low now", "throttled now"]),
        (
            "d0008\n",
            ["temperature limit now", "supply voltage too low since boot", "throttled since boot"],
        ),
        ("what\n", None),
    ],
)
def test_the_firmware_complains_in_words(
    tmp_path: Path, folder: str, flags: str, expected: list[str] | None
) -> None:
    """Those of vcgencmd get_throttled; nothing where the board has no such flags."""
    assert health.throttling(tmp_path) is None
    path = tmp_path / "sys/devices/platform" / folder / "get_throttled"
    path.parent.mkdir(parents=True)
    path.write_text(flags, "ascii")
    assert expected == health.throttling(tmp_path)
