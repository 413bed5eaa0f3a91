"""Where records go: one package per store, and the one place that knows which there are."""

from __future__ import annotations

from clima_forwarder.outputs import elasticsearch, sqlite
from clima_forwarder.outputs.base import Archive, Output


def open_output(options: sqlite.Options | elasticsearch.Options) -> Output:
    """The writing side of the store; its `open` is still to be called."""
    if isinstance(options, elasticsearch.Options):
        from clima_forwarder.outputs.elasticsearch.output import ElasticsearchOutput  # late: 16 MB

        return ElasticsearchOutput(options)
    from clima_forwarder.outputs.sqlite.output import SqliteOutput

    return SqliteOutput(options)


def open_archive(options: sqlite.Options | elasticsearch.Options) -> Archive:
    """The reading side of the store; its `open` is still to be called."""
    if isinstance(options, elasticsearch.Options):
        from clima_forwarder.outputs.elasticsearch.queries import ElasticsearchArchive

        return ElasticsearchArchive(options)
    from clima_forwarder.outputs.sqlite.queries import SqliteArchive

    return SqliteArchive(options)
