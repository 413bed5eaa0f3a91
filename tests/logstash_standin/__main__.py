"""`python -m tests.logstash_standin`: the process."""

from __future__ import annotations

import argparse
import asyncio
import signal
from contextlib import suppress
from pathlib import Path

from tests.logstash_standin.process import Logstash


def _arguments(given: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("logstash_standin", description="A Logstash for tests.")
    parser.add_argument("--listen", default="127.0.0.1:8080", help="for readings")
    parser.add_argument("--logs", default="127.0.0.1:8081", help="for the forwarder's own log")
    parser.add_argument("--statistics", default="127.0.0.1:9600", help="and for troubles")
    parser.add_argument("--username", default="clima")
    parser.add_argument("--password-file", type=Path, help="of who sends; else it is empty")
    parser.add_argument("--elasticsearch", default="http://127.0.0.1:9200")
    parser.add_argument("--elasticsearch-username", default="")
    parser.add_argument("--elasticsearch-password-file", type=Path)
    parser.add_argument("--queue", type=Path, default=Path("queue"), help="folder of the queues")
    parser.add_argument("--dead-letters-s", type=float, default=2.0, help="until they come back")
    parser.add_argument("--statistics-s", type=float, default=5.0, help="until they are true")
    return parser.parse_args(given)


async def _serve(options: argparse.Namespace) -> None:
    running = asyncio.ensure_future(Logstash(options).run())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    with suppress(asyncio.CancelledError):
        await running


if __name__ == "__main__":
    asyncio.run(_serve(_arguments()))
