"""A Logstash for machines that have none: one process that behaves as the real one does with our
pipelines, down to what is bad about it, and gets into trouble on command.

What it has in common with the real one:

- It takes NDJSON by HTTP with Basic auth, and answers 200 "ok" as soon as the events are queued.
- Queues are on disk: they survive `kill -9`, and what was being written to Elasticsearch at that
  moment is written again afterwards.
- Batches of 125 are written by bulk `create`, tried again for ever where Elasticsearch is away,
  busy or blocked. A 409 is dropped in silence. A 400 goes to the dead letter queue, and comes
  from there into `logs-clima.deadletter-default` after a while.
- A line that is no record of ours is accepted with 200, and dead-lettered. A JSON array is one
  event for each of its items. Fields that no record has are taken off, and `.000` of a time.
  (tests/test_logstash_standin.py holds it to the cases of the real one.)
- `GET /_node/stats/pipelines` has the real one's shape, and asks for the same password. After a
  start it says nothing of the pipelines, then that they are null, and how many events are queued
  it says as of some seconds ago.

Readings and logs come in at ports of their own; statistics and troubles share the third:
`POST /_trouble` with JSON of `Trouble`'s fields sets those, `POST /_die` is a `kill -9`,
`POST /_lose_queue` is as if it had died and its disk with it, `GET /_counts` says what was seen.

`python -m tests.logstash_standin --help` says how to run it; `StandIn` does that for a test.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import msgspec

from tests.logstash_standin.process import basic
from tests.logstash_standin.trouble import Counts, Trouble


class StandIn:
    """The process, for a test: started, stopped and killed at will, at the same ports."""

    username, password = "clima", "a password of the stand-in"

    def __init__(
        self,
        folder: Path,
        elasticsearch: str,
        *,
        dead_letters_s: float = 2.0,
        statistics_s: float = 5.0,
    ) -> None:
        self.folder = folder
        self.url = self.logs_url = self.statistics_url = "http://127.0.0.1:0"
        self._elasticsearch = elasticsearch
        self._lags = {"--dead-letters-s": dead_letters_s, "--statistics-s": statistics_s}
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "password").write_text(self.password)

    def start(self) -> None:
        """Start it, or start it again, and wait until it listens."""
        options = {
            "--listen": self.url.removeprefix("http://"),
            "--logs": self.logs_url.removeprefix("http://"),
            "--statistics": self.statistics_url.removeprefix("http://"),
            "--username": self.username,
            "--password-file": str(self.folder / "password"),
            "--elasticsearch": self._elasticsearch,
            "--queue": str(self.folder / "queue"),
            **{name: str(seconds) for name, seconds in self._lags.items()},
        }
        command = [sys.executable, "-m", "tests.logstash_standin"]
        with (self.folder / "standin.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, *(part for option in options.items() for part in option)],
                cwd=Path(__file__).parents[2],
                stdout=subprocess.PIPE,
                stderr=log,
            )
        assert self._process.stdout is not None
        said = self._process.stdout.readline()
        assert said, (self.folder / "standin.log").read_text()[-2000:]
        addresses = msgspec.json.decode(said, type=dict[str, str])
        self.url, self.logs_url = addresses["url"], addresses["logs_url"]
        self.statistics_url = addresses["statistics_url"]

    def kill(self) -> None:
        """`kill -9`; its queues stay."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """The end, or a pause."""
        self._end(signal.SIGTERM)

    def delete_queue(self) -> None:
        """Kill it, take its disk away, and start it again."""
        self.kill()
        shutil.rmtree(self.folder / "queue")
        self.start()

    def trouble(self, **fields: Any) -> None:
        """Set `Trouble`'s fields; the others stay as they are."""
        self._ask("POST", "/_trouble", msgspec.json.encode(fields))

    def calm(self) -> None:
        """No trouble any more."""
        self._ask("POST", "/_trouble", msgspec.json.encode(Trouble()))

    def wait_true(self) -> None:
        """Until its statistics say what is so."""
        while "events_count" not in (self.statistics().get("readings", {}).get("queue") or {}):
            time.sleep(0.02)

    def counts(self) -> Counts:
        """What it has seen since it was started."""
        return msgspec.json.decode(self._ask("GET", "/_counts"), type=Counts)

    def statistics(self) -> dict[str, Any]:
        """By pipeline."""
        answer = msgspec.json.decode(self._ask("GET", "/_node/stats/pipelines"))
        pipelines: dict[str, Any] = answer["pipelines"]
        return pipelines

    def _ask(self, method: str, path: str, body: bytes | None = None) -> bytes:
        headers = {"authorization": basic(self.username, self.folder / "password")}
        request = Request(self.statistics_url + path, body, headers, method=method)
        with urlopen(request, timeout=10) as said:
            return bytes(said.read())

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None


def running(folder: Path, elasticsearch: str, **lags: float) -> Iterator[StandIn]:
    """A stand-in for a fixture to yield from."""
    made = StandIn(folder, elasticsearch, **lags)
    made.start()
    made.wait_true()
    try:
        yield made
    finally:
        made.kill()
