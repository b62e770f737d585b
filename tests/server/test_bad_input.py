"""Invalid requests: every answer is a client error, and the next request is answered.

The HTTP server answers errors in HTTP itself before the application is called: with a status and
nothing else.
"""

from __future__ import annotations

import itertools
import json
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.server_process import Server, running

TENANTS = "/api/v2/tenants"
C = f"{TENANTS}/default_tenant/databases/default_database/collections"
NO_ID = "11111111-1111-4111-8111-111111111111"
JSON = "content-type: application/json"
MEBIBYTE = 1024 * 1024


@pytest.fixture(scope="module")
def place(open_server: Server) -> Iterator[tuple[Server, httpx.Client, str]]:
    """A server, a client of it, and the path of a collection with one record."""
    kind = {"content-type": "application/json"}
    with httpx.Client(base_url=open_server.url, timeout=30, headers=kind) as http:
        http.post("/api/v2/reset").raise_for_status()
        records = f"{C}/{http.post(C, json={'name': 'first'}).json()['id']}"
        added = {"ids": ["a"], "embeddings": [[1, 2]]}
        http.post(f"{records}/add", json=added).raise_for_status()
        yield open_server, http, records


@pytest.fixture(scope="module")
def impatient(module_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that waits a second for a body, and may have as many connections as can be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    log = tmp_path_factory.mktemp("impatient") / "log"
    environment = {"PGCHROMA_BODY_TIMEOUT": "1", "PGCHROMA_LOG_REQUESTS": "false"}
    with running(log, "--url", module_url, "--no-auth", environment=environment) as server:
        yield server
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _talk(server: Server, sent: bytes, *, timeout: float = 20) -> bytes:
    """Send bytes, and return all bytes received until the server closes the connection."""
    with socket.create_connection(("127.0.0.1", server.port), timeout) as connection:
        connection.sendall(sent)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
    return received


def _request(line: str, *headers: str, body: bytes = b"") -> bytes:
    head = "\r\n".join([f"{line} HTTP/1.1", "host: localhost", "connection: close", *headers])
    return head.encode("latin-1") + b"\r\n\r\n" + body


def _read(answer: bytes) -> tuple[int, dict[str, str], bytes]:
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    return int(status.split(" ")[1]), headers, body


def _check_refused(answer: httpx.Response, status: int, error: str, message: str) -> None:
    assert (answer.status_code, list(answer.json())) == (status, ["error", "message"]), answer.text
    assert answer.json()["error"] == error
    assert message in answer.json()["message"]
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["chroma-trace-id"] == "0" * 32


INVALID, CHROMA = "InvalidArgumentError", "ChromaError"

# Paths, and the status and error of the answer; no error if no route has such a path.
PATHS = {
    f"{TENANTS}/": (404, ""),
    f"{C}/": (404, ""),
    "/api/v2/version/": (404, ""),
    "//api/v2/version": (404, ""),
    "/api//v2/version": (404, ""),
    # Without the empty name, this would be the database `collections`.
    f"{TENANTS}/default_tenant/databases//collections": (404, ""),
    f"{TENANTS}//databases": (404, ""),
    "/api/v2/./version": (404, ""),
    f"{TENANTS}/../tenants/default_tenant": (404, ""),
    "/%61pi/v2/version": (404, ""),
    "/api/v2/version%3Fx": (404, ""),
    "/docs/assets/../../etc/passwd": (404, ""),
    "*": (404, ""),
    f"{TENANTS}/..": (404, "Tenant [..] not found"),
    f"{TENANTS}/%2e%2e": (404, "Tenant [..] not found"),
    f"{TENANTS}/%2F": (404, "Tenant [/] not found"),
    f"{TENANTS}/a%2Fb": (404, "Tenant [a/b] not found"),
    f"{TENANTS}/default_tenant%20": (404, "Tenant [default_tenant ] not found"),
    f"{TENANTS}/%": (404, "Tenant [%] not found"),
    f"{TENANTS}/%zz": (404, "Tenant [%zz] not found"),
    f"{TENANTS}/%C3%A9": (404, "Tenant [é] not found"),
    f"{TENANTS}/\xc3\xa9": (404, "Tenant [é] not found"),
    f"{TENANTS}/{'a' * 60_000}": (404, f"Tenant [{'a' * 60_000}] not found"),
    f"{TENANTS}/a%0d%0aX-Evil:%201": (404, "Tenant [a\r\nX-Evil: 1] not found"),
    f"{TENANTS}/%00": (
        400, "name: character 0 is U+0000, which PostgreSQL cannot store; remove it",
    ),
    f"{TENANTS}/%ff%fe": (400, "the path is not UTF-8: %ff%fe"),
    f"{C}/%ed%a0%80": (400, "the path is not UTF-8: %ed%a0%80"),
    f"{C}/by-id/%00": (
        400, "Validation error: collection_id: Invalid collection ID format, expected UUID",
    ),
    f"{C}/by-id/{NO_ID[:-1]}": (
        400, "Validation error: collection_id: Invalid collection ID format, expected UUID",
    ),
    f"{C}/x/count": (400, "Collection ID is not a valid UUIDv4"),
    f"{C}/{NO_ID}x/count": (400, "Collection ID is not a valid UUIDv4"),
}  # fmt: skip


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path[:60].encode().hex()[:40] + path[-20:])
def test_paths(place: tuple[Server, httpx.Client, str], path: str) -> None:
    server, http, _ = place
    status, headers, body = _read(_talk(server, _request(f"GET {path}")))
    expected, message = PATHS[path]
    assert (status, headers["chroma-trace-id"]) == (expected, "0" * 32)
    assert (json.loads(body)["message"] if body else "") == message
    assert ("content-type" in headers) == bool(body)
    assert "X-Evil" not in headers
    assert http.get("/api/v2/heartbeat").status_code == 200


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("limit=-1", "Expected `int` >= 0 - at `$.limit`"),
        ("limit=abc", "Expected `int | null`, got `str` - at `$.limit`"),
        ("limit=", "Expected `int | null`, got `str` - at `$.limit`"),
        ("limit", "Expected `int | null`, got `str` - at `$.limit`"),
        ("limit=1.5", "Expected `int | null`, got `str` - at `$.limit`"),
        ("limit=%ff", "Expected `int | null`, got `str` - at `$.limit`"),
        ("limit=1%00", "Expected `int | null`, got `str` - at `$.limit`"),
        ("limit=8589934592", "Expected `int` <= 4294967295 - at `$.limit`"),
        (f"offset={'9' * 5000}", ""),
    ],
)
def test_query_strings(place: tuple[Server, httpx.Client, str], query: str, message: str) -> None:
    answer = place[1].get(f"{C}?{query}")
    _check_refused(answer, 400, INVALID, f"Failed to deserialize query string: {message}")


def test_an_unused_query_string(place: tuple[Server, httpx.Client, str]) -> None:
    server, http, records = place
    for query in ("?=&&;;", "?%ff=%00", "?x=1#y", "?" + "a=b&" * 5000):
        assert _read(_talk(server, _request(f"GET {C}{query}")))[0] == 200
    _check_refused(
        http.get(f"{records}/count?read_level=bogus"), 400, INVALID,
        "Failed to deserialize query string: Invalid enum value 'bogus' - at `$.read_level`",
    )  # fmt: skip


@pytest.mark.parametrize("method", ["TRACE", "PROPFIND", "PUT", "PATCH", "DELETE", "POST"])
def test_methods(place: tuple[Server, httpx.Client, str], method: str) -> None:
    answer = _read(_talk(place[0], _request(f"{method} /api/v2/version")))
    assert (answer[0], answer[2], answer[1]["chroma-trace-id"]) == (405, b"", "0" * 32)
    assert answer[1]["allow"] == "GET, HEAD, OPTIONS"


@pytest.mark.parametrize("method", ["BREW", "get", "CONNECT", "A" * 99])
def test_methods_that_are_none(place: tuple[Server, httpx.Client, str], method: str) -> None:
    answer = _read(_talk(place[0], _request(f"{method} /api/v2/version")))
    assert (answer[0], answer[2]) == (400, b"")


def test_the_methods_of_a_path_are_told(place: tuple[Server, httpx.Client, str]) -> None:
    for path, allowed in {
        TENANTS: "OPTIONS, POST",
        f"{TENANTS}/x": "GET, HEAD, OPTIONS, PATCH",
        f"{C}/x": "DELETE, GET, HEAD, OPTIONS, PUT",
        f"{C}/x/add": "OPTIONS, POST",
        "/api/v1/x/y": "DELETE, GET, HEAD, OPTIONS, PATCH, PUT",
    }.items():
        answer = place[1].request("PROPFIND", path)
        assert (answer.status_code, answer.headers["allow"]) == (405, allowed)


def test_methods_that_ask_for_no_body(place: tuple[Server, httpx.Client, str]) -> None:
    head = _read(_talk(place[0], _request("HEAD /api/v2/version")))
    assert (head[0], head[2], head[1]["content-length"]) == (200, b"", "7")
    options = _read(_talk(place[0], _request("OPTIONS /api/v2/version")))
    assert (options[0], options[2]) == (204, b"")


def test_an_unexpected_body(place: tuple[Server, httpx.Client, str]) -> None:
    sent = _request("GET /api/v2/version", "content-length: 5", body=b"hello")
    assert _read(_talk(place[0], sent))[0] == 200


# Bytes that are not valid HTTP, and the status.
NO_HTTP: dict[str, tuple[bytes, int]] = {
    "a NUL in a header": (_request("GET /api/v2/version", "x-a: a\0b"), 400),
    "a CR in a header": (_request("GET /api/v2/version", "x-a: a\rb: c"), 400),
    "a folded header": (_request("GET /api/v2/version", "x-a: a\r\n b"), 400),
    "a header without a name": (_request("GET /api/v2/version", ": a"), 400),
    "a large header": (_request("GET /api/v2/version", f"x-a: {'a' * 1_000_000}"), 431),
    "many headers": (_request("GET /api/v2/version", *(f"x-{n}: a" for n in range(1000))), 431),
    "a path without a slash": (_request("GET api/v2/version"), 400),
    "no path": (_request("GET "), 400),
    "a space in a path": (_request(f"GET {TENANTS}/a b"), 400),
    "bytes in a path that are no UTF-8": (_request(f"GET {TENANTS}/\xff\xfe"), 400),
    "a path that is too long": (_request(f"GET {TENANTS}/{'a' * 300_000}"), 414),
    "a method that is no word": (_request("G\xe9T /api/v2/version"), 400),
    "another version": (b"GET /api/v2/version HTTP/2.0\r\n\r\n", 400),
    "zeros": (b"\0\1\2\r\n\r\n", 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(40), 400),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
}


@pytest.mark.parametrize("what", NO_HTTP)
def test_what_is_no_http(place: tuple[Server, httpx.Client, str], what: str) -> None:
    sent, status = NO_HTTP[what]
    answer = _talk(place[0], sent)
    assert (_read(answer)[0], _read(answer)[2]) == (status, b"")
    assert place[1].get("/api/v2/heartbeat").status_code == 200


LENGTHS = {
    "two that differ": ["content-length: 2", "content-length: 40"],
    "a list": ["content-length: 2, 2"],
    "negative": ["content-length: -2"],
    "signed": ["content-length: +2"],
    "hexadecimal": ["content-length: 0x2"],
    "too many digits": ["content-length: 99999999999999999999999"],
    "an unknown coding": ["transfer-encoding: xchunked"],
    "a space before the colon": ["transfer-encoding : chunked"],
}


@pytest.mark.parametrize("what", LENGTHS)
def test_lengths_that_are_none(place: tuple[Server, httpx.Client, str], what: str) -> None:
    server, http, records = place
    sent = _request(f"POST {records}/get", JSON, *LENGTHS[what], body=b"{}")
    assert _read(_talk(server, sent))[0] == 400
    assert http.get("/api/v2/heartbeat").status_code == 200


@pytest.mark.parametrize("order", [1, -1])
def test_a_length_beside_chunks_is_refused(
    place: tuple[Server, httpx.Client, str], order: int
) -> None:
    # A proxy that goes by the length takes the second request for a part of the first one's body,
    # and would give its answer to another client.
    lengths = ["content-length: 33", "transfer-encoding: chunked"]
    head = _request(f"POST {place[2]}/get", JSON, *lengths[::order])
    head = head.replace(b"connection: close\r\n", b"")
    answers = _talk(place[0], head + b"2\r\n{}\r\n0\r\n\r\n" + _request("GET /api/v2/version"))
    assert answers.count(b"HTTP/1.1 ") == 1
    assert _read(answers)[0] == 400


def test_a_broken_chunk(place: tuple[Server, httpx.Client, str]) -> None:
    server, http, records = place
    sent = _request(f"POST {records}/get", JSON, "transfer-encoding: chunked", body=b"zz\r\n{}\r\n")
    status, headers, body = _read(_talk(server, sent))
    assert (status, headers["chroma-trace-id"]) == (400, "0" * 32)
    assert json.loads(body) == {"error": INVALID, "message": "the body is incomplete"}
    assert http.get("/api/v2/heartbeat").status_code == 200


def test_a_client_that_hangs_up(place: tuple[Server, httpx.Client, str]) -> None:
    server, http, records = place
    for body in (b"", b'{"ids'):
        sent = _request(f"POST {records}/get", JSON, "content-length: 10", body=body)
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(sent)
    assert http.get("/api/v2/heartbeat").status_code == 200


@pytest.mark.parametrize(
    "kind",
    ["text/plain", "application/xml", "multipart/form-data; boundary=x", "application/jsonx",
     "application/x-www-form-urlencoded", "json", "*/*", ";", "\xff"],
)  # fmt: skip
def test_bodies_of_another_kind(place: tuple[Server, httpx.Client, str], kind: str) -> None:
    headers = {b"content-type": kind.encode("latin-1")}
    answer = place[1].post(f"{place[2]}/get", content=b"{}", headers=headers)
    _check_refused(answer, 415, CHROMA, "Expected request with `Content-Type: application/json`")


@pytest.mark.parametrize(
    "kind",
    ["application/json; charset=utf-8", "APPLICATION/JSON", "application/vnd.api+json"],
)
def test_bodies_of_the_right_kind(place: tuple[Server, httpx.Client, str], kind: str) -> None:
    headers = (f"content-type: {kind}", "content-length: 2")
    sent = _request(f"POST {place[2]}/get", *headers, body=b"{}")
    assert _read(_talk(place[0], sent))[0] == 200


MALFORMED = ["", " ", "{", "}", '{"limit":1', '{"limit":1}}', "{'limit':1}", "\ufeff{}", "nul",
             '{"limit":1,}', "\0", "// x\n{}"]  # fmt: skip


@pytest.mark.parametrize(
    "body", [*(text.encode() for text in MALFORMED), b'{"ids":["\xff"]}', b"\xff"]
)
def test_bodies_that_are_no_json(place: tuple[Server, httpx.Client, str], body: bytes) -> None:
    answer = place[1].post(f"{place[2]}/get", content=body)
    _check_refused(answer, 400, INVALID, "Failed to parse the request body as JSON: ")


@pytest.mark.parametrize("body", ["[]", "null", "3", "true", '"{}"', "[{}]"])
def test_bodies_that_are_no_object(place: tuple[Server, httpx.Client, str], body: str) -> None:
    for path in (f"{place[2]}/get", f"{place[2]}/add", TENANTS):
        answer = place[1].post(path, content=body.encode())
        _check_refused(
            answer, 422, CHROMA,
            "Failed to deserialize the JSON body into the target type: Expected `object`, got",
        )  # fmt: skip


def _chunks() -> Iterator[bytes]:
    yield from itertools.repeat(b" " * MEBIBYTE, 41)


@pytest.mark.parametrize("is_chunked", [False, True])
@pytest.mark.parametrize("route", ["add", "update", "upsert", "query"])
def test_large_bodies_of_records(
    place: tuple[Server, httpx.Client, str], route: str, is_chunked: bool
) -> None:
    content = _chunks() if is_chunked else b" " * (41 * MEBIBYTE)
    answer = place[1].post(f"{place[2]}/{route}", content=content)
    assert (answer.status_code, answer.content) == (413, b"Payload too large")
    assert "content-type" not in answer.headers
    assert answer.headers["chroma-trace-id"] == "0" * 32
    assert place[1].get("/api/v2/heartbeat").status_code == 200


@pytest.mark.parametrize("is_chunked", [False, True])
def test_large_bodies_of_other_routes(
    place: tuple[Server, httpx.Client, str], is_chunked: bool
) -> None:
    for path in (f"{place[2]}/get", f"{place[2]}/delete", C, TENANTS):
        content = _chunks() if is_chunked else b" " * (41 * MEBIBYTE)
        answer = place[1].post(path, content=content)
        _check_refused(
            answer, 413, CHROMA, "Failed to buffer the request body: length limit exceeded"
        )


def test_a_refusal_before_the_end_of_a_body_closes_the_connection(
    place: tuple[Server, httpx.Client, str],
) -> None:
    content = b" " * (8 * MEBIBYTE)
    for _ in range(10):
        kind = {"content-type": "text/plain"}
        answer = place[1].post(f"{place[2]}/add", content=content, headers=kind)
        assert (answer.status_code, answer.headers["connection"]) == (415, "close")
        assert place[1].get("/api/v2/heartbeat").status_code == 200


def test_a_length_that_is_too_large_is_not_waited_for(
    place: tuple[Server, httpx.Client, str],
) -> None:
    sent = _request(f"POST {place[2]}/add", JSON, "content-length: 999999999999", body=b"{}")
    assert _read(_talk(place[0], sent, timeout=5))[0] == 413


def test_a_body_of_almost_the_limit(place: tuple[Server, httpx.Client, str]) -> None:
    body = b"{}" + b" " * (40 * MEBIBYTE - 2)
    assert place[1].post(f"{place[2]}/get", content=body).status_code == 200
    assert place[1].post(f"{place[2]}/get", content=body + b" ").status_code == 413


DEEP = 100_000
LIST, OBJECT = "[" * DEEP + "]" * DEEP, '{"a":' * DEEP + "1" + "}" * DEEP
FILTER = '{"$and":[' * DEEP + '{"a":1}' + "]}" * DEEP


@pytest.mark.parametrize(
    ("route", "body"),
    [
        ("/get", f'{{"where":{LIST}}}'),
        ("/get", f'{{"where":{OBJECT}}}'),
        ("/get", f'{{"where":{FILTER}}}'),
        ("/get", f'{{"where_document":{FILTER}}}'),
        ("/get", f'{{"no such field":{LIST}}}'),
        ("/add", f'{{"ids":["x"],"embeddings":{LIST}}}'),
        ("/add", f'{{"ids":["x"],"embeddings":[[1,2]],"metadatas":[{{"a":{LIST}}}]}}'),
        ("/add", f'{{"ids":["x"],"embeddings":[[1,2]],"metadatas":[{{"a":{OBJECT}}}]}}'),
        ("", f'{{"name":"made","schema":{{"defaults":{OBJECT},"keys":{{}}}}}}'),
        ("", f'{{"name":"made","configuration":{{"hnsw":{OBJECT}}}}}'),
    ],
    # pytest passes an id in the environment, which has a limit.
    ids=lambda text: text[:60],
)
def test_depths(place: tuple[Server, httpx.Client, str], route: str, body: str) -> None:
    answer = place[1].post(f"{place[2]}{route}" if route else C, content=body.encode())
    assert answer.status_code in (400, 422)
    assert list(answer.json()) == ["error", "message"]
    assert place[1].get("/api/v2/heartbeat").status_code == 200


@pytest.mark.parametrize("depth", [170, 180, 199, 200, 201, 300])
def test_filters_that_nest_too_deep(place: tuple[Server, httpx.Client, str], depth: int) -> None:
    where = '{"$or":[' * depth + '{"a":1}' + "]}" * depth
    answer = place[1].post(f"{place[2]}/get", content=f'{{"where":{where}}}'.encode())
    assert answer.status_code in (200, 400)


@pytest.mark.parametrize("depth", [101, 240, 300, 900])
def test_settings_of_a_function_that_nest_too_deep(
    place: tuple[Server, httpx.Client, str], depth: int
) -> None:
    # A value that the JSON encoder refuses would break every list of collections.
    config = '{"a":' * depth + "1" + "}" * depth
    function = f'{{"type":"known","name":"n","config":{config}}}'
    with_function = {"embedding_function": "…"}
    index = {"float_list": {"vector_index": {"enabled": True, "config": with_function}}}
    schema = {"defaults": {}, "keys": {"#embedding": index}}
    http = place[1]
    for method, path, body in (
        ("POST", C, {"name": "made", "configuration": with_function}),
        ("POST", C, {"name": "made", "schema": schema}),
        ("PUT", place[2], {"new_configuration": with_function}),
    ):
        content = json.dumps(body, ensure_ascii=False).replace('"…"', function).encode()
        answer = http.request(method, path, content=content)
        _check_refused(answer, 400, INVALID, "embedding_function: it nests deeper than 100 levels")
    assert http.get(C).status_code == 200


@pytest.mark.heavy
def test_many_keys_and_operands(place: tuple[Server, httpx.Client, str]) -> None:
    _, http, records = place
    metadata = {f"k{n}": n for n in range(100_000)}
    wide = {"ids": ["wide"], "embeddings": [[1, 2]], "metadatas": [metadata]}
    assert http.post(f"{records}/add", json=wide).status_code == 201
    found = http.post(f"{records}/get", json={"where": {"k99999": 99_999}}).json()
    assert found["metadatas"] == [metadata]
    assert http.post(f"{records}/delete", json={"ids": ["wide"]}).json() == {"deleted": 1}
    many = {"where": {"k": {"$in": list(range(100_000))}}}
    assert http.post(f"{records}/get", json=many).json()["ids"] == []
    clauses = {"where": {"$and": [{"k": n} for n in range(100_000)]}}
    _check_refused(
        http.post(f"{records}/get", json=clauses), 400, INVALID, "more than 1000 conditions"
    )


# A value, valid in JSON or not, and the status of the answer if it is in: a record's metadata, an
# embedding, a filter, a limit, a setting, a collection's metadata, a function.
NUMBERS = {
    "-0.0": (201, 200, 200, 422, 422, 200, 200),
    "1e-400": (201, 200, 200, 422, 422, 200, 200),
    "9223372036854775808": (201, 200, 400, 422, 422, 200, 400),
    "18446744073709551616": (422, 200, 400, 422, 422, 422, 400),
    "1180591620717411303424": (422, 200, 400, 422, 422, 422, 400),
    "-9223372036854775809": (422, 200, 400, 422, 422, 422, 400),
    "1e39": (201, 400, 200, 422, 422, 200, 200),
    "1e400": (422,) * 7,
    "-1e400": (422,) * 7,
    "NaN": (400,) * 7,
    "Infinity": (400,) * 7,
    "-Infinity": (400,) * 7,
    "01": (400,) * 7,
    "1.": (400,) * 7,
    "+1": (400,) * 7,
    "0x10": (400,) * 7,
    '"\\ud800"': (400,) * 7,
    '"\\udc00\\ud800"': (400,) * 7,
    '"a\\u0000b"': (400, 422, 400, 422, 422, 400, 400),
}


@pytest.mark.parametrize("value", NUMBERS)
def test_values(place: tuple[Server, httpx.Client, str], value: str) -> None:
    _, http, records = place
    places = {
        f"{records}/add": f'{{"ids":["n"],"embeddings":[[1,2]],"metadatas":[{{"a":{value}}}]}}',
        f"{records}/upsert": f'{{"ids":["n"],"embeddings":[[{value},2]]}}',
        f"{records}/get": f'{{"where":{{"a":{value}}}}}',
        f"{records}/query": f'{{"query_embeddings":[[1,2]],"n_results":{value}}}',
        C: f'{{"name":"made","configuration":{{"hnsw":{{"ef_search":{value}}}}}}}',
        f"{C}?": f'{{"name":"made","metadata":{{"a":{value}}}}}',
        f"{C}?&": '{"name":"made","configuration":{"embedding_function":{"type":"known",'
        f'"name":"n","config":{{"a":{value}}}}}}}}}',
    }
    statuses = []
    for path, body in places.items():
        answer = http.post(path, content=body.encode())
        statuses.append(answer.status_code)
        assert ("chroma-trace-id" in answer.headers) == (answer.status_code >= 400)
        if path.startswith(C) and answer.status_code == 200:
            assert http.get(f"{C}/made").status_code in (200, 404)
            http.delete(f"{C}/made")
    assert tuple(statuses) == NUMBERS[value]
    http.post(f"{records}/delete", json={"ids": ["n"]}).raise_for_status()


NUL = "a\\u0000b"


@pytest.mark.parametrize(
    ("route", "body"),
    [
        ("/add", f'{{"ids":["{NUL}"],"embeddings":[[1,2]]}}'),
        ("/add", f'{{"ids":["n"],"embeddings":[[1,2]],"documents":["{NUL}"]}}'),
        ("/add", f'{{"ids":["n"],"embeddings":[[1,2]],"uris":["{NUL}"]}}'),
        ("/add", f'{{"ids":["n"],"embeddings":[[1,2]],"metadatas":[{{"{NUL}":1}}]}}'),
        ("/add", f'{{"ids":["n"],"embeddings":[[1,2]],"metadatas":[{{"a":["{NUL}"]}}]}}'),
        ("/get", f'{{"ids":["{NUL}"]}}'),
        ("/get", f'{{"where":{{"{NUL}":1}}}}'),
        ("/get", f'{{"where":{{"#id":"{NUL}"}}}}'),
        ("/get", f'{{"where_document":{{"$contains":"{NUL}"}}}}'),
        ("/get", f'{{"where_document":{{"$regex":"{NUL}"}}}}'),
        ("/delete", f'{{"ids":["{NUL}"]}}'),
    ],
)
def test_texts_that_cannot_be_stored(
    place: tuple[Server, httpx.Client, str], route: str, body: str
) -> None:
    answer = place[1].post(place[2] + route, content=body.encode())
    _check_refused(answer, 400, INVALID, "U+0000")


@pytest.mark.parametrize("name", [NUL, "a\\r\\nx-evil: 1", "\\ud800", "é", "a/b", "x" * 600])
def test_names_that_cannot_be_given(place: tuple[Server, httpx.Client, str], name: str) -> None:
    body = f'{{"name":"{name}"}}'.encode()
    for path in (C, f"{TENANTS}/default_tenant/databases"):
        answer = place[1].post(path, content=body)
        assert (answer.status_code, answer.json()["error"]) == (400, INVALID)
        assert "x-evil" not in answer.headers
    changed = place[1].put(place[2], content=f'{{"new_name":"{name}"}}'.encode())
    assert changed.status_code == 400


@pytest.mark.parametrize(
    "schema",
    [
        "3", "[]", "{}", '{"defaults":[],"keys":{}}', '{"defaults":{},"keys":{"a":3}}',
        '{"defaults":{"string":3},"keys":{}}', '{"defaults":{},"keys":{"#embedding":[]}}',
        '{"defaults":{"float_list":{"vector_index":{"config":{"hnsw":[]}}}},"keys":{}}',
        '{"defaults":{"float_list":{"vector_index":{"config":{"space":3}}}},"keys":{}}',
        '{"defaults":{"float_list":{"vector_index":{"config":{"embedding_function":"x"}}}},"keys":{}}',
        '{"defaults":{"float_list":{"vector_index":{"config":{"spann":3}}}},"keys":{}}',
        '{"defaults":{"float_list":{"vector_index":{"config":{"source_key":[]}}}},"keys":{}}',
        '{"defaults":{"string":{"string_inverted_index":{"enabled":{}}}},"keys":{}}',
    ],
)  # fmt: skip
def test_schemas_of_another_shape(place: tuple[Server, httpx.Client, str], schema: str) -> None:
    answer = place[1].post(C, content=f'{{"name":"made","schema":{schema}}}'.encode())
    # Fields that the server ignores may have any shape.
    assert answer.status_code in (200, 400, 422)
    assert place[1].get(C).status_code == 200
    place[1].delete(f"{C}/made")


@pytest.mark.heavy
def test_a_slow_body_is_given_up(impatient: Server) -> None:
    started = time.monotonic()
    sent = _request(f"POST {TENANTS}", JSON, "content-length: 10", body=b'{"nam')
    status, headers, body = _read(_talk(impatient, sent))
    assert 0.9 < time.monotonic() - started < 5
    assert (status, headers["chroma-trace-id"]) == (400, "0" * 32)
    assert json.loads(body) == {
        "error": INVALID, "message": "the body did not arrive within 1 seconds",
    }  # fmt: skip


def test_a_body_in_drips_is_given_up(impatient: Server) -> None:
    with socket.create_connection(("127.0.0.1", impatient.port), 5) as connection:
        connection.sendall(_request(f"POST {TENANTS}", JSON, "content-length: 1000"))
        deadline = time.monotonic() + 5
        connection.settimeout(0.1)
        answer = b""
        while not answer and time.monotonic() < deadline:
            connection.sendall(b" ")
            try:
                answer = connection.recv(65536)
            except TimeoutError:
                continue
    assert answer.startswith(b"HTTP/1.1 400 ")


def test_idle_connections_are_no_burden(impatient: Server) -> None:
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(8_000, most // 2 - 200)
    with ExitStack() as stack, httpx.Client(base_url=impatient.url, timeout=20) as http:
        for index in range(count):
            connection = socket.create_connection(("127.0.0.1", impatient.port), 10)
            stack.enter_context(connection)
            if index % 2:
                # Half of them have sent the beginning of a request.
                connection.sendall(b"GET /api/v2/vers")
        assert http.get("/api/v2/heartbeat").status_code == 200
        with httpx.Client(base_url=impatient.url, timeout=20) as another:
            assert another.get(C).status_code == 200
    assert httpx.get(f"{impatient.url}/api/v2/heartbeat", timeout=20).status_code == 200


@pytest.mark.slow
def test_a_slow_head_is_given_up(impatient: Server) -> None:
    with ExitStack() as stack:
        address = ("127.0.0.1", impatient.port)
        connections = [
            stack.enter_context(socket.create_connection(address, 20)) for _ in range(100)
        ]
        for connection in connections:
            connection.sendall(b"GET /api/v2/version HTTP/1.1\r\nhost: localhost\r\nx-a: ")
        started = time.monotonic()
        ends = [connection.recv(1024) for connection in connections]
        assert time.monotonic() - started < 15
        assert all(end == b"" or end.startswith(b"HTTP/1.1 408 ") for end in ends)


def test_nothing_of_this_is_the_servers_fault(place: tuple[Server, httpx.Client, str]) -> None:
    log = Path(place[0].log).read_text(errors="replace")
    assert "unexpected" not in log
    assert "Traceback" not in log


def test_a_field_that_is_there_twice_is_refused(place: tuple[Server, httpx.Client, str]) -> None:
    _, http, records = place
    answer = http.post(f"{records}/delete", content=b'{"ids":["none"],"ids":["a"]}')
    assert (answer.status_code, answer.json()["error"]) == (422, "ChromaError")
    assert "duplicate field `ids`" in answer.json()["message"]
    assert http.get(f"{records}/count").json() == 1
