"""Traces and metrics for an OpenTelemetry collector, by OTLP over HTTP.

The endpoint and the service's name are pgchroma's settings. Everything else, such as headers, the
sampler and timeouts, is configured by OpenTelemetry's own variables, OTEL_….
"""

from __future__ import annotations

import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from threading import Thread
from typing import Any

from litestar.types import ASGIApp
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, StatusCode

from pgchroma.model.operations import Operation
from pgchroma.server.settings import OpenTelemetry

__all__ = ("Telemetry",)


_FLUSH_SECONDS = 2.0
"""Seconds to send the rest at shutdown; OpenTelemetry itself would retry for much longer."""


class Telemetry:
    """Traces a worker's requests and exports the traces and metrics."""

    def __init__(self, settings: OpenTelemetry) -> None:
        # OpenTelemetry reads these variables. A service name that the operator set is kept.
        os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = settings.endpoint
        os.environ.setdefault("OTEL_SERVICE_NAME", settings.service_name)
        resource = Resource.create()
        self._tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        reader = PeriodicExportingMetricReader(OTLPMetricExporter())
        self._meters = MeterProvider([reader], resource=resource, shutdown_on_exit=False)
        self._tracer = self._tracers.get_tracer("pgchroma")

    def wrap(self, application: ASGIApp) -> ASGIApp:
        """Trace every request as a span, in the trace of its ``traceparent`` header."""
        wrapped: Any = OpenTelemetryMiddleware(
            application,
            default_span_details=lambda scope: (scope["method"], {}),
            tracer_provider=self._tracers,
            meter_provider=self._meters,
            exclude_spans=["receive", "send"],
        )
        return wrapped  # type: ignore[no-any-return]

    def name_request(self, operation: str) -> str:
        """Name the current span, and return the id of its trace."""
        span = trace.get_current_span()
        if operation:
            span.update_name(operation)
        return trace.format_trace_id(span.get_span_context().trace_id)

    @contextmanager
    def database(self, operation: Operation[Any]) -> Generator[None, None, None]:
        """Trace an operation on the database as a span."""
        name = type(operation).__name__
        attributes = {"db.system.name": "postgresql", "db.operation.name": name}
        with self._tracer.start_as_current_span(
            f"postgresql {name}",
            kind=SpanKind.CLIENT,
            attributes=attributes,
            # PostgreSQL's messages quote rows.
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield
            except BaseException as error:
                span.set_attribute("error.type", type(error).__name__)
                span.set_status(StatusCode.ERROR)
                raise

    def close(self) -> None:
        """Export what is left, unless the collector is unavailable."""
        providers = (self._tracers, self._meters)
        threads = [Thread(target=each.shutdown, daemon=True) for each in providers]
        for thread in threads:
            thread.start()
        until = time.monotonic() + _FLUSH_SECONDS
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
