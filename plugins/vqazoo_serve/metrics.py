"""What Prometheus reads from a service. Imports prometheus_client."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """The counters of one service, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter(
            "vqazoo_requests", "Requests answered.", ("path", "status"), registry=registry
        )
        self.seconds = Histogram(
            "vqazoo_request_seconds",
            "From the first byte of a request to the end of its answer.",
            ("path",),
            buckets=SECONDS,
            registry=registry,
        )
        self.refused = Counter(
            "vqazoo_refused", "Requests refused, by reason.", ("reason",), registry=registry
        )
        self.cut = Counter(
            "vqazoo_connections_cut",
            "Connections ended by the service at once, by reason.",
            ("reason",),
            registry=registry,
        )
        self.in_flight = Gauge(
            "vqazoo_requests_in_flight", "Requests taken and not yet answered.", registry=registry
        )
        self._waiting = Gauge(
            "vqazoo_queue_questions", "Questions that wait for a batch.", registry=registry
        )
        self.batch = Histogram(
            "vqazoo_batch_questions",
            "Questions answered together.",
            buckets=SIZES,
            registry=registry,
        )
        self.batch_seconds = Histogram(
            "vqazoo_batch_seconds", "Seconds a batch took.", buckets=SECONDS, registry=registry
        )
        self.features = Counter(
            "vqazoo_features",
            "Features that a batch used, from the cache or computed.",
            ("side", "source"),
            registry=registry,
        )
        self._cache = Gauge(
            "vqazoo_feature_cache_bytes", "Features kept in memory.", registry=registry
        )

    def watch(self, waiting: Callable[[], float], cached: Callable[[], float]) -> None:
        """Read the depth of the queue and the bytes of the cache whenever somebody looks."""
        self._waiting.set_function(waiting)
        self._cache.set_function(cached)

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self.registry)
