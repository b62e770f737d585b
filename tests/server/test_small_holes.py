"""Minor ways to read, store or log more than is allowed."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

import pgchroma
from pgchroma.backends._sync.connect import connect
from pgchroma.model.configuration import MAX_FUNCTION_BYTES
from pgchroma.model.credentials import Scope
from pgchroma.model.operations.credentials import new_key
from pgchroma.server.observability.logs import TextFormatter
from tests.server_process import Server, eventually, running

C = "/api/v2/tenants/default_tenant/databases/default_database/collections"
D = "/api/v2/tenants/default_tenant/databases/default_database"


@pytest.fixture
def http(open_server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=open_server.url, timeout=60) as http:
        http.post("/api/v2/reset").raise_for_status()
        yield http


@pytest.mark.heavy
def test_a_key_for_one_collection_learns_no_other_name(url: str, tmp_path: Path) -> None:
    with pgchroma.PostgresClient(url) as client:
        made = client.create_collection("papers", embedding_function=None)
        client.create_collection("secret", embedding_function=None)
    scope = Scope("default_tenant", "default_database", "papers")
    one, new_one = new_key("one", "write", scope)
    all_of_it, new_all = new_key("all", "write", Scope("default_tenant", "default_database"))
    with closing(connect(url, pgchroma.Settings())) as backend:
        backend.execute(new_one)
        backend.execute(new_all)
    with running(tmp_path / "log", "--url", url) as server:
        path = f"{server.url}{C}/{made.id}"

        def put(key: str, body: object) -> httpx.Response:
            return httpx.put(path, json=body, headers={"x-chroma-token": key}, timeout=60)

        answers = [put(one.text, {"new_name": name}) for name in ("secret", "free-one", "papers")]
        assert {answer.status_code for answer in answers} == {403}
        assert len({answer.json()["message"] for answer in answers}) == 1
        assert put(one.text, {"new_metadata": {"a": 1}}).status_code == 200
        assert put(all_of_it.text, {"new_name": "secret"}).status_code == 409
        assert put(all_of_it.text, {"new_name": "free-one"}).status_code == 200


def function(size: int) -> dict[str, object]:
    return {"type": "known", "name": "mine", "config": {"text": "x" * size}}


def test_the_configuration_of_a_function_is_short(http: httpx.Client) -> None:
    configuration = {"embedding_function": function(MAX_FUNCTION_BYTES)}
    answer = http.post(C, json={"name": "papers", "configuration": configuration})
    assert answer.status_code == 400
    assert "embedding_function: its configuration is longer than 65536" in answer.json()["message"]
    assert len(answer.content) < 500
    configuration = {"embedding_function": function(MAX_FUNCTION_BYTES - 200)}
    made = http.post(C, json={"name": "papers", "configuration": configuration}).json()
    changes = {"embedding_function": function(MAX_FUNCTION_BYTES)}
    answer = http.put(f"{C}/{made['id']}", json={"new_configuration": changes})
    assert answer.status_code == 400


def test_options_names_all_methods(http: httpx.Client) -> None:
    made = http.post(C, json={"name": "papers"}).json()["id"]
    for path, methods in {
        C: "GET, HEAD, OPTIONS, POST",
        f"{C}/{made}": "DELETE, GET, HEAD, OPTIONS, PUT",
        f"{C}/{made}/add": "OPTIONS, POST",
        D: "DELETE, GET, HEAD, OPTIONS",
        "/api/v2/tenants/default_tenant": "GET, HEAD, OPTIONS, PATCH",
        "/api/v2/reset": "OPTIONS, POST",
        "/docs": "GET, HEAD, OPTIONS",
    }.items():
        answer = http.options(path)
        assert (answer.status_code, answer.headers["allow"]) == (204, methods)
        assert http.request("TRACE", path).headers["allow"] == methods


def test_what_is_not_implemented_is_no_error_of_the_servers(
    http: httpx.Client, open_server: Server
) -> None:
    made = http.post(C, json={"name": "papers"}).json()["id"]
    before = len(open_server.log.read_text())
    assert http.post(f"{C}/{made}/fork", json={"new_name": "copy"}).status_code == 501
    http.get("/api/v2/heartbeat")
    written = open_server.log.read_text()[before:]
    assert "ERROR" not in written
    assert ".py" not in written


def test_no_line_of_the_log_moves_a_terminal(open_server: Server) -> None:
    with socket.create_connection(("127.0.0.1", open_server.port), 30) as connection:
        # CSI as a character of C1, which is allowed in a path as two bytes; and right-to-left.
        path = b"/\xc2\x9b31m\xe2\x80\xaered"
        connection.sendall(b"GET %s HTTP/1.0\r\nhost: localhost\r\n\r\n" % path)
        while connection.recv(65536):
            pass
    eventually(lambda: "31m" in open_server.log.read_text())
    text = open_server.log.read_text()
    assert "GET /%C2%9B31m%E2%80%AEred 404" in text
    assert "\x9b" not in text


@pytest.mark.parametrize(
    "code", [0, 7, 8, 13, 27, 0x7F, 0x80, 0x85, 0x9B, 0x9D, 0x2028, 0x202E, 0xFEFF]
)
def test_control_characters_are_escaped_wherever_they_come_from(code: int) -> None:
    record = logging.LogRecord("pgchroma", logging.ERROR, "", 0, "said %s", (chr(code),), None)
    assert chr(code) not in TextFormatter().format(record)


@pytest.mark.heavy
def test_an_origin_is_no_pattern(url: str, tmp_path: Path) -> None:
    environment = {"PGCHROMA_CORS_ALLOW_ORIGINS": "https://app.example"}
    with running(tmp_path / "log", "--url", url, environment=environment) as server:
        for origin, is_allowed in (
            ("https://app.example", True),
            ("https://appXexample", False),
            ("https://app.example.evil", False),
        ):
            answer = httpx.get(f"{server.url}/api/v2/heartbeat", headers={"origin": origin})
            assert (answer.headers.get("access-control-allow-origin") == origin) is is_allowed
