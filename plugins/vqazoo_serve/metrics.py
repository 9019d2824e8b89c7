"""What Prometheus reads from a service. Imports prometheus_client."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from functools import partial

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from vqazoo_serve.roster import Roster

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
            "vqazoo_requests_in_flight",
            "Requests taken and not yet answered.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._waiting = Gauge(
            "vqazoo_queue_questions",
            "Questions that wait for a batch.",
            registry=registry,
            multiprocess_mode="livesum",
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
            "vqazoo_feature_cache_bytes",
            "Features kept in memory.",
            registry=registry,
            multiprocess_mode="livesum",
        )

    def count(self, path: str, status: int) -> None:
        """One request was answered."""
        self.requests.labels(path, str(status)).inc()

    def watch(self, waiting: Callable[[], float], cached: Callable[[], float]) -> None:
        """Read the depth of the queue and the bytes of the cache whenever somebody looks."""
        self._waiting.set_function(waiting)
        self._cache.set_function(cached)

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self.registry)


class WorkerMetrics(Metrics):
    """The counters of one worker; what it tells is merged over all of the service.

    Each worker keeps its own in files of the roster's folder, as prometheus_client does where
    PROMETHEUS_MULTIPROC_DIR was set before it was imported; those of a worker that died still
    count. Gauges are those of the end of each worker's last request.
    """

    def __init__(self, roster: Roster, worker: int) -> None:
        super().__init__()
        self._roster = roster
        self._own = Counter(
            "vqazoo_worker_requests",
            "Requests answered, by the worker that did.",
            ("worker",),
            registry=self.registry,
        ).labels(str(worker))

    def count(self, path: str, status: int) -> None:
        super().count(path, status)
        self._own.inc()
        self._look()

    def watch(self, waiting: Callable[[], float], cached: Callable[[], float]) -> None:
        self._watched = waiting, cached

    def _look(self) -> None:
        waiting, cached = self._watched
        self._waiting.set(waiting())
        self._cache.set(cached())

    def text(self) -> bytes:
        self._look()
        merged = CollectorRegistry()
        MultiProcessCollector(merged, str(self._roster.folder))
        merged.register(_Processes(self._roster))
        return generate_latest(merged)


class _Processes(Collector):
    """What the system says of the live workers: sums, and the earliest start."""

    def __init__(self, roster: Roster) -> None:
        self._roster = roster

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        merged: dict[str, Metric] = {}
        for pid in self._roster.live():
            for metric in ProcessCollector(pid=partial(int, pid), registry=None).collect():
                if metric.name not in merged:
                    merged[metric.name] = metric
                    continue
                known = merged[metric.name]
                combine = min if metric.name == "process_start_time_seconds" else operator.add
                known.samples = [
                    before._replace(value=combine(before.value, added.value))
                    for before, added in zip(known.samples, metric.samples, strict=True)
                ]
        yield from merged.values()
