"""The examples of the OpenAPI document: sent as they are, and by clicks in Swagger UI."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from pgchroma.server.http.handlers import UNIMPLEMENTED
from pgchroma.server.http.openapi import openapi
from tests.operations import OWN_OPERATIONS
from tests.server.browsing import Page, browsing

IN_ORDER = (
    "root", "heartbeat", "version", "healthcheck", "pre_flight_checks", "get_user_identity",
    "create_tenant", "get_tenant", "update_tenant", "create_database", "get_database",
    "list_databases", "create_collection", "get_collection", "get_collection_by_id",
    "get_collection_by_crn", "update_collection", "list_collections", "count_collections",
    "collection_add", "collection_count", "indexing_status", "collection_get", "collection_query",
    "collection_search",
    *(name for name, own in OWN_OPERATIONS.items() if not own.is_in_sequence),
    "collection_upsert", "collection_update",
    "start_reembedding", "get_reembedding", "get_unembedded", "store_reembedded",
    "compare_embeddings", "switch_embeddings", "drop_reembedding", "collection_delete",
    "delete_collection", "delete_database", "reset",
)  # fmt: skip
"""The operations in an order that a reader of the document could try them in."""

TOLD = {
    "create_collection": ("id",),
    "start_reembedding": ("generation",),
    "get_unembedded": ("positions",),
}
"""The fields of answers that later requests need."""

CLICKED = (
    "create_collection", "collection_add", "collection_query", "collection_get",
    "collection_upsert", "collection_update", "collection_count", "collection_delete",
)  # fmt: skip

OPERATIONS = {
    operation["operationId"]: (method, path, operation)
    for path, item in openapi()["paths"].items()
    for method, operation in item.items()
}


def _send(http: httpx.Client, name: str, known: dict[str, Any]) -> httpx.Response:
    """Send an operation's example, completed with values from the server's earlier answers."""
    method, path, operation = OPERATIONS[name]
    place = {one["name"]: one["example"] for one in operation["parameters"] if "example" in one}
    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
    body = {**content["example"]} if content else None
    for values in filter(None, (place, body)):
        values.update({key: known[key] for key in values if key in known})
    if any(one["schema"].get("format") == "uuid" for one in operation["parameters"]):
        place["collection_id"] = known["id"]
    query = {key: value for key, value in place.items() if f"{{{key}}}" not in path}
    return http.request(method, path.format_map(place), params=query, json=body)


def test_every_example_is_accepted(emptied: str) -> None:
    unimplemented = {name for _, _, name, *_ in UNIMPLEMENTED}
    assert set(IN_ORDER) == set(OPERATIONS) - unimplemented
    answers: dict[str, httpx.Response] = {}
    known: dict[str, Any] = {}
    with httpx.Client(base_url=emptied) as http:
        for name in IN_ORDER:
            answer = answers[name] = _send(http, name, known)
            assert answer.is_success, f"{name}: {answer.text}"
            for key in TOLD.get(name, ()):
                known[key] = answer.json()[key]
    assert answers["collection_get"].json()["documents"] == ["a text"]
    assert answers["collection_query"].json()["ids"] == [["a"]]
    assert answers["get_unembedded"].json()["ids"] == ["a"]
    assert answers["switch_embeddings"].json() == {"missing": 0}
    assert answers["collection_delete"].json() == {"deleted": 1}


def test_what_is_needed_has_an_example() -> None:
    for name in IN_ORDER:
        for parameter in OPERATIONS[name][2]["parameters"]:
            is_id = parameter["schema"].get("format") == "uuid"
            assert is_id or not parameter["required"] or "example" in parameter, (name, parameter)


# Opens an operation, then clicks "Try it out" and "Execute", and returns the status and the answer,
# or the parameters that Swagger UI reports as missing. Operations are folded again so that they do
# not slow the next one down.
_TRY = """async (name) => {
  const found = async (look) => {
    for (let n = 0; n < 600; n++) {
      if (look()) return look();
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    throw new Error(`nothing came of ${look} for ${name}`);
  };
  const block = await found(() => document.querySelector(`.opblock[id$="-${name}"]`));
  const one = (selector) => () => block.querySelector(selector);
  block.querySelector(".opblock-summary-control").click();
  (await found(one(".try-out__btn"))).click();
  (await found(one(".execute"))).click();
  const answer = await found(one(".live-responses-table .response, .validation-errors"));
  const status = answer.querySelector(".response-col_status");
  const body = answer.querySelector("code");
  const said = status ? [parseInt(status.innerText), body?.innerText] : [0, answer.innerText];
  block.querySelector(".opblock-summary-control").click();
  return said;
}"""


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    with browsing(tmp_path) as page:
        yield page


@pytest.mark.heavy
def test_the_first_steps_take_three_clicks_each(emptied: str, page: Page) -> None:
    page.open(f"{emptied}/docs/")
    status, needed = page.run(_TRY, "indexing_status")
    assert (status, "Required field is not provided" in needed) == (0, True)
    said = {name: page.run(_TRY, name) for name in CLICKED}
    statuses = {name: status for name, (status, _) in said.items()}
    assert statuses == {name: 201 if name == "collection_add" else 200 for name in CLICKED}, said
    assert '"a text"' in said["collection_query"][1]
    assert '"a text"' in said["collection_get"][1]
    assert said["collection_count"][1] == "1"
    assert re.search(r'"deleted": 1\b', said["collection_delete"][1])
