"""Every route's answers, byte for byte, as Chroma's clients of all languages expect them.

Comments mark intended differences from Chroma 1.5.9.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import httpx
import pytest

from pgchroma._version import __version__
from tests.server_process import Server

TENANTS = "/api/v2/tenants"
DEFAULT = f"{TENANTS}/default_tenant/databases"
C = f"{DEFAULT}/default_database/collections"
R = f"{C}/ID"
NO_ID = "11111111-1111-4111-8111-111111111111"
EMPTY = b""


def _error(error: str, message: str) -> bytes:
    return json.dumps({"error": error, "message": message}, separators=(",", ":")).encode()


invalid = partial(_error, "InvalidArgumentError")
missing = partial(_error, "NotFoundError")
other = partial(_error, "ChromaError")


def malformed(message: str) -> bytes:
    return other(f"Failed to deserialize the JSON body into the target type: {message}")


def bad_query(message: str) -> bytes:
    return invalid(f"Failed to deserialize query string: {message}")


BAD_NAME = (
    "Expected a name containing 3-512 characters from [a-zA-Z0-9._-], starting and ending with a "
    "character in [a-zA-Z0-9]. Got: x"
)
NO_COLLECTION = missing(f"Collection [{NO_ID}] does not exist.")
BAD_ID = invalid("Collection ID is not a valid UUIDv4")
BAD_CRN = invalid(
    "Validation error: crn: CRN must be in the format "
    "<tenant_resource_name>:<database_name>:<collection_name> with non-empty parts"
)
ONE = {"ids": ["x"], "embeddings": [[1, 2]]}


JSON = {"content-type": "application/json"}


class Place:
    """A server with the collection `first`; ``ID`` in paths and answers means its id."""

    def __init__(self, url: str) -> None:
        self.http = httpx.Client(base_url=url, timeout=30)
        self.http.post("/api/v2/reset").raise_for_status()
        metadata = {"a": 1, "b": "x", "c": True, "d": 1.5}
        made = self.http.post(C, json={"name": "first", "metadata": metadata})
        self.id = made.json()["id"]
        self.http.post(C, json={"name": "taken"}).raise_for_status()
        self.http.post(TENANTS, json={"name": "acme"}).raise_for_status()

    def ask(self, line: str, body: Any = None) -> httpx.Response:
        method, path = line.split(" ", 1)
        path = path.replace("/ID", f"/{self.id}")
        if isinstance(body, str):
            return self.http.request(method, path, content=body.encode(), headers=JSON)
        return self.http.request(method, path, **({} if body is None else {"json": body}))

    def answer(self, line: str, body: Any = None) -> tuple[int, bytes]:
        response = self.ask(line, body)
        return response.status_code, response.content.replace(self.id.encode(), b"ID")


@pytest.fixture
def place(open_server: Server) -> Iterator[Place]:
    place = Place(open_server.url)
    yield place
    place.http.close()


@pytest.fixture(scope="module")
def lasting(open_server: Server) -> Iterator[Place]:
    """A place that no test changes."""
    place = Place(open_server.url)
    yield place
    place.http.close()


# Requests that change nothing: method and path, body, and the expected status and answer.
REFUSALS: list[tuple[str, Any, int, bytes]] = [
    # Paths and methods.
    ("GET /api/v2/", None, 404, EMPTY),
    ("GET /api/v2/nope", None, 404, EMPTY),
    ("GET /api/v1", None, 404, EMPTY),
    ("POST /api/v1/collections", {}, 405, EMPTY),
    ("DELETE /api/v2/version", None, 405, EMPTY),
    (f"GET {TENANTS}", None, 405, EMPTY),
    (f"DELETE {TENANTS}", None, 405, EMPTY),
    (f"GET {R}/add", None, 405, EMPTY),
    # Bodies.
    (f"POST {TENANTS}", "", 400, invalid(
        "Failed to parse the request body as JSON: Input data was truncated")),
    (f"POST {TENANTS}", "{bad", 400, invalid(
        "Failed to parse the request body as JSON: JSON is malformed: object keys must be strings "
        "(byte 1)")),
    (f"POST {TENANTS}", {}, 422, malformed("Object missing required field `name`")),
    (f"POST {TENANTS}", {"name": 3}, 422, malformed("Expected `str`, got `int` - at `$.name`")),
    (f"POST {TENANTS}", [], 422, malformed("Expected `object`, got `array`")),
    # Tenants.
    (f"POST {TENANTS}", {"name": "ab"}, 400, invalid(
        "Validation error: name: Expected a tenant name of at least 3 characters, got 'ab'")),
    (f"POST {TENANTS}", {"name": "acme"}, 409, other("Tenant [acme] already exists")),
    (f"GET {TENANTS}/nope", None, 404, missing("Tenant [nope] not found")),
    # Chroma answers 200 here without any effect.
    (f"PATCH {TENANTS}/nope", {"resource_name": "x"}, 404, missing("Tenant [nope] not found")),
    (f"PATCH {TENANTS}/acme", {}, 422, malformed("Object missing required field `resource_name`")),
    # Databases; Chroma creates one for a tenant that does not exist.
    (f"POST {TENANTS}/nope/databases", {"name": "abcd"}, 404, missing("Tenant [nope] not found")),
    (f"POST {DEFAULT}", {"name": "default_database"}, 409, other(
        "Database [default_database] already exists")),
    (f"POST {DEFAULT}", {"name": "x"}, 400, invalid(BAD_NAME)),
    (f"GET {DEFAULT}?limit=-1", None, 400, bad_query("Expected `int` >= 0 - at `$.limit`")),
    (f"GET {DEFAULT}?limit=abc", None, 400, bad_query(
        "Expected `int | null`, got `str` - at `$.limit`")),
    (f"GET {DEFAULT}?offset=8589934592", None, 400, bad_query(
        "Expected `int` <= 4294967295 - at `$.offset`")),
    (f"GET {DEFAULT}/nope", None, 404, missing(
        "Database [nope] not found. Are you sure it exists?")),
    (f"GET {DEFAULT}/xx", None, 400, invalid("database name must be at least 3 characters")),
    (f"GET {DEFAULT}/xx/collections", None, 400, invalid(
        "database name must be at least 3 characters")),
    (f"DELETE {DEFAULT}/nope", None, 404, missing("Database [nope] not found")),
    # Collections.
    (f"POST {C}", {"name": "first"}, 409, other("Collection [first] already exists")),
    (f"POST {C}", {"name": "x"}, 400, invalid(f"Validation error: name: {BAD_NAME}")),
    (f"POST {C}", {"name": "a..b"}, 400, invalid(
        "Validation error: name: Expected a name that does not contains two consecutive periods "
        "(..). Got a..b")),
    (f"POST {C}", {"name": "1.2.3.4"}, 400, invalid(
        "Validation error: name: Expected a name that is not a valid ip address. Got 1.2.3.4")),
    (f"POST {C}", {"name": "good", "metadata": {}}, 400, invalid(
        "Validation error: metadata: Metadata cannot be empty")),
    (f"POST {C}", {"name": "good", "metadata": {"#k": 1}}, 400, invalid(
        "metadata: Metadata key cannot start with '#' or '$': #k")),
    (f"POST {C}", {"name": "good", "metadata": {"a": None}}, 422, malformed(
        "Expected `bool | int | float | str`, got `null` - at `$.metadata[...]`")),
    # Chroma's server drops the connection.
    (f"POST {C}", {"name": "good", "metadata": {"a": [1]}}, 422, malformed(
        "Expected `bool | int | float | str`, got `array` - at `$.metadata[...]`")),
    (f"POST {DEFAULT}/nope/collections", {"name": "good"}, 400, invalid(
        "Database [nope] does not exist")),
    (f"POST {TENANTS}/nope/databases/default_database/collections", {"name": "good"}, 400, invalid(
        "Database [default_database] does not exist")),
    (f"GET {C}?limit=x", None, 400, bad_query("Expected `int | null`, got `str` - at `$.limit`")),
    (f"GET {C}/nope", None, 404, missing("Collection [nope] does not exist")),
    (f"GET {C}/{NO_ID}", None, 404, missing(f"Collection [{NO_ID}] does not exist")),
    (f"GET {C}/by-id/x", None, 400, invalid(
        "Validation error: collection_id: Invalid collection ID format, expected UUID")),
    (f"GET {C}/by-id/{NO_ID}", None, 404, missing(f"Collection [{NO_ID}] does not exist")),
    ("GET /api/v2/collections/x", None, 400, BAD_CRN),
    ("GET /api/v2/collections/a::b", None, 400, BAD_CRN),
    # Chroma's server drops the connection.
    ("GET /api/v2/collections/a:bcd:c", None, 404, missing("Collection [a:bcd:c] does not exist")),
    (f"PUT {C}/x", {}, 400, BAD_ID),
    (f"PUT {C}/{NO_ID}", {}, 404, NO_COLLECTION),
    (f"PUT {R}", {"new_name": "x"}, 400, invalid(f"Validation error: new_name: {BAD_NAME}")),
    (f"PUT {R}", {"new_metadata": {}}, 400, invalid(
        "Validation error: new_metadata: Metadata cannot be empty")),
    # Chroma answers 500 with the database's message.
    (f"PUT {R}", {"new_name": "taken"}, 409, other("Collection [taken] already exists")),
    (f"DELETE {C}/nope", None, 404, missing("Collection [nope] does not exist")),
    # Configurations.
    (f"POST {C}", {"name": "good", "configuration": []}, 422, malformed(
        "Expected `object | null`, got `array` - at `$.configuration`")),
    (f"POST {C}", {"name": "good", "configuration": {"hnsw": {"foo": 1}}}, 422, malformed(
        "Object contains unknown field `foo` - at `$.configuration.hnsw`")),
    (f"POST {C}", {"name": "good", "configuration": {"spann": {"foo": 1}}}, 422, malformed(
        "Object contains unknown field `foo` - at `$.configuration.spann`")),
    (f"POST {C}", {"name": "good", "configuration": {"hnsw": {"space": "bad"}}}, 422, malformed(
        "Invalid enum value 'bad' - at `$.configuration.hnsw.space`")),
    (f"POST {C}", {"name": "good", "configuration": {"hnsw": {"ef_search": -1}}}, 422, malformed(
        "Expected `int` >= 0 - at `$.configuration.hnsw.ef_search`")),
    (f"POST {C}", {"name": "good", "configuration": {"hnsw": {"ef_search": 1.5}}}, 422, malformed(
        "Expected `int | null`, got `float` - at `$.configuration.hnsw.ef_search`")),
    # Chroma accepts 0.
    (f"POST {C}", {"name": "good", "configuration": {"hnsw": {"ef_search": 0}}}, 400, invalid(
        "configuration.hnsw.ef_search: expected an int from 1 to 100,000, got 0")),
    (f"POST {C}", {"name": "good", "configuration": {"hnsw": {}, "spann": {}}}, 400, invalid(
        "Multiple vector index configurations provided")),
    (f"POST {C}", {"name": "good", "configuration": {"embedding_function": {"type": "x"}}}, 422,
        malformed("Invalid value 'x' - at `$.configuration.embedding_function.type`")),
    (f"POST {C}", {"name": "good", "configuration": {"embedding_function": {"type": "known"}}}, 422,
        malformed(
            "Object missing required field `name` - at `$.configuration.embedding_function`")),
    (f"PUT {R}", {"new_configuration": {"hnsw": {"space": "l2"}}}, 422, malformed(
        "Object contains unknown field `space` - at `$.new_configuration.hnsw`")),
    (f"PUT {R}", {"new_configuration": {"hnsw": {"ef_construction": 9}}}, 422, malformed(
        "Object contains unknown field `ef_construction` - at `$.new_configuration.hnsw`")),
    (f"PUT {R}", {"new_configuration": {"spann": {"space": "l2"}}}, 422, malformed(
        "Object contains unknown field `space` - at `$.new_configuration.spann`")),
    (f"PUT {R}", {"new_configuration": {"hnsw": {}, "spann": {}}}, 400, invalid(
        "Multiple vector index configurations provided")),
    (f"POST {C}", {"name": "good", "schema": {}}, 422, malformed(
        "schema: missing field `defaults`")),
    # Features that a single node does not have.
    (f"POST {R}/fork", {"new_name": "abc"}, 501, other(
        "Collection forking is unsupported for local chroma")),
    (f"GET {R}/fork_count", None, 501, other("Count forks is unsupported for local chroma")),
    # Chroma answers 500.
    (f"GET {C}/{NO_ID}/indexing_status", None, 404, NO_COLLECTION),
    (f"GET {C}/x/indexing_status", None, 400, BAD_ID),
    (f"POST {R}/functions/attach", {}, 501, other("attached functions are not implemented")),
    (f"GET {R}/functions/f", None, 404, missing("Attached function not found")),
    (f"POST {R}/attached_functions/f/detach", {}, 501, other(
        "attached functions are not implemented")),
    # Searches, which a single node of Chroma refuses.
    (f"POST {C}/x/search", {"searches": []}, 400, BAD_ID),
    (f"POST {C}/{NO_ID}/search", {"searches": []}, 404, NO_COLLECTION),
    *((f"POST {R}/search", body, 422, malformed(message)) for body, message in (
        ({}, "Object missing required field `searches`"),
        ({"searches": [], "read_level": "x"}, "Invalid enum value 'x' - at `$.read_level`"),
        ({"searches": [{"limit": None}]},
         "Expected `object`, got `null` - at `$.searches[0].limit`"),
        ({"searches": [{}, {"filter": {"$foo": 1}}]},
         "searches[1].filter: Invalid where clause: where.$foo: expected a key, $and or $or; this "
         "operator belongs to a key"),
        ({"searches": [{"rank": {"$val": 1}, "group_by": {
            "keys": ["a"], "aggregate": {"$foo": {}}}}]},
         "searches[0].group_by.aggregate: unknown variant `$foo`, expected `$min_k` or `$max_k`"),
    )),
    *((f"POST {R}/search", {"searches": [{"rank": rank}]}, 422, malformed(f"searches[0].{message}"))
      for rank, message in (
        ({"$bogus": 1}, "rank: unknown variant `$bogus`, expected one of `$abs`, `$div`, `$exp`, "
         "`$knn`, `$log`, `$max`, `$min`, `$mul`, `$sub`, `$sum`, `$text`, `$val`"),
        ({"$knn": {}}, "rank.$knn: missing field `query`"),
        ({"$knn": {"query": "text"}}, "rank.$knn.query: data did not match any variant of untagged "
         "enum QueryVector"),
        ({"$knn": {"query": [1.0], "limit": 1.5}},
         "rank.$knn.limit: invalid type: 1.5, expected u32"),
        ({"$div": {"left": {"$val": 1}}}, "rank.$div: missing field `right`"),
        ({"$sum": {}}, "rank.$sum: invalid type: {}, expected a sequence"),
        ({"$val": None}, "rank.$val: invalid type: null, expected f32"),
    )),
    *((f"POST {R}/search", {"searches": [search]}, 400, invalid(message)) for search, message in (
        ({"rank": {}}, "searches[0].rank: expected an object with exactly one operator, got {}"),
        ({"rank": {"$knn": {"query": {"indices": [2, 1], "values": [1, 1]}}}},
         "Validation error: searches[0].rank: Invalid sparse vector in KNN query: SparseVector "
         "indices must be sorted in strictly ascending order, found indices[1]=1 <= indices[0]=2"),
        ({"rank": {"$val": 1}, "group_by": {"keys": ["a"]}},
         "Validation error: searches[0].group_by: group_by keys and aggregate must both be "
         "specified or both be omitted"),
    )),
    # Writes.
    (f"POST {C}/x/add", ONE, 400, BAD_ID),
    (f"POST {C}/{NO_ID}/add", ONE, 404, NO_COLLECTION),
    # Chroma does not look at the tenant and the database.
    (f"POST {TENANTS}/acme/databases/default_database/collections/ID/add", ONE, 404, missing(
        "Collection [ID] does not exist.")),
    (f"POST {R}/add", {"ids": ["x"]}, 422, malformed("Object missing required field `embeddings`")),
    (f"POST {R}/add", {"ids": ["x"], "embeddings": None}, 422, malformed(
        "Expected `array`, got `null` - at `$.embeddings`")),
    (f"POST {R}/add", {"ids": ["x"], "embeddings": [None]}, 422, malformed(
        "Expected `str | array`, got `null` - at `$.embeddings[0]`")),
    (f"POST {R}/upsert", {"ids": ["x"], "embeddings": [None]}, 422, malformed(
        "Expected `str | array`, got `null` - at `$.embeddings[0]`")),
    (f"POST {R}/add", {"ids": ["x", "y"], "embeddings": [[1, 2], "AACAPwAAAEA="]}, 422, other(
        "embeddings: expected only base64 texts or only lists of numbers, got both")),
    (f"POST {R}/add", {"ids": ["x"], "embeddings": ["AAAA"]}, 400, invalid(
        "Invalid byte length: 3 bytes cannot be converted to f32 values (must be divisible by 4)")),
    (f"POST {R}/add", {"ids": ["x"], "embeddings": ["!!"]}, 400, invalid(
        "Invalid base64 string: Only base64 data is allowed")),
    (f"POST {R}/add", {"ids": ["x"], "embeddings": ["AADAfwAAgD8="]}, 400, invalid(
        "Non-finite float value at embedding index 0: NaN")),
    (f"POST {R}/add", {"ids": ["x"], "embeddings": ["AACAfwAAgD8="]}, 400, invalid(
        "Non-finite float value at embedding index 0: inf")),
    (f"POST {R}/add", {"ids": ["x"], "embeddings": [[1e39, 1]]}, 400, invalid(
        "Validation error: embeddings: Embeddings must not contain NaN or Infinity values "
        "(embedding 0 does)")),
    (f"POST {R}/add", {"ids": ["x"], "embeddings": [[]]}, 400, invalid(
        "Validation error: embeddings: Each embedding must have at least 1 dimension")),
    (f"POST {R}/add", {"ids": ["x", "y"], "embeddings": [[1, 2], [1]]}, 400, invalid(
        "Inconsistent dimensions in provided embeddings")),
    (f"POST {R}/add", {"ids": ["x", "y"], "embeddings": [[1, 2]]}, 400, invalid(
        "Inconsistent number of IDs, embeddings, documents, URIs and metadatas")),
    (f"POST {R}/add", {"ids": [""], "embeddings": [[1, 2]]}, 400, invalid(
        "Empty ID, ID must have at least one character")),
    (f"POST {R}/add", {**ONE, "metadatas": [{"a": None}]}, 422, malformed(
        "Expected `bool | int | float | str | object | array`, got `null` - at "
        "`$.metadatas[0][...]`")),
    (f"POST {R}/add", {**ONE, "metadatas": [{"#a": 1}]}, 400, invalid(
        "metadatas[0]: Metadata key cannot start with '#' or '$': #a")),
    # Chroma lets clients write its own keys, and stops working when such a value is null.
    (f"POST {R}/upsert", {**ONE, "metadatas": [{"chroma:document": None}]}, 400, invalid(
        "metadatas[0]: keys that start with 'chroma:' are reserved: chroma:document")),
    # Chroma answers 422.
    (f"POST {R}/add", {**ONE, "metadatas": [{"a": [1, "b"]}]}, 400, invalid(
        "metadatas[0].a: a list holds values of one type, got int, str")),
    (f"POST {R}/add", {**ONE, "metadatas": [{"a": {"b": 1}}]}, 422, other(
        "metadatas[0]: the value of a is an object, and not a sparse vector")),
    *((f"POST {R}/add", {**ONE, "metadatas": [{"a": {"indices": indices, "values": values}}]}, 400,
       invalid(f"metadatas[0].a: {message}")) for indices, values, message in (
        ([2, 1], [1, 1], "SparseVector indices must be sorted in strictly ascending order, found "
         "indices[1]=1 <= indices[0]=2"),
        ([1], [1, 2], "SparseVector indices and values must have the same length, got 1 indices, 2 "
         "values"),
        ([-1], [1], "SparseVector indices must be non-negative, got -1 at position 0"),
        ([1], [1e39], "values[0] is too large for a float of 32 bits"),
    )),
    # Chroma accepts any number of records.
    (f"POST {R}/add", {"ids": ["x"] * 5462, "embeddings": [[1, 2]] * 5462}, 400, invalid(
        "Batch size 5462 exceeds maximum batch size 5461")),
    # Deletions.
    (f"POST {R}/delete", {"ids": []}, 400, invalid(
        "Validation error: ids, where: Either ids or where must be specified")),
    (f"POST {R}/delete", {"limit": 1}, 400, invalid(
        "Validation error: limit, where: limit can only be specified when a where clause is "
        "provided")),
    (f"POST {R}/delete", {"ids": ["b"], "limit": 1}, 400, invalid(
        "Validation error: limit, where: limit can only be specified when a where clause is "
        "provided")),
    # Reads.
    (f"GET {R}/count?read_level=bogus", None, 400, bad_query(
        "Invalid enum value 'bogus' - at `$.read_level`")),
    (f"POST {C}/{NO_ID}/get", {}, 404, NO_COLLECTION),
    (f"POST {R}/get", {"limit": -1}, 422, malformed("Expected `int` >= 0 - at `$.limit`")),
    (f"POST {R}/get", {"limit": 1.5}, 422, malformed(
        "Expected `int | null`, got `float` - at `$.limit`")),
    (f"POST {R}/get", {"include": None}, 422, malformed(
        "Expected `array`, got `null` - at `$.include`")),
    (f"POST {R}/get", {"include": ["data"]}, 422, malformed(
        "Invalid enum value 'data' - at `$.include[0]`")),
    (f"POST {R}/get", {"where": {}}, 400, invalid(
        "Invalid where clause: where: expected exactly one entry, a key or an operator; got {}")),
    (f"POST {R}/get", {"where": {"$foo": 1}}, 400, invalid(
        "Invalid where clause: where.$foo: expected a key, $and or $or; this operator belongs to a "
        "key")),
    (f"POST {R}/get", {"where_document": {"$contains": 3}}, 400, invalid(
        "Invalid where document clause: where_document.$contains: expected a str, got 3")),
    (f"POST {R}/get", {"where_document": {"$regex": "("}}, 400, invalid(
        "Regex syntax error: unclosed group at position 0")),
    (f"POST {R}/query", {}, 422, malformed("Object missing required field `query_embeddings`")),
    (f"POST {R}/query", {"query_embeddings": ["AACAPwAAAEA="]}, 422, malformed(
        "Expected `array`, got `str` - at `$.query_embeddings[0]`")),
    (f"POST {R}/query", {"query_embeddings": [[1, 2]], "n_results": -1}, 422, malformed(
        "Expected `int` >= 0 - at `$.n_results`")),
    (f"POST {R}/query", {"query_embeddings": [[1, 2], [1]]}, 400, invalid(
        "Inconsistent dimensions in provided embeddings")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "body", "status", "answer"),
    REFUSALS,
    ids=[f"{line.replace(C, 'C')} {str(body)[:60]}" for line, body, _, _ in REFUSALS],
)
def test_a_refusal(lasting: Place, line: str, body: Any, status: int, answer: bytes) -> None:
    response = lasting.ask(line, body)
    shown = response.content.replace(lasting.id.encode(), b"ID")
    assert (response.status_code, shown) == (status, answer)
    assert response.headers["chroma-trace-id"] == "0" * 32
    assert response.headers.get("content-type") == ("application/json" if answer else None)
    assert lasting.http.get("/api/v2/heartbeat").status_code == 200


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_version_one_is_gone(lasting: Place, method: str) -> None:
    gone = _error("Unimplemented", "The v1 API is deprecated. Please use /v2 apis")
    assert lasting.answer(f"{method} /api/v1/collections/x") == (410, gone)


def test_head_answers_like_get_without_a_body(lasting: Place) -> None:
    for path in ("/api/v2/version", "/api/v2/heartbeat", f"{C}/first", "/api/v1/x", f"{C}/nope"):
        head, get = lasting.ask(f"HEAD {path}"), lasting.ask(f"GET {path}")
        assert (head.status_code, head.content) == (get.status_code, b"")
        assert head.headers["content-type"] == get.headers["content-type"]


def test_the_system_routes(lasting: Place) -> None:
    for path in ("", "/heartbeat"):
        status, answer = lasting.answer(f"GET /api/v2{path}")
        (time,) = json.loads(answer).values()
        assert (status, answer) == (200, f'{{"nanosecond heartbeat":{time}}}'.encode())
    assert lasting.answer("GET /api/v2/healthcheck") == (
        200, b'{"is_executor_ready":true,"is_log_client_ready":true}',
    )  # fmt: skip
    assert lasting.answer("GET /api/v2/version") == (200, f'"{__version__}"'.encode())
    assert lasting.answer("GET /api/v2/pre-flight-checks") == (
        200, b'{"max_batch_size":5461,"supports_base64_encoding":true,'
        b'"max_payload_size_bytes":41943040}',
    )  # fmt: skip
    assert lasting.answer("GET /api/v2/auth/identity") == (
        200, b'{"user_id":"","tenant":"default_tenant","databases":["default_database"]}',
    )  # fmt: skip
    assert lasting.ask("GET /api/v2/version").headers["content-type"] == "application/json"
    assert "chroma-trace-id" not in lasting.ask("GET /api/v2/version").headers


def test_a_batch_of_searches_is_bounded(lasting: Place) -> None:
    status, answer = lasting.answer(f"POST {R}/search", {"searches": [{}] * 1_001})
    assert status == 400
    assert b"expected at most 1000 searches in one request, got 1001" in answer


def test_searches_of_nothing(lasting: Place) -> None:
    columns = ("ids", "documents", "embeddings", "metadatas", "scores", "select")
    assert lasting.answer(f"POST {R}/search", {"searches": []}) == (
        200, json.dumps({column: [] for column in columns}, separators=(",", ":")).encode(),
    )  # fmt: skip
    assert lasting.answer(f"POST {R}/search", {"searches": [{"limit": {"limit": 0}}]}) == (
        200, b'{"ids":[[]],"documents":[null],"embeddings":[null],"metadatas":[null],'
        b'"scores":[null],"select":[[]]}',
    )  # fmt: skip


def test_tenants(place: Place) -> None:
    assert place.answer(f"POST {TENANTS}", {"name": "a/b c", "more": 1}) == (200, b"{}")
    tenant = f"{TENANTS}/a%2Fb%20c"
    assert place.answer(f"GET {tenant}") == (200, b'{"name":"a/b c","resource_name":null}')
    # In Chroma this has no effect.
    for _ in range(2):
        assert place.answer(f"PATCH {tenant}", {"resource_name": "abc"}) == (200, b"{}")
    assert place.answer(f"GET {tenant}") == (200, b'{"name":"a/b c","resource_name":"abc"}')
    status, answer = place.answer(f"PATCH {tenant}", {"resource_name": "another"})
    assert (status, json.loads(answer)["error"]) == (409, "ChromaError")
    assert place.answer(f"PATCH {TENANTS}/acme", {"resource_name": "abc"})[0] == 409


def test_databases(place: Place) -> None:
    base = f"{TENANTS}/acme/databases"
    assert place.answer(f"GET {base}") == (200, b"[]")
    for name in ("two", "one"):
        assert place.answer(f"POST {base}", {"name": name}) == (200, b"{}")
    first, second = place.ask(f"GET {base}").json()
    one = f'{{"id":"{first["id"]}","name":"one","tenant":"acme"}}'
    two = f'{{"id":"{second["id"]}","name":"two","tenant":"acme"}}'
    assert place.answer(f"GET {base}") == (200, f"[{one},{two}]".encode())
    assert place.answer(f"GET {base}?limit=1&offset=1") == (200, f"[{two}]".encode())
    assert place.answer(f"GET {base}?limit=0") == (200, b"[]")
    assert place.answer(f"GET {base}/one") == (200, one.encode())
    assert place.answer(f"DELETE {base}/one") == (200, b"{}")
    assert place.answer(f"GET {base}/one")[0] == 404
    assert place.answer(f"GET {TENANTS}/unknown/databases") == (200, b"[]")
    assert place.answer(f"GET {DEFAULT}") == (
        200,
        b'[{"id":"00000000-0000-0000-0000-000000000000","name":"default_database",'
        b'"tenant":"default_tenant"}]',
    )


def _collection(threads: int) -> bytes:
    """The collection `first` as Chroma writes it, keys in its order.

    The one difference: it states that there is no embedding function, where Chroma states nothing.
    """
    on, off = {"enabled": True, "config": {}}, {"enabled": False, "config": {}}
    vectors = {"space": "l2", "embedding_function": {"type": "legacy"}}
    hnsw = {
        "ef_construction": 100, "max_neighbors": 16, "ef_search": 100, "num_threads": threads,
        "batch_size": 100, "sync_threshold": 1000, "resize_factor": 1.2,
    }  # fmt: skip
    in_defaults = {"enabled": False, "config": {**vectors, "hnsw": hnsw}}
    in_keys = {"enabled": True, "config": {**vectors, "source_key": "#document", "hnsw": hnsw}}
    sparse = {"embedding_function": {"type": "unknown"}, "bm25": False}
    collection = {
        "id": "ID",
        "name": "first",
        "configuration_json": {
            "hnsw": {
                "space": "l2", "ef_construction": 100, "ef_search": 100, "max_neighbors": 16,
                "resize_factor": 1.2, "sync_threshold": 1000,
            },
            "spann": None,
            "embedding_function": None,
        },
        "schema": {
            "defaults": {
                "string": {"fts_index": off, "string_inverted_index": on},
                "float_list": {"vector_index": in_defaults},
                "sparse_vector": {"sparse_vector_index": {"enabled": False, "config": sparse}},
                "int": {"int_inverted_index": on},
                "float": {"float_inverted_index": on},
                "bool": {"bool_inverted_index": on},
            },
            "keys": {
                "#document": {"string": {"fts_index": on, "string_inverted_index": off}},
                "#embedding": {"float_list": {"vector_index": in_keys}},
            },
        },
        "metadata": {"a": 1, "b": "x", "c": True, "d": 1.5},
        "dimension": None,
        "tenant": "default_tenant",
        "database": "default_database",
        "log_position": 0,
        "version": 0,
        "generation": 1,
    }  # fmt: skip
    return json.dumps(collection, separators=(",", ":")).encode()


def test_a_collection(place: Place) -> None:
    made = place.ask(f"GET {C}/first").json()
    defaults = made["schema"]["defaults"]["float_list"]["vector_index"]["config"]
    expected = _collection(defaults["hnsw"]["num_threads"])
    assert place.answer(f"GET {C}/first") == (200, expected)
    assert place.answer(f"GET {C}/by-id/ID") == (200, expected)
    assert place.answer(f"GET {C}?limit=1") == (200, b"[" + expected + b"]")
    again = {"name": "first", "get_or_create": True, "metadata": {"z": 1}, "configuration": None}
    assert place.answer(f"POST {C}", again) == (200, expected)


def test_collections(place: Place) -> None:
    assert place.answer(f"GET {C}_count") == (200, b"2")
    assert place.answer(f"GET {DEFAULT}/nope/collections_count") == (200, b"0")
    assert place.answer(f"GET {DEFAULT}/nope/collections") == (200, b"[]")
    assert [one["name"] for one in place.ask(f"GET {C}").json()] == ["first", "taken"]
    assert place.answer(f"PUT {R}", {}) == (200, b"{}")
    changes = {"new_name": "renamed", "new_metadata": {"a": None, "e": 2}}
    assert place.answer(f"PUT {R}", changes) == (200, b"{}")
    assert place.ask(f"GET {C}/renamed").json()["metadata"] == {"e": 2}
    assert place.answer(f"PUT {R}", {"new_metadata": {"e": None}}) == (200, b"{}")
    assert place.ask(f"GET {C}/renamed").json()["metadata"] is None
    assert place.answer(f"DELETE {C}/renamed") == (200, b"{}")
    assert place.answer(f"GET {C}_count") == (200, b"1")


def test_a_configuration_is_kept_and_what_is_not_known_of_it_ignored(place: Place) -> None:
    function = {"type": "known", "name": "n", "config": {"a": [1]}}
    wanted = {"hnsw": {"space": "ip", "ef_search": None}, "embedding_function": function, "more": 1}
    made = place.ask(f"POST {C}", {"name": "made", "configuration": wanted}).json()
    assert made["configuration_json"]["hnsw"]["space"] == "ip"
    assert made["configuration_json"]["hnsw"]["ef_search"] == 100
    assert made["configuration_json"]["embedding_function"] == function
    changes = {"hnsw": {"ef_search": 7, "num_threads": None}, "embedding_function": None, "more": 1}
    assert place.answer(f"PUT {C}/{made['id']}", {"new_configuration": changes}) == (200, b"{}")
    shown = place.ask(f"GET {C}/made").json()["configuration_json"]
    assert (shown["hnsw"]["ef_search"], shown["embedding_function"]) == (7, function)


def test_a_space_alone_is_taken_of_spann(place: Place) -> None:
    spann = {"space": "cosine", "search_nprobe": 5}
    made = place.ask(f"POST {C}", {"name": "made", "configuration": {"spann": spann}}).json()
    assert made["configuration_json"]["spann"] is None
    assert made["configuration_json"]["hnsw"]["space"] == "cosine"


def test_a_collection_by_resource_name(place: Place) -> None:
    assert place.answer(f"PATCH {TENANTS}/default_tenant", {"resource_name": "res"}) == (200, b"{}")
    path = "/api/v2/collections/res:default_database:first"
    assert place.answer(f"GET {path}") == place.answer(f"GET {C}/first")


def test_records(place: Place) -> None:
    records = {
        "ids": ["a", "b", "c"],
        "embeddings": [[1, 2], [0.1, -3.5], [5, 6]],
        "documents": ["d", None, None],
        "uris": [None, None, "u"],
        "metadatas": [{"i": 1}, None, None],
    }
    assert place.answer(f"POST {R}/add", records) == (201, b"{}")
    encoded = {"ids": ["a", "e"], "embeddings": ["AAAAQAAAgD8=", "AACAPwAAAEA="]}
    assert place.answer(f"POST {R}/add", encoded) == (201, b"{}")
    assert place.answer(f"POST {R}/add", {"ids": [], "embeddings": []}) == (201, b"{}")
    changes = {"ids": ["a", "zz"], "metadatas": [{"i": None, "j": 2}, None], "embeddings": None}
    assert place.answer(f"POST {R}/update", changes) == (200, b"{}")
    new = {"ids": ["f"], "embeddings": [[7, 8]], "metadatas": [{"i": None, "j": 2}]}
    assert place.answer(f"POST {R}/upsert", new) == (200, b"{}")
    assert place.answer(f"GET {R}/count") == (200, b"5")
    assert place.answer(f"GET {R}/count?read_level=index_only") == (200, b"5")
    assert place.answer(f"POST {R}/add", {"ids": ["x"], "embeddings": [[1, 2, 3]]}) == (
        400, invalid("Collection expecting embedding with dimension of 2, got 3"),
    )  # fmt: skip
    _check_get(place)
    _check_query(place)
    _check_delete(place)


def _check_get(place: Place) -> None:
    for body, answer in {
        "{}": '{"ids":["a","b","c","e","f"],"embeddings":null,'
        '"documents":["d",null,null,null,null],"uris":null,'
        '"metadatas":[{"j":2},null,{},null,{"j":2}],"include":["documents","metadatas"]}',
        '{"include":["uris","embeddings"]}': '{"ids":["a","b","c","e","f"],'
        '"embeddings":[[1.0,2.0],[0.1,-3.5],[5.0,6.0],[1.0,2.0],[7.0,8.0]],"documents":null,'
        '"uris":[null,null,"u",null,null],"metadatas":null,"include":["uris","embeddings"]}',
        '{"ids":["c","a","c","zz"],"include":[]}': '{"ids":["a","c"],"embeddings":null,'
        '"documents":null,"uris":null,"metadatas":null,"include":[]}',
        '{"ids":[]}': '{"ids":[],"embeddings":null,"documents":[],"uris":null,"metadatas":[],'
        '"include":["documents","metadatas"]}',
        '{"limit":2,"offset":1,"include":["documents"]}': '{"ids":["b","c"],"embeddings":null,'
        '"documents":[null,null],"uris":null,"metadatas":null,"include":["documents"]}',
        '{"include":["distances","metadatas"],"limit":1}': '{"ids":["a"],"embeddings":null,'
        '"documents":null,"uris":null,"metadatas":[{"j":2}],"include":["distances","metadatas"]}',
        '{"where":{"j":2},"include":[]}': '{"ids":["a","f"],"embeddings":null,"documents":null,'
        '"uris":null,"metadatas":null,"include":[]}',
    }.items():
        assert place.answer(f"POST {R}/get", body) == (200, answer.encode())


def _check_query(place: Place) -> None:
    for body, answer in {
        '{"query_embeddings":[[1,2]],"n_results":2}': '{"ids":[["a","e"]],"embeddings":null,'
        '"documents":[["d",null]],"uris":null,"metadatas":[[{"j":2},null]],'
        '"distances":[[0.0,0.0]],"include":["documents","metadatas","distances"]}',
        '{"query_embeddings":[[1,2],[5,6]],"n_results":1,"include":["embeddings","uris"]}': (
            '{"ids":[["a"],["c"]],"embeddings":[[[1.0,2.0]],[[5.0,6.0]]],"documents":null,'
            '"uris":[[null],["u"]],"metadatas":null,"distances":null,'
            '"include":["embeddings","uris"]}'
        ),
        '{"query_embeddings":[[1,2]],"ids":["f"]}': '{"ids":[["f"]],"embeddings":null,'
        '"documents":[[null]],"uris":null,"metadatas":[[{"j":2}]],"distances":[[72.0]],'
        '"include":["documents","metadatas","distances"]}',
        '{"query_embeddings":[]}': '{"ids":[],"embeddings":null,"documents":[],"uris":null,'
        '"metadatas":[],"distances":[],"include":["documents","metadatas","distances"]}',
        '{"query_embeddings":[[1,2]],"ids":[]}': '{"ids":[[]],"embeddings":null,"documents":[[]],'
        '"uris":null,"metadatas":[[]],"distances":[[]],'
        '"include":["documents","metadatas","distances"]}',
        '{"query_embeddings":[[1,2]],"n_results":null,"include":[]}': (
            '{"ids":[["a","e","b","c","f"]],"embeddings":null,"documents":null,"uris":null,'
            '"metadatas":null,"distances":null,"include":[]}'
        ),
    }.items():
        assert place.answer(f"POST {R}/query", body) == (200, answer.encode())
    # Chroma answers 500.
    assert place.answer(f"POST {R}/query", {"query_embeddings": [[1, 2]], "ids": ["a", "zz"]}) == (
        400, invalid(
            "Error finding id: the collection has no record 'zz'; pass only ids of existing records"
        ),
    )  # fmt: skip
    assert place.answer(f"POST {R}/query", {"query_embeddings": [[1]]}) == (
        400, invalid("Collection expecting embedding with dimension of 2, got 1"),
    )  # fmt: skip


def _check_delete(place: Place) -> None:
    # Chroma counts the ids in the request.
    for body, deleted in {
        "{}": 0,
        '{"ids":null}': 0,
        '{"ids":["zz"]}': 0,
        '{"where":{"j":2},"limit":1}': 1,
        '{"ids":["a","b","zz"]}': 1,
        '{"where":{"j":2}}': 1,
    }.items():
        assert place.answer(f"POST {R}/delete", body) == (200, f'{{"deleted":{deleted}}}'.encode())
    assert place.answer(f"GET {R}/count") == (200, b"2")


def test_filters_are_exact_where_chromas_are_not(place: Place) -> None:
    records = {"ids": ["a", "b"], "embeddings": [[1], [2]], "metadatas": [{"i": 1}, {"i": 2}]}
    assert place.answer(f"POST {R}/add", records) == (201, b"{}")
    for where, ids in {
        '{"i":{"$gt":1.5}}': ["b"],
        '{"#id":"a"}': ["a"],
        '{"#id":{"$in":["b","c"]}}': ["b"],
    }.items():
        found = place.ask(f"POST {R}/get", f'{{"where":{where}}}').json()
        assert found["ids"] == ids
    many = {"ids": [f"id{n}" for n in range(40_000)] + ["b"], "include": []}
    assert place.ask(f"POST {R}/get", many).json()["ids"] == ["b"]


def test_reset(place: Place) -> None:
    assert place.answer("POST /api/v2/reset") == (200, b"true")
    assert place.answer(f"GET {C}_count") == (200, b"0")
    assert place.answer(f"GET {TENANTS}/acme")[0] == 404
