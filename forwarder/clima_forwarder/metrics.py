"""What the forwarder counts, as Prometheus reads it at `/metrics`."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge


class Metrics:
    """One set of counters per forwarder, so that two in one process do not mix."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        self.records = Counter(
            "clima_records",
            "Records by what became of them",
            ["outcome"],
            registry=self.registry,
        )
        self.messages_refused = Counter(
            "clima_messages_refused",
            "Messages that were not acted on, by reason",
            ["reason"],
            registry=self.registry,
        )
        self.answers_lost = Counter(
            "clima_answers_lost",
            "Answers to stations that were gone, or did not read",
            registry=self.registry,
        )
        self.live = Counter("clima_live_readings", "Live readings", registry=self.registry)
        self.clones = Counter(
            "clima_cloned_keys",
            "Times that two live connections used one station's key",
            registry=self.registry,
        )
        self.started = Gauge(
            "clima_start_time_seconds",
            "When it started, and read its configuration",
            registry=self.registry,
        )
        self.started.set_to_current_time()
        self.sessions = Gauge("clima_sessions", "Open sessions", registry=self.registry)
        self.in_delivery = Gauge(
            "clima_batches_in_delivery", "Batches not yet stored", registry=self.registry
        )
        for outcome in ("stored", "dead_letter", "conflict", "ahead"):
            self.records.labels(outcome)
