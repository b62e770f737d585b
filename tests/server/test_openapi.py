"""The OpenAPI document, and the pages that show it."""

from __future__ import annotations

import html
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import httpx
import pytest

from pgchroma.server.http.handlers import handlers
from pgchroma.server.http.openapi import openapi
from tests.operations import OWN_OPERATIONS
from tests.server.browsing import ALONE, chromium
from tests.server_process import running

PREFIX = "/api/v2"
C = "/tenants/{tenant}/databases/{database}/collections"
R = C + "/{collection_id}"

CHROMAS = {
    "get_user_identity": "GET /auth/identity",
    "get_collection_by_crn": "GET /collections/{crn}",
    "healthcheck": "GET /healthcheck",
    "heartbeat": "GET /heartbeat",
    "pre_flight_checks": "GET /pre-flight-checks",
    "reset": "POST /reset",
    "create_tenant": "POST /tenants",
    "get_tenant": "GET /tenants/{tenant_name}",
    "update_tenant": "PATCH /tenants/{tenant_name}",
    "list_databases": "GET /tenants/{tenant}/databases",
    "create_database": "POST /tenants/{tenant}/databases",
    "get_database": "GET /tenants/{tenant}/databases/{database}",
    "delete_database": "DELETE /tenants/{tenant}/databases/{database}",
    "list_collections": f"GET {C}",
    "create_collection": f"POST {C}",
    "get_collection_by_id": f"GET {C}/by-id/{{collection_id}}",
    "get_collection": f"GET {R}",
    "update_collection": f"PUT {R}",
    "delete_collection": f"DELETE {R}",
    "collection_add": f"POST {R}/add",
    "detach_function": f"POST {R}/attached_functions/{{name}}/detach",
    "collection_count": f"GET {R}/count",
    "collection_delete": f"POST {R}/delete",
    "fork_collection": f"POST {R}/fork",
    "fork_count": f"GET {R}/fork_count",
    "attach_function": f"POST {R}/functions/attach",
    "get_attached_function": f"GET {R}/functions/{{function_name}}",
    "collection_get": f"POST {R}/get",
    "indexing_status": f"GET {R}/indexing_status",
    "collection_query": f"POST {R}/query",
    "collection_search": f"POST {R}/search",
    "collection_update": f"POST {R}/update",
    "collection_upsert": f"POST {R}/upsert",
    "count_collections": f"GET {C}_count",
    "version": "GET /version",
}
"""The operations in the document of chromadb 1.5.9's server, by their ids."""

OURS = {"root": "GET "} | {
    name: own.request.replace("/", f"{R}/", 1) for name, own in OWN_OPERATIONS.items()
}


def _operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in openapi()["paths"].items():
        for method, operation in item.items():
            yield path, method, operation


def test_operations_are_chromas() -> None:
    ours = {
        operation["operationId"]: f"{method.upper()} {path.removeprefix(PREFIX)}"
        for path, method, operation in _operations()
    }
    assert ours == {**CHROMAS, **OURS}


def test_every_route_of_version_two_is_described() -> None:
    routed = {str(handler.operation_id) for handler in handlers(Mock())} - {"v1"}
    assert {operation["operationId"] for _, _, operation in _operations()} == routed


def test_every_parameter_of_a_path_is_described() -> None:
    for path, _, operation in _operations():
        described = [one["name"] for one in operation["parameters"] if one["in"] == "path"]
        assert described == re.findall(r"\{(\w+)\}", path)
        assert all(one["description"] for one in operation["parameters"])


def test_what_is_referred_to_is_there() -> None:
    document = openapi()
    for reference in re.findall(r"'\$ref': '#/components/schemas/(\w+)'", str(document)):
        assert reference in document["components"]["schemas"]


def test_what_is_not_chromas_is_described() -> None:
    shapes = openapi()["components"]["schemas"]
    assert shapes["RecallBody"]["properties"]["sample"] == {
        "type": "integer", "minimum": 1, "maximum": 1000, "default": 100,
    }  # fmt: skip
    assert "error" not in shapes["IndexingStatusBody"]["required"]
    assert set(shapes["QueryPlanBody"]["required"]) == set(shapes["QueryPlanBody"]["properties"])
    assert "quantization" in shapes["HnswBody"]["properties"]
    assert "quantization" in shapes["NewHnswBody"]["properties"]


def test_what_is_public_asks_for_no_credential() -> None:
    public = {o["operationId"] for _, _, o in _operations() if not o["security"]}
    assert public == {"root", "heartbeat", "version", "healthcheck", "pre_flight_checks"}
    wanted = {tuple(scheme) for _, _, o in _operations() for scheme in o["security"]}
    assert wanted == {("Bearer",), ("ApiKeyAuth",), ("Basic",)}
    assert set(openapi()["components"]["securitySchemes"]) == {"Bearer", "ApiKeyAuth", "Basic"}


def test_errors_are_described() -> None:
    by_id = {operation["operationId"]: operation for _, _, operation in _operations()}
    assert list(by_id["collection_add"]["responses"]) == (
        ["201", "400", "401", "403", "404", "413", "415", "422", "429", "500", "501", "503", "504"]
    )
    assert list(by_id["version"]["responses"]) == ["200", "429", "500", "503", "504"]
    for operation in by_id.values():
        for status, response in operation["responses"].items():
            ((kind, content),) = response["content"].items()
            if status >= "400" and (operation["operationId"], status) != ("healthcheck", "503"):
                assert kind == "text/plain" or content["schema"]["$ref"].endswith("/ErrorBody")


@pytest.mark.heavy
def test_a_server_with_authentication_serves_it_without_credentials(
    module_url: str, tmp_path: Path
) -> None:
    with running(tmp_path / "log", "--url", module_url) as server:
        assert httpx.get(f"{server.url}{PREFIX}/tenants/default_tenant").status_code == 401
        for path in ("/openapi.json", "/docs/", "/docs/scalar", "/docs/assets/scalar.js"):
            assert httpx.get(server.url + path).status_code == 200


def test_it_is_served_as_json(served: str) -> None:
    response = httpx.get(f"{served}/openapi.json")
    assert response.headers["content-type"] == "application/json"
    assert response.json() == openapi()


def test_docs_lead_to_the_page(served: str) -> None:
    response = httpx.get(f"{served}/docs")
    assert (response.status_code, response.headers["location"]) == (303, "/docs/")
    assert httpx.get(f"{served}/docs/").headers["content-type"] == "text/html; charset=utf-8"
    assert httpx.get(f"{served}/docs/scalar").status_code == 200


def test_assets_are_cached_for_a_year_and_renamed_with_each_version(served: str) -> None:
    page = httpx.get(f"{served}/docs/").text
    assets = re.findall(r'(?:src|href)="(assets/[^"]+)"', page)
    assert len(assets) == 3
    for asset in assets:
        response = httpx.get(f"{served}/docs/{asset}")
        assert response.status_code == 200
        assert response.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert re.search(r"\?\d+\.\d+\.\d+-\d+\.\d+\.\d+$", asset)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "nothing.js",
        "..%2fpages.py",
        "%2e%2e%2fscalar.js",
        "..%5cscalar.js",
        "%00",
        "scalar.js%00",
    ],
)
def test_nothing_else_is_an_asset(served: str, name: str) -> None:
    response = httpx.get(f"{served}/docs/assets/{name}")
    assert (response.status_code, response.content) == (404, b"")


@pytest.mark.heavy
@pytest.mark.parametrize("path", ["/docs/", "/docs/scalar"])
def test_a_browser_shows_every_operation_without_the_internet(
    served: str, tmp_path: Path, path: str
) -> None:
    shown, log = _render(tmp_path, served + path)
    # Scalar shows summaries, Swagger UI paths.
    for place, _, operation in _operations():
        words = (operation["summary"], place.replace("/", "/\u200b"))
        assert any(word in shown for word in words), f"{place} is not shown"
    assert "Content Security Policy" not in log
    assert "Uncaught" not in log


def _render(profile: Path, url: str) -> tuple[str, str]:
    """Return the text of a rendered page, and the browser's log."""
    arguments = [f"--user-data-dir={profile}", "--virtual-time-budget=20000", "--dump-dom", url]
    command = [chromium(), *ALONE, *arguments]
    done = subprocess.run(command, capture_output=True, timeout=90, check=True)
    dom = re.sub(r"<(style|script).*?</\1>", "", done.stdout.decode(), flags=re.DOTALL)
    return html.unescape(re.sub("<[^>]+>", "", dom)), done.stderr.decode()


def test_the_root_leads_to_the_pages(served: str) -> None:
    answer = httpx.get(served)
    assert (answer.status_code, answer.headers["location"]) == (303, "/docs/")
    assert httpx.get(served, follow_redirects=True).status_code == 200


def test_the_document_says_what_it_is_about() -> None:
    document = openapi()
    assert document["servers"] == [{"url": "/", "description": "This server."}]
    assert "It is done" not in str(document)
    for name in ("GetBody", "QueryBody", "DeleteBody"):
        properties = document["components"]["schemas"][name]["properties"]
        for key in ("ids", "where", "where_document"):
            assert len(properties[key]["description"]) > 40
