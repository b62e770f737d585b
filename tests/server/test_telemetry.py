"""Traces and metrics, as a collector receives them."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from pgchroma import extras
from pgchroma.errors import MissingExtraError
from pgchroma.server.process.supervisor import serve
from pgchroma.server.settings import OpenTelemetry, ServerSettings
from tests.server_process import eventually, running

TRACE = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE}-b7ad6b7169203331-01"

BASE = "/api/v2/tenants/default_tenant/databases/default_database/collections"


class Collector:
    """Receives and keeps the exported data."""

    def __init__(self) -> None:
        self.posts: list[tuple[str, dict[str, str], bytes]] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                collector.posts.append((self.path, headers, body))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def spans(self) -> list[Any]:
        """Every span, with the name of the service it came from."""
        found = []
        for path, _, body in list(self.posts):
            if path == "/v1/traces":
                message = ExportTraceServiceRequest.FromString(body)
                for resource in message.resource_spans:
                    assert attributes(resource.resource)["service.name"] == "pgchroma-test"
                    found += [span for scope in resource.scope_spans for span in scope.spans]
        return found

    def metrics(self) -> set[str]:
        """The names of every metric."""
        return {
            metric.name
            for path, _, body in list(self.posts)
            if path == "/v1/metrics"
            for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }


def attributes(of: Any) -> dict[str, Any]:
    values = {each.key: each.value for each in of.attributes}
    return {key: value.string_value or value.int_value for key, value in values.items()}


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    thread = Thread(target=collector.server.serve_forever, daemon=True)
    thread.start()
    yield collector
    collector.server.shutdown()
    collector.server.server_close()
    thread.join()


@pytest.mark.heavy
def test_a_request_is_a_span_and_the_database_a_child(
    collector: Collector, url: str, tmp_path: Path
) -> None:
    environment = {
        "PGCHROMA_OPEN_TELEMETRY__ENDPOINT": collector.url,
        "PGCHROMA_OPEN_TELEMETRY__SERVICE_NAME": "pgchroma-test",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "OTEL_EXPORTER_OTLP_HEADERS": "x-tenant=tests",
        "PGCHROMA_LOG_FORMAT": "json",
    }
    with running(tmp_path / "log", "--url", url, "--no-auth", environment=environment) as server:
        headers = {"traceparent": TRACEPARENT}
        httpx.get(server.url + BASE, headers=headers)
        missing = httpx.get(f"{server.url}{BASE}/missing", headers=headers)
        assert missing.headers["chroma-trace-id"] == TRACE
        unknown = httpx.get(f"{server.url}/of/nobody")
        assert unknown.headers["chroma-trace-id"] not in (TRACE, "0" * 32)

        def named() -> dict[str, Any]:
            return {span.name: span for span in collector.spans()}

        spans = eventually(
            lambda: found if {"get_collection", "GET"} <= set(found := named()) else None
        )
        assert server.stop() == 0
        assert f'"trace_id":"{TRACE}"' in server.log.read_text()

    listed, found = spans["list_collections"], spans["get_collection"]
    assert {listed.trace_id.hex(), found.trace_id.hex()} == {TRACE}
    assert listed.parent_span_id.hex() == "b7ad6b7169203331"
    assert attributes(found)["http.status_code"] == 404
    child = spans["postgresql GetCollection"]
    assert (child.trace_id, child.parent_span_id) == (found.trace_id, found.span_id)
    assert attributes(child)["error.type"] == "NotFoundError"
    assert [event.name for event in child.events] == []
    assert spans["GET"].trace_id.hex() == unknown.headers["chroma-trace-id"]
    assert collector.posts[0][1]["x-tenant"] == "tests"
    assert any(name.startswith("http.server.") for name in collector.metrics())


@pytest.mark.heavy
def test_a_collector_that_is_away_stops_nothing(url: str, tmp_path: Path) -> None:
    environment = {
        "PGCHROMA_OPEN_TELEMETRY__ENDPOINT": "http://127.0.0.1:1",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }
    with running(tmp_path / "log", "--url", url, "--no-auth", environment=environment) as server:
        assert httpx.get(server.url + BASE).status_code == 200
        assert server.stop() == 0


def test_the_extra_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def installed(name: str) -> str:
        if name.startswith("opentelemetry"):
            raise PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(extras, "version", installed)
    monkeypatch.setattr(extras, "_complete", set())
    monkeypatch.setattr("pgchroma.server.process.supervisor._exit_on_signals", lambda: None)
    monkeypatch.setattr("logging.config.dictConfig", lambda configuration: None)
    settings = ServerSettings(open_telemetry=OpenTelemetry(endpoint="http://localhost:4318"))
    with pytest.raises(MissingExtraError, match=r"pip install 'pgchroma\[telemetry\]'"):
        serve(settings, print)
