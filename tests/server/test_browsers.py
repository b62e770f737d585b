"""Requests that web pages can make a browser send to a server without authentication."""

from __future__ import annotations

import socket
from pathlib import Path

import httpx
import pytest

from pgchroma.server.http.browsers import check_request, host_of
from pgchroma.server.http.errors import (
    ForeignHostError,
    ForeignOriginError,
    UnsupportedMediaTypeError,
)
from tests.server_process import running

JSON = {"content-type": "application/json"}


def check(
    method: str, headers: dict[str, str], *, hosts: str = "", origins: tuple[str, ...] = ()
) -> None:
    check_request(
        method, {"host": "localhost:8000"} | headers, {*map(host_of, hosts.split())}, origins
    )


@pytest.mark.parametrize(
    "host",
    [
        "localhost", "localhost:8000", "LOCALHOST:1", "localhost.", "app.localhost:80",
        "127.0.0.1:8000", "127.9.8.7", "[::1]", "[::1]:8000", "[::ffff:127.0.0.1]:80",
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_requests_to_loopback_are_answered(host: str, method: str) -> None:
    check(method, {"host": host} | JSON)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example", "evil.example:8000", "localhost.evil.example", "evil.example.", " ",
        "127.0.0.1.evil.example", "127.0.0.1.nip.io:8000", "localhost, evil.example",
        "evil.example, localhost", "user@localhost", "localhost@evil.example", "0.0.0.0:8000",
        "192.168.0.1", "[::]", "[fe80::1]", "localhost:port", "[::1", "localhost/evil",
        "evil\\localhost",
        "notlocalhost", "2130706433", "localhost#", "localhost?", "10.0.0.1:8000",
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE"])
def test_requests_to_other_hosts_are_refused(host: str, method: str) -> None:
    with pytest.raises(ForeignHostError, match="allowed_hosts"):
        check(method, {"host": host} | JSON)


def test_the_operator_may_allow_hosts() -> None:
    hosts = "chroma.example host.docker.internal:8000 [fd00::1]"
    for host in ("chroma.example", "CHROMA.example:443", "host.docker.internal", "[fd00::1]:80"):
        check("POST", {"host": host} | JSON, hosts=hosts)
    with pytest.raises(ForeignHostError):
        check("POST", {"host": "x.chroma.example"} | JSON, hosts=hosts)
    check("POST", {"host": "anything"} | JSON, hosts="*")


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:3000"},
        {"origin": "http://localhost"},
        {"origin": "http://localhost:8000.evil.example"},
        {"origin": "http://evil@localhost:8000"},
        {"origin": "http://127.0.0.1:8000"},
        {"origin": "file://"},
        {"origin": ""},
        {"origin": "http://localhost:8000, http://evil.example"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_pages_of_other_origins_change_nothing(method: str, headers: dict[str, str]) -> None:
    with pytest.raises(ForeignOriginError, match="cors_allow_origins"):
        check(method, headers | JSON)
    with pytest.raises(ForeignOriginError):
        check(method, headers)
    check("GET", headers)


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://localhost:8000", "sec-fetch-site": "same-origin"},
        {"origin": "https://localhost:8000"},
        {"origin": "http://localhost", "host": "localhost:80"},
        {"origin": "https://[::1]", "host": "[::1]:443"},
        {"origin": "http://app.example:3000"},
        {"sec-fetch-mode": "cors"},  # Node's fetch, which sends no more than that
    ],
)
def test_own_pages_and_allowed_ones_may(headers: dict[str, str]) -> None:
    check("POST", headers | JSON, origins=("http://app.example:3000",))


def test_any_origin_may_if_the_operator_says_so() -> None:
    check("POST", {"origin": "https://app.example"} | JSON, origins=("*",))


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "text/plain", "content-length": "2"},
        {"content-type": "text/plain;application/json", "content-length": "2"},
        {"content-type": "application/x-www-form-urlencoded", "content-length": "0"},
        {"content-type": "multipart/form-data; boundary=x", "transfer-encoding": "chunked"},
        {"content-type": "", "content-length": "2"},
        {"content-length": "2"},  # a Blob without a type
        {"transfer-encoding": "chunked"},
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_a_change_is_json(method: str, headers: dict[str, str]) -> None:
    with pytest.raises(UnsupportedMediaTypeError):
        check(method, headers)


def test_what_programs_send_is_answered() -> None:
    check("POST", {"content-length": "0", "sec-fetch-mode": "cors"})  # `reset()` in JavaScript
    check("DELETE", {})
    check("POST", {"content-type": "application/json; charset=utf-8", "content-length": "2"})
    check_request("GET", {}, (), ())  # a probe by HTTP/1.0


def test_a_page_neither_resets_nor_creates_nor_reads(served: str) -> None:
    create = f"{served}/api/v2/tenants/default_tenant/databases/default_database/collections"
    page = {"origin": "https://evil.example", "sec-fetch-site": "cross-site"}
    for headers, status in (
        (page | {"content-type": "text/plain"}, 403),
        (page | JSON, 403),
        ({"content-type": "text/plain"}, 415),
        ({}, 415),
        ({"host": "evil.example:8000"} | JSON, 403),
    ):
        answer = httpx.post(create, content=b'{"name": "from-a-page"}', headers=headers)
        assert answer.status_code == status, (headers, answer.text)
        assert answer.json()["error"] == "ChromaError"
    assert httpx.post(f"{served}/api/v2/reset", headers=page).status_code == 403
    rebound = {"host": "evil.example"}
    for path in ("/api/v2/heartbeat", "/docs/", "/openapi.json", create.removeprefix(served)):
        assert httpx.get(served + path, headers=rebound).status_code == 403
    names = [each["name"] for each in httpx.get(create).json()]
    assert "from-a-page" not in names


def test_a_request_of_http_1_0_is_answered(served: str) -> None:
    host, port = httpx.URL(served).host, httpx.URL(served).port
    with socket.create_connection((host, port or 80), timeout=30) as connection:
        connection.sendall(b"GET /api/v2/heartbeat HTTP/1.0\r\n\r\n")
        with connection.makefile("rb") as answer:
            assert b" 200 " in answer.readline()


@pytest.mark.heavy
def test_hosts_and_origins_are_settings(url: str, tmp_path: Path) -> None:
    environment = {
        "PGCHROMA_ALLOWED_HOSTS": "chroma.internal, host.docker.internal",
        "PGCHROMA_CORS_ALLOW_ORIGINS": "https://app.example",
    }
    arguments = ("--url", url, "--no-auth")
    with running(tmp_path / "log", *arguments, environment=environment) as server:
        tenants = f"{server.url}/api/v2/tenants"
        headers = {"host": "chroma.internal", "origin": "https://app.example"}
        assert httpx.post(tenants, json={"name": "tenant-one"}, headers=headers).status_code == 200
        preflight = headers | {
            "access-control-request-method": "POST",
            "access-control-request-headers": "content-type",
        }
        assert httpx.options(tenants, headers=preflight).is_success
        headers["origin"] = "https://other.example"
        assert httpx.post(tenants, json={"name": "tenant-two"}, headers=headers).status_code == 403


@pytest.mark.heavy
def test_a_server_with_credentials_goes_by_them(url: str, tmp_path: Path) -> None:
    with running(tmp_path / "log", "--url", url) as server:
        tenants = f"{server.url}/api/v2/tenants"
        page = {"host": "chroma.example", "origin": "https://evil.example"}
        assert httpx.post(tenants, json={"name": "tenant"}, headers=page).status_code == 401
        key = {"x-chroma-token": server.first_key}
        assert httpx.post(tenants, content=b'{"name": "tenant"}', headers=page | key).is_success
