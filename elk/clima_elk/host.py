"""What the stack needs of the machine: memory, a processor, many memory maps for Elasticsearch.

A container sees its host's figures; on Windows and macOS the host is Docker's virtual machine.
"""

from __future__ import annotations

from pathlib import Path

GIBIBYTE = 1024**3
MAPS = 262_144
MEMORY = {"logstash": 3.5 * GIBIBYTE, "elasticsearch": 2.6 * GIBIBYTE}  # by the forwarder's output

_MAPS_MENDS = f"""\
  Linux:              sudo sysctl -w vm.max_map_count={MAPS} && \
echo vm.max_map_count={MAPS} | sudo tee /etc/sysctl.d/99-clima.conf
  Windows with WSL2:  wsl -d docker-desktop -u root sysctl -w vm.max_map_count={MAPS}
                      for good, in %UserProfile%\\.wslconfig under [wsl2]: \
kernelCommandLine = "sysctl.vm.max_map_count={MAPS}", then wsl --shutdown
  Docker Desktop:     docker run --rm --privileged --pid=host debian \
nsenter -t 1 -m sysctl -w vm.max_map_count={MAPS}"""
_MEMORY_MENDS = """\
  Linux:              add memory, or take the small form: docker compose -f compose.yaml \
-f single.yaml up -d
  Windows with WSL2:  in %UserProfile%\\.wslconfig under [wsl2]: memory=6GB, then wsl --shutdown
  Docker Desktop:     Settings, Resources, Memory: 6 GB"""


def maps_problem(proc: Path = Path("/proc")) -> str | None:
    """Too few memory maps: a node by itself starts all the same, and may fail as its data grows."""
    maps = _number(proc / "sys/vm/max_map_count")
    if maps is None or maps >= MAPS:
        return None
    return f"vm.max_map_count is {maps}, and Elasticsearch wants {MAPS}:\n{_MAPS_MENDS}"


def memory_problem(output: str, proc: Path = Path("/proc")) -> str | None:
    """Too little memory for the services, where the forwarder writes to `output`."""
    memory = memory_bytes(proc)
    needed = MEMORY[output]
    if memory is None or memory >= needed:
        return None
    has, needs = (f"{size / GIBIBYTE:.1f} GiB" for size in (memory, needed))
    return f"this host has {has} of memory, and the services need {needs}:\n{_MEMORY_MENDS}"


def processor_problem(proc: Path = Path("/proc")) -> str | None:
    """An x86 processor without what the images of Elastic 9 were compiled for (x86-64-v2)."""
    try:
        flags = (
            (proc / "cpuinfo").read_text("utf-8", "replace").partition("\nflags")[2].split("\n")[0]
        )
    except OSError:
        return None
    if not flags or "sse4_2" in flags.split():
        return None
    return (
        "this processor has no SSE4.2, and the images of Elastic 9 do not start without: give a "
        'virtual machine the CPU type "host"; on a computer so old, STACK_VERSION=8.19.0'
    )


def memory_bytes(proc: Path = Path("/proc")) -> int | None:
    """The host's memory; None where it does not say."""
    try:
        for line in (proc / "meminfo").read_text("ascii").splitlines():
            if line.startswith("MemTotal:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text("ascii"))
    except OSError:
        return None
