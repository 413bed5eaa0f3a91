"""Reads what came by way of Logstash where it lies: in Elasticsearch."""

from __future__ import annotations

from clima_forwarder.outputs.elasticsearch import queries
from clima_forwarder.outputs.logstash import Options


class Archive(queries.Archive):
    """The reading side; `outputs.base.Archive` says what each call promises."""

    def __init__(self, options: Options) -> None:
        super().__init__(options.elasticsearch)
