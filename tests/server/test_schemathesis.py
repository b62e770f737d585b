"""Every operation of the OpenAPI document with whatever fits it, or does not, on a real server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from schemathesis.checks import CHECKS

from pgchroma.server.http.openapi import openapi
from tests.server_process import Server

pytestmark = pytest.mark.heavy

C = "/api/v2/tenants/default_tenant/databases/default_database/collections"

KEPT = ("delete_collection", "delete_database")
"""What these are asked to delete does not exist, so that there is something for the others."""

# `reset` would delete the resources of the other requests.
document = schemathesis.openapi.from_dict(openapi()).exclude(operation_id="reset")
real: dict[str, str] = {
    "tenant": "default_tenant",
    "tenant_name": "default_tenant",
    "database": "default_database",
}


@pytest.fixture(scope="module", autouse=True)
def furnished(open_server: Server) -> Iterator[None]:
    """A server with a collection of some records, whose id takes the place of generated ones."""
    with httpx.Client(base_url=open_server.url) as http:
        http.post("/api/v2/reset").raise_for_status()
        http.patch("/api/v2/tenants/default_tenant", json={"resource_name": "res"})
        made = http.post(C, json={"name": "first"})
        real["collection_id"] = made.json()["id"]
        real["crn"] = "res:default_database:first"
        metadatas = [{"i": n, "f": n / 2, "s": str(n), "b": n > 2, "l": [n]} for n in range(5)]
        records = {
            "ids": [f"id{n}" for n in range(5)],
            "embeddings": [[float(n), 1.0] for n in range(5)],
            "documents": [f"document {n}" for n in range(5)],
            "metadatas": metadatas,
        }
        http.post(f"{C}/{real['collection_id']}/add", json=records).raise_for_status()
        yield


def _name(context: Any) -> str:
    return str(context.operation.definition.raw["operationId"])


@document.hook
def flatmap_path_parameters(context: Any, parameters: dict[str, Any]) -> Any:
    if parameters is None or _name(context) in KEPT:
        return st.just(parameters)
    # Otherwise hardly any request would get past the names.
    existing = {name: real.get(name, value) for name, value in parameters.items()}
    if _name(context) == "get_collection":
        existing["collection_id"] = "first"
    return st.sampled_from([existing, existing, existing, parameters])


@document.hook
def flatmap_body(context: Any, body: Any) -> Any:
    if not _name(context).startswith("create_") or not isinstance(body, dict):
        return st.just(body)
    return st.sampled_from([{**body, "name": name} for name in ("made", "another")] + [body])


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        yield session


Case = schemathesis.Case[Any]


def _check(case: Case, url: str, session: requests.Session) -> None:
    response = case.call(base_url=url, session=session)
    assert response.status_code < 500 or response.status_code == 501, response.text
    names = ("status_code_conformance", "content_type_conformance", "response_schema_conformance")
    checks: list[Any] = CHECKS.get_by_names(list(names))
    case.validate_response(response, checks=checks)


_bounded: dict[str, Any] = {
    "deadline": None,
    "derandomize": True,
    "suppress_health_check": list(HealthCheck),
    "phases": [Phase.explicit, Phase.generate],
}


@document.parametrize()
@settings(max_examples=15, **_bounded)
def test_an_operation(case: Case, open_server: Server, session: requests.Session) -> None:
    _check(case, open_server.url, session)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@document.parametrize()
@settings(max_examples=400, **_bounded)
def test_an_operation_at_length(case: Case, open_server: Server, session: requests.Session) -> None:
    _check(case, open_server.url, session)
