"""What the host lacks, from files as Linux has them in /proc."""

from __future__ import annotations

from pathlib import Path

import pytest

from clima_elk.host import maps_problem, memory_problem, processor_problem


def proc(folder: Path, maps: int, memory_kb: int) -> Path:
    (folder / "sys/vm").mkdir(parents=True)
    (folder / "sys/vm/max_map_count").write_text(f"{maps}\n")
    (folder / "meminfo").write_text(f"MemTotal:       {memory_kb} kB\nMemFree:   1 kB\n")
    return folder


def test_a_usual_host_lacks_nothing(tmp_path: Path) -> None:
    """Four gigabytes, of which the kernel keeps some, and the maps of a recent distribution."""
    usual = proc(tmp_path, 1_048_576, 3_900_000)
    assert maps_problem(usual) is None
    assert memory_problem("logstash", usual) is None


@pytest.mark.parametrize("kind", ["Linux:", "WSL2:", "Docker Desktop:"])
def test_the_mend_is_said_for_every_kind_of_host(tmp_path: Path, kind: str) -> None:
    """With the figures: what is there, and what is needed."""
    poor = proc(tmp_path, 65_530, 2_000_000)
    maps, memory = maps_problem(poor), memory_problem("logstash", poor)
    assert maps is not None
    assert memory is not None
    assert kind in maps
    assert kind in memory
    assert "65530" in maps
    assert "1.9 GiB" in memory


def test_a_small_host_does_without_logstash(tmp_path: Path) -> None:
    """Three gigabytes are enough for the forwarder that writes straight."""
    assert memory_problem("elasticsearch", proc(tmp_path, 65_530, 2_900_000)) is None


@pytest.mark.parametrize(
    ("processor", "fits"),
    [
        ("vendor_id\t: GenuineIntel\nflags\t\t: fpu sse sse2 ssse3 sse4_1 sse4_2\nbugs\t:\n", True),
        ("vendor_id\t: AuthenticAMD\nflags\t\t: fpu sse sse2 cx16\nbugs\t: sse4_2\n", False),
        ("processor\t: 0\nFeatures\t: fp asimd\n", True),  # no x86
    ],
)
def test_a_processor_that_is_too_old_is_said(tmp_path: Path, processor: str, fits: bool) -> None:
    """Elasticsearch's own word for it is one line, in a container that starts again for ever."""
    (tmp_path / "cpuinfo").write_text(processor, "ascii")
    problem = processor_problem(tmp_path)
    assert fits == (problem is None), problem


def test_a_host_that_does_not_say_is_trusted(tmp_path: Path) -> None:
    """No /proc, as on Windows: nothing is known, so nothing is claimed."""
    assert maps_problem(tmp_path) is None
    assert memory_problem("logstash", tmp_path) is None
    assert processor_problem(tmp_path) is None
