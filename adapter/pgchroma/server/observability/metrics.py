"""A worker's metrics, for Prometheus.

Each worker writes its own files, which the supervisor aggregates. Their directory must be known
before `prometheus_client` is imported, hence `enable_multiprocess`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pgchroma.model.operations import (
    Operation,
)
from pgchroma.server.observability.logs import AccessRecord

__all__ = ("Metrics", "enable_multiprocess")

_METHODS = frozenset(("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"))

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_BYTES = (1e3, 1e4, 1e5, 1e6, 1e7, 4e7)

_REFUSALS = {401: "unknown", 403: "forbidden"}


class Metrics:
    """A worker's metrics. Labels have few values, known beforehand; none comes from a caller."""

    def __init__(self) -> None:
        from prometheus_client import Counter, Gauge, Histogram  # noqa: PLC0415  (see above)

        operation = ["operation"]
        self._in_progress = Gauge(
            "pgchroma_requests_in_progress", "Requests.", multiprocess_mode="livesum"
        )
        self._requests = Counter(
            "pgchroma_requests", "Requests answered.", ["operation", "method", "status"]
        )
        self._seconds = Histogram(
            "pgchroma_request_duration_seconds", "Time to answer.", operation, buckets=_SECONDS
        )
        self._received = Histogram(
            "pgchroma_request_size_bytes", "Requests' bodies.", operation, buckets=_BYTES
        )
        self._sent = Histogram(
            "pgchroma_response_size_bytes", "Responses' bodies.", operation, buckets=_BYTES
        )
        self._refused = Counter("pgchroma_auth_failures", "Callers not let in.", ["reason"])
        self._written = Counter(
            "pgchroma_records_written", "Records in writes that succeeded.", operation
        )
        self._read = Counter("pgchroma_records_read", "Records returned.", operation)
        self._pool = Gauge(
            "pgchroma_pool_connections",
            "Database connections.",
            ["state"],
            multiprocess_mode="livesum",
        )
        self._waiting = Gauge(
            "pgchroma_pool_waiting",
            "Requests that wait for a database connection.",
            multiprocess_mode="livesum",
        )
        # Looking a labelled counter up takes longer than incrementing it.
        self._by_operation: dict[str, tuple[Any, Any, Any]] = {}
        self._by_answer: dict[tuple[str, str, int], Any] = {}

    def request_started(self) -> None:
        """Record the start of a request."""
        self._in_progress.inc()

    def request_finished(self, record: AccessRecord) -> None:
        """Record the end of a request."""
        self._in_progress.dec()
        self._counter(record).inc()
        seconds, received, sent = self._histograms(record.operation)
        seconds.observe(record.seconds)
        received.observe(record.received)
        sent.observe(record.bytes)
        if record.status in _REFUSALS:
            self._refused.labels(_REFUSALS[record.status]).inc()

    def count_records(self, operation: Operation[Any], result: Any) -> None:
        """Record how many records an operation wrote or read."""
        name = type(operation).__name__
        written, read = operation.records_written(result), operation.records_read(result)
        if written:
            self._written.labels(name).inc(written)
        if read:
            self._read.labels(name).inc(read)

    def set_pool(self, statistics: dict[str, int]) -> None:
        """Record the statistics of the connection pool."""
        size, idle = statistics.get("size", 0), statistics.get("idle", 0)
        self._pool.labels("idle").set(idle)
        self._pool.labels("used").set(size - idle)
        self._waiting.set(statistics.get("waiting", 0))

    def _histograms(self, operation: str) -> tuple[Any, Any, Any]:
        found = self._by_operation.get(operation)
        if found is None:
            labelled = (
                self._seconds.labels(operation),
                self._received.labels(operation),
                self._sent.labels(operation),
            )
            found = self._by_operation[operation] = labelled
        return found

    def _counter(self, record: AccessRecord) -> Any:
        method = record.method if record.method in _METHODS else "other"
        key = (record.operation, method, record.status)
        counter = self._by_answer.get(key)
        if counter is None:
            labels = (record.operation, method, str(record.status))
            counter = self._by_answer[key] = self._requests.labels(*labels)
        return counter


def enable_multiprocess(directory: Path) -> Metrics:
    """Return the metrics of this process, which are written to files in `directory`."""
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(directory)
    return Metrics()
