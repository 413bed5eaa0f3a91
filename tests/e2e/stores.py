"""The stores as the tests look into them: by their own means, never through Clima's queries."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

from tests.elasticsearch_server import Server

WEATHER = "metrics-clima.weather-default"
PAGE = 5000


class Store(Protocol):
    """What the tests want of a store."""

    @property
    def options(self) -> str:
        """The forwarder's `[output]`."""

    def readings(self, station: str) -> list[tuple[str, float | None]]:
        """Time and value of each stored reading, as often as it is stored."""

    def documents(self, station: str) -> list[dict[str, Any]]:
        """Each stored reading, whole."""

    def delete(self, station: str, sequences: Sequence[int]) -> None:
        """Take readings out behind the forwarder's back."""


class SqliteStore:
    """The forwarder's own file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def options(self) -> str:
        return f'type = "sqlite"\npath = {json.dumps(str(self._path))}'

    def readings(self, station: str) -> list[tuple[str, float | None]]:
        return list(map(_reading, self.documents(station)))

    def documents(self, station: str) -> list[dict[str, Any]]:
        if not self._path.exists():
            return []
        with closing(sqlite3.connect(self._path, timeout=30)) as connection:
            bodies = connection.execute(
                "SELECT body FROM records JOIN lanes ON lane = id"
                " WHERE station = ? AND stream = 'w'",
                (station,),
            ).fetchall()
        return [json.loads(body) for (body,) in bodies]

    def delete(self, station: str, sequences: Sequence[int]) -> None:
        with closing(sqlite3.connect(self._path, timeout=30)) as connection, connection:
            connection.executemany(
                "DELETE FROM records WHERE sequence = ? AND lane IN"
                " (SELECT id FROM lanes WHERE station = ? AND stream = 'w')",
                [(sequence, station) for sequence in sequences],
            )


class ElasticsearchStore:
    """A real Elasticsearch; the forwarder may be sent another way to it by `url`."""

    def __init__(self, server: Server, url: str | None = None, timeout_s: float = 30.0) -> None:
        self.server = server
        self._url = url or server.url
        self._timeout_s = timeout_s  # a busy machine needs many: few where it is to be silent

    @property
    def options(self) -> str:
        return f'type = "elasticsearch"\nurl = "{self._url}"\ntimeout_s = {self._timeout_s}'

    def readings(self, station: str) -> list[tuple[str, float | None]]:
        fields = ["@timestamp", "weather.air_temperature"]
        return list(map(_reading, self._hits(station, fields)))

    def documents(self, station: str) -> list[dict[str, Any]]:
        return list(self._hits(station, ["*"]))

    def _hits(self, station: str, fields: list[str]) -> Iterator[dict[str, Any]]:
        self.server.request("POST", f"/{WEATHER}/_refresh?ignore_unavailable=true")
        body: dict[str, Any] = {
            "size": PAGE,
            "query": {"term": {"station.id": station}},
            "sort": ["@timestamp", "_index", "station.journal", "event.sequence"],
            "_source": fields,
        }
        while True:
            answer = self.server.request(
                "POST", f"/{WEATHER}/_search?ignore_unavailable=true", body
            )
            hits = answer["hits"]["hits"]
            yield from (hit["_source"] for hit in hits)
            if len(hits) < PAGE:
                return
            body["search_after"] = hits[-1]["sort"]

    def delete(self, station: str, sequences: Sequence[int]) -> None:
        """One by one: the server of the tests may lack delete-by-query."""
        for sequence in sequences:
            query = {
                "bool": {
                    "filter": [
                        {"term": {"station.id": station}},
                        {"term": {"event.sequence": sequence}},
                    ]
                }
            }
            found = self.server.request("POST", f"/{WEATHER}/_search", {"query": query})
            for hit in found["hits"]["hits"]:
                path = f"/{hit['_index']}/_doc/{hit['_id']}?refresh=true"
                self.server.request("DELETE", path)

    def rollover(self) -> None:
        """From here on every `_id` is free again."""
        self.server.rollover(WEATHER)


def _reading(document: dict[str, Any]) -> tuple[str, float | None]:
    return document["@timestamp"], document["weather"].get("air_temperature")
