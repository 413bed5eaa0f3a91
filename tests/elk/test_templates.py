"""The index templates: the reading's contract, in Elasticsearch's words."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec
import pytest

from clima_core.identity import DATA_SETS, DEAD_LETTERS, FORWARDER_LOGS
from clima_core.reading import QUANTITIES, GeoPoint, Record
from clima_elk import elasticsearch as assets
from clima_forwarder.outputs.elasticsearch import Options
from clima_forwarder.outputs.elasticsearch.connection import Connection
from clima_forwarder.outputs.means import DIRECTION
from tests.elasticsearch_server import Server

COMPONENTS, INDICES = (
    {path.rpartition("/")[2]: body for path, body in assets.assets() if kind in path}
    for kind in ("/_component_template/", "/_index_template/")
)
TRANSFORMS = {each.name: each.body for each in assets.assets("transforms")}
LACKING = {
    "constant_keyword",
    "match_only_text",
    "scaled_float",
    "unsigned_long",
    "version",
    "wildcard",
}
UNIONS = (UnionType, Union)
TYPES: Mapping[type, set[str]] = {
    str: {"keyword", "text", "date"},  # `local_date` is a day without a time
    int: {"long"},
    float: {"double"},
    datetime: {"date"},
}


def mapped(properties: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Field names with dots, and their mappings; an object that takes any field is one itself."""
    for name, mapping in properties.items():
        if mapping.get("properties"):
            yield from mapped(mapping["properties"], f"{prefix}{name}.")
        else:
            yield prefix + name, mapping


def fields_of(index: str) -> dict[str, Any]:
    """All that an index template with its components maps."""
    body = INDICES[index]
    parts = [COMPONENTS[name]["template"] for name in body["composed_of"]]
    found: dict[str, Any] = {}
    for part in (*parts, body.get("template", {})):
        found |= mapped(part.get("mappings", {}).get("properties", {}))
    return found


def declared(struct: type[msgspec.Struct], prefix: str = "") -> Iterator[tuple[str, type]]:
    """Field names with dots, and their types, of what a station may send."""
    for field in msgspec.structs.fields(struct):
        kinds = get_args(field.type) if get_origin(field.type) in UNIONS else (field.type,)
        bare = get_args(kinds[0])[0] if get_origin(kinds[0]) is Annotated else kinds[0]
        kind = get_args(bare)[0] if get_origin(bare) is list else get_origin(bare) or bare
        name = prefix + field.encode_name
        if issubclass(kind, msgspec.Struct) and kind is not GeoPoint:
            yield from declared(kind, name + ".")
        else:
            yield name, kind


def test_the_mapping_and_the_contract_have_the_same_fields() -> None:
    """Both ways: what may be sent is mapped, and nothing is mapped that nobody sends."""
    everything = fields_of("clima-weather") | fields_of("clima-station") | fields_of("clima-agent")
    assert set(dict(declared(Record))) == set(everything) - {"event.ingested"}


def test_the_mapping_has_the_types_of_the_contract() -> None:
    """A number that is mapped as text cannot be averaged."""
    everything = fields_of("clima-weather") | fields_of("clima-station") | fields_of("clima-agent")
    for name, kind in declared(Record):
        mapping = everything[name]
        if kind is dict:
            assert mapping["dynamic"] is True, name
        elif kind is GeoPoint:
            assert mapping["type"] == "geo_point", name
        else:
            assert mapping["type"] in TYPES[kind], name


@pytest.mark.parametrize("index", ["clima-daily", "clima-monthly"])
@pytest.mark.parametrize("quantity", QUANTITIES)
def test_every_quantity_is_summed_up(index: str, quantity: str) -> None:
    """By the transform, and into fields that carry its unit."""
    fields = fields_of(index)
    ours = {name: each for name, each in fields.items() if name.startswith(f"weather.{quantity}.")}
    assert {"type": "long"} == ours[f"weather.{quantity}.count"]
    units = [each["meta"]["unit"] for each in ours.values() if "meta" in each]
    assert units
    assert {QUANTITIES[quantity].unit} == set(units)
    summed = TRANSFORMS[index]["pivot"]["aggregations"]
    finished = {re.sub("_at$", "_time", name) for name in summed} | {f"weather.{DIRECTION}.mean"}
    assert set(ours) == {name for name in finished if name.startswith(f"weather.{quantity}.")}


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_every_quantity_carries_its_unit(quantity: str) -> None:
    """As `meta.unit`, which Kibana shows."""
    unit = {"unit": QUANTITIES[quantity].unit}
    assert {"type": "double", "meta": unit} == fields_of("clima-weather")[f"weather.{quantity}"]


def test_every_data_stream_has_its_template() -> None:
    """Ahead of the server's own for metrics-*-* and logs-*-* (priority 100 and 200)."""
    names = {each.name for each in (*DATA_SETS.values(), DEAD_LETTERS, FORWARDER_LOGS)}
    streams = {name: body for name, body in INDICES.items() if "data_stream" in body}
    patterns = {pattern for body in streams.values() for pattern in body["index_patterns"]}
    assert {name.removesuffix("default") + "*" for name in names} == patterns
    plain = {"clima-journals", "clima-alerts", "clima-daily", "clima-monthly", "clima-stations"}
    assert plain == INDICES.keys() - streams.keys()
    assert all(body["priority"] > 200 for body in INDICES.values())


def test_assets_say_who_made_them_and_which_version() -> None:
    """So that an upgrade knows what it may replace."""
    for path, body in (*assets.assets(), *assets.assets("ingest_pipelines")):
        assert body["version"] >= 1, path
        assert body["_meta"]["managed_by"] == "clima", path
        assert body["_meta"]["description"], path


def test_only_types_of_every_server() -> None:
    """The small distribution of the tests lacks some."""
    used = {mapping.get("type") for index in INDICES for mapping in fields_of(index).values()}
    assert set() == used & LACKING


async def test_what_is_missing_is_installed_and_nothing_twice(elasticsearch: Server) -> None:
    """By hand or by the forwarder, the second time finds nothing to do."""
    connection = Connection(Options(url=elasticsearch.url))
    try:
        await assets.install(connection.exchange)
        assert [] == await assets.install(connection.exchange)
    finally:
        await connection.close()
    for path, body in assets.assets():
        ((_, (entry,)),) = elasticsearch.request("GET", path).items()
        installed = entry.get("component_template") or entry["index_template"]
        assert body["version"] == installed["version"]


UNKNOWN = ("/pipeline/clima-ingested", "/pipeline/clima-summarised", "/clima-mode")


class OldServer:
    """Has neither index modes nor the `set` processor, and remembers what it was given."""

    def __init__(self) -> None:
        self.held: dict[str, Any] = {}

    async def request(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        """As the real one answers."""
        if method == "GET":
            if path not in self.held:
                return 404, b"{}"
            kind = "component_template" if "component" in path else "index_template"
            return 200, json.dumps({f"{kind}s": [{kind: self.held[path]}]}).encode()
        given = json.loads(body or b"")
        if path.endswith(UNKNOWN) and given.get("template") != {}:
            return 400, b'{"error": "unknown"}'
        self.held[path] = given
        return 200, b"{}"


async def test_what_an_older_server_does_not_know_is_left_out() -> None:
    """The templates that name it still find it, empty."""
    server = OldServer()
    await assets.install(server.request)
    for name in ("clima-mode", "clima-ingested", "clima-summarised"):
        assert {} == server.held[f"/_component_template/{name}"]["template"]
    assert {asset.path for asset in assets.assets()} == server.held.keys()
    assert [] == await assets.install(server.request)


async def test_a_newer_version_is_not_replaced() -> None:
    """Two forwarders of different versions share a cluster while one is upgraded."""
    server = OldServer()
    await assets.install(server.request)
    path = "/_index_template/clima-weather"
    server.held[path] = {"version": 99, "mine": True}
    server.held["/_index_template/clima-agent"]["version"] = 0
    assert ["/_index_template/clima-agent"] == await assets.install(server.request)
    assert server.held[path] == {"version": 99, "mine": True}


async def test_how_long_data_is_kept_is_not_said_again() -> None:
    """A newer version of ours is no reason to undo what a person has chosen."""
    server = OldServer()
    await assets.install(server.request)
    path = "/_component_template/clima-retention-station"
    server.held[path] = {"version": -1, "template": {"lifecycle": {"data_retention": "365d"}}}
    assert [] == await assets.install(server.request)
    assert "365d" == server.held[path]["template"]["lifecycle"]["data_retention"]


async def test_a_refusal_is_said_with_the_servers_words() -> None:
    """A user without the privilege, for one."""

    async def request(method: str, _: str, __: bytes | None) -> tuple[int, bytes]:
        return (404, b"{}") if method == "GET" else (403, b"manage_index_templates")

    with pytest.raises(assets.InstallError, match="403 manage_index_templates"):
        await assets.install(request)
