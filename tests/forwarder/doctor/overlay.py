"""An HTTP server that gives some answers itself, and passes every other request on."""

from __future__ import annotations

import http.client
import json
import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


class Overlay:
    """Where the doctor believes a server to be; `answers` are by the beginning of the path.

    With `hangs`, nobody gets any answer until `close`. `ahead` is what its clock is wrong by.
    """

    def __init__(self, behind: str | None = None) -> None:
        self.answers: dict[str, tuple[int, Any]] = {}
        self.hangs = False
        self.ahead: timedelta | None = None
        self.ended = threading.Event()
        self._behind = urlsplit(behind) if behind else None
        handler = type("Handler", (_Handler,), {"owner": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def close(self) -> None:
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Any:
        """Status and body."""
        for beginning, (status, text) in self.answers.items():
            if path.startswith(beginning):
                return status, text if isinstance(text, bytes) else json.dumps(text).encode()
        if self._behind is None:
            return 404, b"{}"
        connection = http.client.HTTPConnection(
            self._behind.hostname or "", self._behind.port, timeout=30
        )
        try:
            connection.request(method, path, body or None, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


class _Handler(BaseHTTPRequestHandler):
    owner: Overlay
    protocol_version = "HTTP/1.1"

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.owner.hangs:
            self.owner.ended.wait()
            self.close_connection = True
            return
        names = ("content-type", "accept", "authorization")
        headers = {name: self.headers[name] for name in names if name in self.headers}
        status, text = self.owner.answer(self.command, self.path, headers, body)
        self.send_response_only(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.send_header("x-elastic-product", "Elasticsearch")
        if self.owner.ahead is not None:
            now = datetime.now(UTC) + self.owner.ahead
            self.send_header("date", format_datetime(now, usegmt=True))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = do_PUT = do_HEAD = _handle  # noqa: N815 - as the library has it

    def log_message(self, *_: Any) -> None:
        """Say nothing."""
