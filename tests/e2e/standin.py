"""An HTTP server in front of Elasticsearch that answers as a troubled one would, on command.

It passes requests on to the real server, so that what it says was stored is stored; only what it
is told to break differs.
"""

from __future__ import annotations

import http.client
import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import urlsplit

Mode = Literal["honest", "status", "hang", "answer_lost", "some_busy"]


class StandIn:
    """Where the forwarder believes Elasticsearch to be.

    honest        everything is passed on
    status        every request is answered with `status`, and nothing is passed on
    hang          no request is answered, and nothing is passed on
    answer_lost   bulks are executed, and the connection breaks in the middle of the answer
    some_busy     of each bulk every other document is not executed, and answered with 429
    """

    def __init__(self, url: str) -> None:
        self._target = urlsplit(url)
        self.mode: Mode = "honest"
        self.status = 503
        self.troubled = 0  # requests that were not answered as they should have been
        self._honest = threading.Event()
        handler = type("Handler", (_Handler,), {"owner": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def turn(self, mode: Mode, status: int = 503) -> None:
        """Behave like this from now on."""
        self.mode, self.status, self.troubled = mode, status, 0
        if mode == "hang":
            self._honest.clear()
        else:
            self._honest.set()

    def wait(self) -> None:
        """Until nothing hangs any more."""
        self._honest.wait()

    def close(self) -> None:
        """The end."""
        self.turn("honest")
        self._server.shutdown()
        self._server.server_close()

    def ask(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        """What the real server answers."""
        connection = http.client.HTTPConnection(
            self._target.hostname or "", self._target.port, timeout=60
        )
        try:
            connection.request(method, path, body or None, headers)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()


class _Handler(BaseHTTPRequestHandler):
    owner: StandIn
    protocol_version = "HTTP/1.1"

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        owner, mode, bulk = self.owner, self.owner.mode, "_bulk" in self.path
        if mode != "honest" and (bulk or mode in ("status", "hang")):
            owner.troubled += 1
        if mode == "status":
            self._answer(owner.status, b'{"error":{"type":"trouble","reason":"on command"}}')
        elif mode == "hang":
            owner.wait()
            self.close_connection = True
        elif mode == "answer_lost" and bulk:
            self._break_off(*self._real(body))
        elif mode == "some_busy" and bulk:
            self._answer(200, self._halved(body))
        else:
            self._answer(*self._real(body))

    do_GET = do_POST = do_PUT = do_HEAD = do_DELETE = _handle  # noqa: N815 - as the library has it

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def _real(self, body: bytes) -> tuple[int, bytes]:
        names = ("content-type", "accept")
        headers = {name: self.headers[name] for name in names if name in self.headers}
        try:
            status, _, text = self.owner.ask(self.command, self.path, headers, body)
        except OSError:
            return 503, b"{}"
        return status, text

    def _answer(self, status: int, text: bytes) -> None:
        try:
            self._head(status, len(text))
            if self.command != "HEAD":
                self.wfile.write(text)
        except OSError:
            self.close_connection = True

    def _break_off(self, status: int, text: bytes) -> None:
        """Half of the answer, and then a reset."""
        try:
            self._head(status, len(text))
            self.wfile.write(text[: len(text) // 2])
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.close_connection = True

    def _head(self, status: int, length: int) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(length))
        self.send_header("x-elastic-product", "Elasticsearch")
        self.end_headers()

    def _halved(self, body: bytes) -> bytes:
        """Pass on every other document of a bulk; the rest gets a 429 of its own."""
        lines = body.rstrip(b"\n").split(b"\n")
        pairs = list(zip(lines[::2], lines[1::2], strict=True))
        passed = b"".join(action + b"\n" + source + b"\n" for action, source in pairs[::2])
        status, text = self._real(passed)
        if status != 200:
            return text
        items = iter(json.loads(text)["items"])
        busy = {"status": 429, "error": {"type": "es_rejected_execution_exception"}}
        merged = [
            next(items) if number % 2 == 0 else {"create": busy} for number in range(len(pairs))
        ]
        return json.dumps({"errors": True, "items": merged}).encode()
