"""Chroma's schema over HTTP, as far as it is stored: filterable keys, space and function."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

BASE = "/api/v2/tenants/default_tenant/databases/default_database"

ON, OFF = {"enabled": True, "config": {}}, {"enabled": False, "config": {}}


@pytest.fixture
def api(emptied: str) -> Any:
    with httpx.Client(base_url=emptied + BASE) as client:
        yield client


def schema(**keys: Any) -> dict[str, Any]:
    return {"defaults": keys.pop("defaults", {}), "keys": keys}


def create(api: httpx.Client, wanted: dict[str, Any], **body: Any) -> Any:
    answer = api.post("/collections", json={"name": "papers", "schema": wanted, **body})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_key_without_an_index_is_shown_and_not_filtered_by(api: httpx.Client) -> None:
    made = create(api, schema(secret={"string": {"string_inverted_index": OFF}}))
    assert made["schema"]["keys"]["secret"] == {"string": {"string_inverted_index": OFF}}
    assert api.get("/collections/papers").json() == made
    for operation, body in (
        ("get", {}),
        ("query", {"query_embeddings": [[1.0]]}),
        ("delete", {}),
    ):
        answer = api.post(
            f"/collections/{made['id']}/{operation}",
            json={**body, "where": {"$and": [{"secret": "x"}]}},
        )
        assert answer.status_code == 400
        assert answer.json()["message"] == (
            "Cannot filter using metadata key 'secret' with type 'Str' because indexing is disabled"
        )
        # Another type of value has its index, and so has another key.
        for where in ({"secret": 1}, {"other": "x"}, {"#id": "x"}):
            answer = api.post(
                f"/collections/{made['id']}/{operation}", json={**body, "where": where}
            )
            assert answer.status_code == 200, answer.text


def test_a_kind_of_value_can_be_switched_off_except_for_a_key(api: httpx.Client) -> None:
    made = create(
        api,
        schema(
            defaults={"int": {"int_inverted_index": OFF}}, year={"int": {"int_inverted_index": ON}}
        ),
    )
    assert made["schema"]["defaults"]["int"] == {"int_inverted_index": OFF}
    assert made["schema"]["defaults"]["bool"] == {"bool_inverted_index": ON}
    get = f"/collections/{made['id']}/get"
    assert api.post(get, json={"where": {"year": {"$in": [1, 2]}}}).status_code == 200
    assert api.post(get, json={"where": {"page": {"$in": [1, 2]}}}).status_code == 400
    assert api.post(get, json={"where": {"page": True}}).status_code == 200


def test_documents_can_be_kept_out_of_search(api: httpx.Client) -> None:
    wanted = schema(**{"#document": {"string": {"fts_index": OFF, "string_inverted_index": OFF}}})
    made = create(api, wanted)
    assert made["schema"]["keys"]["#document"]["string"]["fts_index"] == OFF
    answer = api.post(f"/collections/{made['id']}/get", json={"where_document": {"$contains": "x"}})
    assert answer.status_code == 400
    assert "full-text search because FTS indexing is disabled" in answer.json()["message"]
    assert api.post(f"/collections/{made['id']}/get", json={}).status_code == 200


def test_the_settings_of_a_schema_are_the_collections(api: httpx.Client) -> None:
    function = {"type": "known", "name": "mine", "config": {"size": 3}}
    index = {"space": "cosine", "embedding_function": function, "hnsw": {"ef_search": 77}}
    vectors = {"float_list": {"vector_index": {"enabled": True, "config": index}}}
    default = {"hnsw": {"space": "l2"}, "embedding_function": {"type": "unknown"}}
    made = create(api, schema(**{"#embedding": vectors}), configuration=default)
    shown = made["configuration_json"]
    assert (shown["hnsw"]["space"], shown["hnsw"]["ef_search"]) == ("cosine", 77)
    assert shown["embedding_function"] == function
    conflict = {"name": "other", "schema": schema(**{"#embedding": vectors}),
                "configuration": {"hnsw": {"space": "ip"}}}  # fmt: skip
    answer = api.post("/collections", json=conflict)
    assert answer.status_code == 400
    assert "Cannot set both collection config and schema" in answer.json()["message"]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (schema(**{"#x": {}}), "key cannot begin with '#'"),
        (schema(k={"float_list": {"vector_index": ON}}), "only be enabled on #embedding field: k"),
        (schema(k={"string": {"fts_index": ON}}), "only be enabled on #document field: k"),
        (schema(defaults={"float_list": {"vector_index": ON}}), "cannot be enabled by default"),
        (schema(defaults={"string": {"fts_index": ON}}), "cannot be enabled by default"),
        (schema(defaults={"sparse_vector": {"sparse_vector_index": ON}}), "enabled by default"),
    ],
)
def test_what_a_schema_cannot_ask_for_is_refused(
    api: httpx.Client, wanted: dict[str, Any], message: str
) -> None:
    answer = api.post("/collections", json={"name": "papers", "schema": wanted})
    assert answer.status_code == 400
    assert message in answer.json()["message"]


def test_a_schema_lacks_a_part(api: httpx.Client) -> None:
    answer = api.post("/collections", json={"name": "papers", "schema": {"keys": {}}})
    assert (answer.status_code, answer.json()["error"]) == (422, "ChromaError")
