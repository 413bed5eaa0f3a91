"""A null `_bulk` sink: as much of Elasticsearch as the forwarder speaks to, storing nothing.

It counts the records that are created per index, and their distinct ids, so that a benchmark can
tell whether anything was lost or doubled. An id that it has seen is answered with 409, as a
server does; answers have the fields that `filter_path` leaves of a real one. `GET /_counts` gives
the counts. Run as a process of its own (`python -m bench.sink PORT`): its CPU is nobody's.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Callable, Iterator
from urllib.parse import parse_qs, urlsplit

import msgspec

_ACTION = re.compile(rb'\{"(\w+)":\{"_index":"([^"]+)","_id":"([^"]+)"')
_LENGTH = re.compile(rb"content-length:\s*(\d+)", re.IGNORECASE)
_HIT_LESS = b'{"hits":{"total":{"value":0,"relation":"eq"},"hits":[]},"status":200}'


class Counts(msgspec.Struct):
    """How many records an index was given, and how many of them were different ones."""

    given: int = 0
    distinct: int = 0


class Sink:
    """What has been given to it."""

    def __init__(self) -> None:
        self._ids: dict[bytes, set[bytes]] = {}
        self._given: dict[bytes, int] = {}

    def counts(self) -> dict[str, Counts]:
        """By index."""
        return {
            index.decode(): Counts(self._given[index], len(ids)) for index, ids in self._ids.items()
        }

    def answer(self, method: str, target: str, body: bytes) -> tuple[int, bytes]:
        """HTTP status and body."""
        path, query = urlsplit(target)[2:4]
        if path.endswith("/_bulk"):
            return 200, self._bulk(body, brief="filter_path" in parse_qs(query))
        if path.endswith("/_msearch"):
            searches = body.count(b"\n") // 2
            return 200, b'{"took":0,"responses":[%b]}' % b",".join([_HIT_LESS] * searches)
        if path == "/_nodes":
            return 200, b'{"nodes":{"sink":{"version":"9.5.0"}}}'
        if path == "/_counts":
            return 200, msgspec.json.encode(self.counts())
        if path.endswith("/_refresh"):
            return 200, b'{"_shards":{"total":1,"successful":1,"failed":0}}'
        return (200, b'{"acknowledged":true}') if method == "PUT" else (404, b"{}")

    def _bulk(self, body: bytes, *, brief: bool) -> bytes:
        results = [self._take(line) for line in body.split(b"\n")[:-1:2]]
        errors = any(status == 409 for _, status, _, _ in results)
        items = b",".join(_brief(*result) if brief else _full(*result) for result in results)
        return b'{"errors":%b,"items":[%b]}' % (b"true" if errors else b"false", items)

    def _take(self, line: bytes) -> tuple[bytes, int, bytes, bytes]:
        """Count one action; its verb, status, index and id."""
        action = _ACTION.match(line)
        if action is None:
            raise ValueError(f"not an action: {line[:100]!r}")
        verb, index, id_ = action.groups()
        ids = self._ids.setdefault(index, set())
        known = verb == b"create" and id_ in ids
        ids.add(id_)
        self._given[index] = self._given.get(index, 0) + 1
        return verb, 409 if known else 201, index, id_


def _error(status: int) -> bytes:
    return b',"error":{"type":"version_conflict_engine_exception"}' if status == 409 else b""


def _brief(verb: bytes, status: int, _: bytes, __: bytes) -> bytes:
    return b'{"%b":{"status":%d%b}}' % (verb, status, _error(status))


def _full(verb: bytes, status: int, index: bytes, id_: bytes) -> bytes:
    return (
        b'{"%b":{"_index":"%b","_id":"%b","_version":1,"result":"created","_shards":{"total":2,'
        b'"successful":1,"failed":0},"_seq_no":0,"_primary_term":1,"status":%d%b}}'
        % (verb, index, id_, status, _error(status))
    )


class _Connection(asyncio.Protocol):
    """HTTP/1.1 with kept-alive connections and bodies of a stated length, no more."""

    def __init__(self, answer: Callable[[str, str, bytes], tuple[int, bytes]]) -> None:
        self._answer = answer
        self._received = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        for method, target, body in self._requests():
            status, answer = self._answer(method, target, body)
            assert self._transport is not None
            self._transport.write(
                b"HTTP/1.1 %d -\r\nX-elastic-product: Elasticsearch\r\n"
                b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
                % (status, len(answer), answer)
            )

    def _requests(self) -> Iterator[tuple[str, str, bytes]]:
        """Every request that is here whole."""
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._received[:end])
            length = _LENGTH.search(head)
            total = end + 4 + (int(length[1]) if length else 0)
            if len(self._received) < total:
                return
            body = bytes(self._received[end + 4 : total])
            del self._received[:total]
            method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
            yield method, target, body


async def serve(port: int) -> None:
    """Answer on loopback until the process is ended."""
    sink = Sink()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(sink.answer), "127.0.0.1", port)
    print(f"listening {server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
