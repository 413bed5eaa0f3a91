"""Where records go: one package per store, and the one place that knows which there are."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from clima_forwarder.outputs import elasticsearch, logstash, sqlite
from clima_forwarder.outputs.base import Archive, Output

Options = sqlite.Options | elasticsearch.Options | logstash.Options


def open_output(options: Options) -> Output:
    """The writing side of the store; its `open` is still to be called."""
    output: Output = _part(options, "output", "Output")(options)
    return output


def open_archive(options: Options) -> Archive:
    """The reading side of the store; its `open` is still to be called."""
    archive: Archive = _part(options, "queries", "Archive")(options)
    return archive


def _part(options: Options, module: str, name: str) -> Any:
    """Imported late: the Elasticsearch client alone takes 20 MB."""
    package = type(options).__module__
    return getattr(import_module(f"{package}.{module}"), name)
