"""The metrics for Prometheus, summed over all workers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.server_process import Server, eventually, free_port, running

BASE = "/api/v2/tenants/default_tenant/databases/default_database/collections"
WORKERS = 2


@pytest.fixture(scope="module")
def served(
    module_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Server, str]]:
    port = free_port()
    log = tmp_path_factory.mktemp("metrics") / "log"
    arguments = ("--url", module_url, "--workers", str(WORKERS), "--admin-port", str(port))
    with running(log, *arguments) as server:
        admin = f"http://127.0.0.1:{port}"
        eventually(lambda: httpx.get(f"{admin}/ready", timeout=10).status_code == 200)
        yield server, admin


Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples(admin: str) -> Samples:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(httpx.get(f"{admin}/metrics").text)
        for sample in family.samples
    }


def of(found: Samples, name: str, **labels: str) -> float:
    return found.get((name, tuple(sorted(labels.items()))), 0.0)


def test_requests_records_and_refusals_are_counted(served: tuple[Server, str]) -> None:
    server, admin = served
    key = {"authorization": f"Bearer {server.first_key}"}
    before = samples(admin)

    def send(method: str, path: str, content: Any = None) -> httpx.Response:
        # One connection per request, so that the workers share them.
        return httpx.request(method, server.url + path, json=content, headers=key, timeout=30)

    collection = f"{BASE}/{send('POST', BASE, {'name': 'counted'}).json()['id']}"
    records = {"ids": ["1", "2", "3"], "embeddings": [[1, 0], [0, 1], [1, 1]]}
    for _ in range(8):
        assert send("POST", f"{collection}/upsert", records).status_code == 200
    assert len(send("POST", f"{collection}/get", {}).json()["ids"]) == 3
    send("POST", f"{collection}/query", {"query_embeddings": [[1, 0], [0, 1]], "n_results": 2})
    send("POST", f"{collection}/delete", {"ids": ["1"]})
    send("POST", f"{collection}/get", {"limit": "many"})
    assert httpx.get(server.url + BASE).status_code == 401
    assert httpx.get(f"{server.url}/of/nobody").status_code == 404
    httpx.request("BREW", server.url + BASE)

    total = "pgchroma_requests_total"
    found = samples(admin)

    def grown(name: str, **labels: str) -> float:
        return of(found, name, **labels) - of(before, name, **labels)

    def are_counted() -> bool:
        # A worker counts a request after it has answered.
        found.update(samples(admin))
        is_refused = grown("pgchroma_auth_failures_total", reason="unknown") >= 1
        return is_refused and grown(total, operation="", method="GET", status="404") == 1

    eventually(are_counted)
    upserts = {"operation": "collection_upsert"}
    assert grown(total, **upserts, method="POST", status="200") == 8
    assert grown(total, operation="collection_get", method="POST", status="422") == 1
    assert grown(total, operation="", method="GET", status="404") == 1
    assert grown("pgchroma_request_duration_seconds_count", **upserts) == 8
    assert grown("pgchroma_request_size_bytes_sum", **upserts) == 8 * len(
        httpx.Request("POST", "http://x", json=records).content
    )
    assert grown("pgchroma_response_size_bytes_sum", operation="collection_get") > 0
    assert grown("pgchroma_records_written_total", operation="UpsertRecords") == 24
    assert grown("pgchroma_records_written_total", operation="DeleteRecords") == 1
    assert grown("pgchroma_records_read_total", operation="GetRecords") == 3
    assert grown("pgchroma_records_read_total", operation="QueryRecords") == 4
    assert of(found, "pgchroma_requests_in_progress") == 0
    assert of(found, "pgchroma_pool_waiting") == 0
    assert of(found, "pgchroma_workers", state="running") == WORKERS


def test_the_pool_is_seen(served: tuple[Server, str]) -> None:
    _, admin = served

    def connections() -> float:
        found = samples(admin)
        states = [of(found, "pgchroma_pool_connections", state=state) for state in ("idle", "used")]
        return sum(states)

    eventually(lambda: connections() >= WORKERS)


def test_every_process_is_measured(served: tuple[Server, str]) -> None:
    _, admin = served
    found = samples(admin)
    for process in ("supervisor", "worker-1", "worker-2"):
        assert of(found, "pgchroma_process_resident_memory_bytes", process=process) > 1e7
        assert of(found, "pgchroma_process_cpu_seconds_total", process=process) > 0


def test_no_label_comes_from_a_caller(served: tuple[Server, str]) -> None:
    server, admin = served
    for name in ("sentinel", "%73entinel"):
        httpx.get(f"{server.url}/api/v2/tenants/{name}/databases/sentinel")
        httpx.get(f"{server.url}/{name}?sentinel=1", headers={"x-chroma-token": "sentinel"})
        httpx.request("SENTINEL", f"{server.url}/{name}")
    text = httpx.get(f"{admin}/metrics").text
    assert "sentinel" not in text.lower()
    labels = set(re.findall(r'(\w+)="', text))
    assert labels <= {"le", "method", "operation", "process", "reason", "state", "status"}
