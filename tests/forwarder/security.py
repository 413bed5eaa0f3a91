"""What Elasticsearch does about users and API keys, over HTTP, for machines without a full one.

It checks who asks, as the real one does; `lose_answer` makes it execute one more request to that
path and break the connection instead of answering, as where one of the two dies.
"""

from __future__ import annotations

import base64
import json
import secrets
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

FIRST = "the first password of elastic"


class Security:
    """Users and their passwords, API keys and what became of them."""

    def __init__(self) -> None:
        self.passwords = {"elastic": FIRST}
        self.keys: dict[str, dict[str, Any]] = {}
        self.lose_answer = ""
        handler = type("Handler", (_Handler,), {"owner": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def who(self, header: str) -> str | None:
        """Who asks with this header."""
        kind, _, text = header.partition(" ")
        name, _, secret = base64.b64decode(text).decode(errors="replace").partition(":")
        if kind == "ApiKey":
            key = self.keys.get(name, {"invalidated": True})
            right = not key["invalidated"] and key["secret"] == secret
            return "elastic" if right else None
        return name if self.passwords.get(name) == secret else None

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        """Status and body, for whoever may ask."""
        parts = urlsplit(path).path.strip("/").split("/")
        match method, parts:
            case "GET", ["_security", "_authenticate"]:
                return 200, {"username": "elastic"}
            case "GET", ["_security", "user", name]:
                return (200, {name: {}}) if name in self.passwords else (404, {})
            case "POST", ["_security", "user", name, "_password"] if name in self.passwords:
                self.passwords[name] = body["password"]
                return 200, {}
            case "POST", ["_security", "api_key"]:
                return 200, self._made(body)
            case "GET", ["_security", "api_key"]:
                (name,) = parse_qs(urlsplit(path).query)["name"]
                return 200, {"api_keys": [k for k in self.keys.values() if k["name"] == name]}
            case "DELETE", ["_security", "api_key"]:
                for each in body["ids"]:
                    self.keys[each]["invalidated"] = True
                return 200, {}
        return 503, {"error": "it stores nothing"}

    def _made(self, body: Any) -> Any:
        number, secret = secrets.token_hex(8), secrets.token_hex(8)
        key = {"id": number, "secret": secret, "invalidated": False, "metadata": body["metadata"]}
        self.keys[number] = {"name": body["name"], **key}
        return {"id": number, "encoded": base64.b64encode(f"{number}:{secret}".encode()).decode()}


class _Handler(BaseHTTPRequestHandler):
    owner: Security
    protocol_version = "HTTP/1.1"

    def _handle(self) -> None:
        text = self.rfile.read(int(self.headers.get("content-length", 0)))
        status, body = 401, {"error": {"type": "security_exception", "reason": "wrong"}}
        if self.owner.who(self.headers.get("authorization", "")) is not None:
            status, body = self.owner.answer(
                self.command, self.path, json.loads(text) if text else None
            )
        if self.owner.lose_answer and self.owner.lose_answer in self.path:
            self.owner.lose_answer = ""
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.send_header("x-elastic-product", "Elasticsearch")
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PUT = do_DELETE = _handle  # noqa: N815 - as the library has it

    def log_message(self, *_: Any) -> None:
        """Say nothing."""
