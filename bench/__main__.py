"""`python -m bench [PART …]`: measure, and print the table."""

from __future__ import annotations

import argparse
import sys
import tempfile
from importlib import import_module
from pathlib import Path

from bench import figures

PARTS = ("backlog", "reading", "memory", "station", "disk", "feed", "stations")
NAMED_ONLY = ("audit", "logstash")  # these take long, and an Elasticsearch


def main() -> int:
    """0 when every figure keeps its limit, 1 when one is missed."""
    parser = argparse.ArgumentParser("bench", description="The figures of docs/benchmarks.md.")
    every = (*PARTS, *NAMED_ONLY)
    text = f"of {', '.join(every)} (default: all but {', '.join(NAMED_ONLY)})"
    parser.add_argument("parts", nargs="*", metavar="PART", help=text)
    parser.add_argument("--quick", action="store_true", help="small runs: for checks, not figures")
    parser.add_argument("--json", action="store_true", help="for scripts")
    parser.add_argument(
        "--directory", type=Path, default=Path.cwd(), help="on the disk to measure; not a tmpfs"
    )
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - set(every):
        parser.error(f"no part called {', '.join(sorted(unknown))}; there are {', '.join(every)}")
    found: list[figures.Figure] = []
    try:
        for part in arguments.parts or PARTS:
            print(f"measuring: {part} …", file=sys.stderr, flush=True)
            with tempfile.TemporaryDirectory(prefix=".bench-", dir=arguments.directory) as folder:
                module = import_module(f"bench.{part}")
                found += [figures.yardstick(), *module.measure(Path(folder), quick=arguments.quick)]
    except figures.MeasurementError as error:
        print(f"no figure: {error}", file=sys.stderr)
        return 2
    print(figures.json(found) if arguments.json else figures.table(found))
    return int(any(each.verdict == "missed" for each in found))


if __name__ == "__main__":
    sys.exit(main())
