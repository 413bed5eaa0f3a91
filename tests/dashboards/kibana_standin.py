"""A stand-in for Kibana's import and export, which can be told to be old, forbidding or broken.

It keeps saved objects as a real 8.3.3 was seen to do: one import writes all objects with one time,
an export that misses objects is answered 400 and names them, and an import can fail in part.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

NOT_FOUND = {"statusCode": 404, "error": "Not Found", "message": "Not Found"}
Stored = dict[tuple[str, str], dict[str, Any]]


@dataclass
class Standin:
    """What it holds, and how it behaves."""

    url: str = ""
    version: str = "8.3.3"
    status: int = 200  # for all requests but those that are well
    refuses: str | None = None  # an import leaves out objects of this type, and says so
    hangs_up: bool = False  # an import is done, and never answered
    objects: Stored = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    old_settings: bool = True  # the path of before 8.7
    closed_settings: bool = False  # nobody may change them from outside
    imports: int = 0
    connectors: list[dict[str, Any]] = field(default_factory=list)
    rules: dict[str, dict[str, Any]] = field(default_factory=dict)
    put: dict[str, dict[str, Any]] = field(default_factory=dict)  # of rules, as it was last sent
    login: str | None = None  # as the last request came with
    keeps_keys: bool = True  # it has an encryption key of its own

    def edit(self, kind: str, own: str, **attributes: object) -> None:
        """As a person does: saved later than the import."""
        each = self.objects[kind, own]
        each["attributes"] |= attributes
        each["updated_at"] = f"{each['updated_at']}, and later"


@contextmanager
def standin() -> Iterator[Standin]:
    """One that listens until the end."""
    state = Standin()

    class Handler(_Handler):
        kibana = state

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    kibana: Standin

    def parse_request(self) -> bool:
        """All spaces are one: an id is taken once in all of them."""
        found = super().parse_request()
        self.path = re.sub(r"^/s/[^/]+", "", self.path)
        return found

    def do_GET(self) -> None:
        self.kibana.login = self.headers["authorization"]
        path = urlsplit(self.path).path
        if path == self.settings_path:
            found = {name: {"userValue": each} for name, each in self.kibana.settings.items()}
            self._answer({"settings": found})
        elif path == "/internal/kibana/settings":
            self._answer(NOT_FOUND, 404)
        elif path == "/api/alerting/_health":
            self._answer({"has_permanent_encryption_key": self.kibana.keeps_keys})
        elif path == "/api/actions/connectors":
            tells = Counter(
                action["id"] for rule in self.kibana.rules.values() for action in rule["actions"]
            )
            own = self.kibana.connectors
            self._answer([each | {"referenced_by_count": tells[each["id"]]} for each in own])
        elif path == "/api/alerting/rules/_find":
            tag = urlsplit(self.path).query.rpartition(":")[2]
            own = [each for each in self.kibana.rules.values() if tag in each["tags"]]
            self._answer({"data": own})
        elif path.startswith("/api/alerting/rule/"):
            known = self.kibana.rules.get(path.rpartition("/")[2])
            self._answer(known or NOT_FOUND, 200 if known else 404)
        else:
            self._answer({"version": {"number": self.kibana.version}})

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        own = self.path.rpartition("/")[2]
        self.kibana.put[own] = json.loads(body)
        self.kibana.rules[own] |= self.kibana.put[own]
        self._answer({})

    def do_DELETE(self) -> None:
        kind, own = urlsplit(self.path).path.split("/")[-2:]
        known: object = self.kibana.objects.pop((kind, own), None)
        if kind == "rule":
            known = self.kibana.rules.pop(own, None)
        if kind == "connector":
            known = [each for each in self.kibana.connectors if each["id"] == own]
            self.kibana.connectors = [each for each in self.kibana.connectors if each not in known]
        self._answer({} if known else NOT_FOUND, 200 if known else 404)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        path = urlsplit(self.path).path
        if path.endswith("_export"):
            self._export(json.loads(body))
        elif path.endswith("_import"):
            self._import(body)
        elif self.kibana.closed_settings and path.endswith("/kibana/settings"):
            self._answer({"statusCode": 400, "message": "not available"}, 400)
        elif path == self.settings_path:
            self.kibana.settings |= json.loads(body)["changes"]
            self._answer({})
        elif path == "/api/actions/connector":
            made = json.loads(body) | {"id": f"connector-{len(self.kibana.connectors)}"}
            self.kibana.connectors.append(made)
            self._answer(made)
        elif path.endswith("/_enable"):
            self.kibana.rules[path.split("/")[-2]]["enabled"] = True
            self._answer(b"")
        elif path.startswith("/api/alerting/rule/"):
            own = path.rpartition("/")[2]
            self.kibana.rules[own] = json.loads(body) | {"id": own}
            self._answer({})
        else:
            self._answer(NOT_FOUND, 404)

    @property
    def settings_path(self) -> str:
        return ("/api" if self.kibana.old_settings else "/internal") + "/kibana/settings"

    def _export(self, asked: dict[str, Any]) -> None:
        known = self.kibana.objects
        if "type" in asked:
            wanted = {(each["type"], each["id"]) for each in asked["hasReference"]}
            found = [
                each
                for (kind, _), each in known.items()
                if kind in asked["type"]
                and any((one["type"], one["id"]) in wanted for one in each.get("references", []))
            ]
            self._answer(b"".join(json.dumps(each).encode() + b"\n" for each in found))
            return
        named = [(each["type"], each["id"]) for each in asked["objects"]]
        missing = [each for each in named if each not in known]
        if missing:
            objects = [
                {"type": kind, "id": own, "error": {"statusCode": 404}} for kind, own in missing
            ]
            self._answer({"attributes": {"objects": objects}}, 400)
            return
        self._answer(b"".join(json.dumps(known[each]).encode() + b"\n" for each in named))

    def _import(self, body: bytes) -> None:
        self.kibana.imports += 1
        errors = []
        for line in body.splitlines():
            if not line.startswith(b'{"'):
                continue
            each = json.loads(line)
            if each["type"] == self.kibana.refuses:
                errors.append({"id": each["id"], "title": "", "error": {"type": "unknown"}})
                continue
            written = each | {"updated_at": f"import {self.kibana.imports}"}
            self.kibana.objects[each["type"], each["id"]] = written
        if self.kibana.hangs_up:
            self.close_connection = True
            return
        self._answer({"success": not errors, "errors": errors})

    def _answer(self, body: object, status: int = 200) -> None:
        found = self.kibana.status if status == 200 else status
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(found)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""
