"""Clients of a server: addresses, credentials, retries, and invalid answers."""

from __future__ import annotations

import os
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

import pgchroma
from pgchroma import Settings, errors
from pgchroma.auth.token_authn import TokenTransportHeader
from pgchroma.backends._async.http_clients import HttpClients as AsyncHttpClients
from pgchroma.backends._sync.http import HttpBackend
from pgchroma.backends._sync.http_clients import HttpClients
from pgchroma.backends.endpoint import Endpoint
from pgchroma.client._sync.client import AdminClient
from pgchroma.client.endpoints import endpoint_of
from pgchroma.model.operations import CreateTenant, GetTenant, Heartbeat
from tests.server_process import Server, free_port, running

FASTAPI = "chromadb.api.fastapi.FastAPI"


@pytest.fixture(scope="module")
def locked(module_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that requires a key."""
    log = tmp_path_factory.mktemp("locked") / "log"
    with running(log, "--url", module_url) as server:
        yield server


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    """A server that gives scripted answers and records the requests it receives."""
    server = Scripted()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


class Scripted(ThreadingHTTPServer):
    scheme = "http"

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answering)
        self.answers: list[tuple[int, dict[str, str], bytes]] = []
        self.requests: list[tuple[str, str, dict[str, str]]] = []

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.server_address[1]}"


class _Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Scripted

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.server.requests.append((self.command, self.path, dict(self.headers.items())))
        status, headers, body = self.server.answers.pop(0)
        self.send_response(status)
        for name, value in {**headers, "content-length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        pass


BEAT: tuple[int, dict[str, str], bytes] = (200, {}, b'{"nanosecond heartbeat":7}')
AWAY = (503, {"retry-after": "0"}, b'{"error":"ChromaError","message":"away"}')


@pytest.mark.parametrize(
    ("options", "url"),
    [
        ({}, "http://localhost:8000"),
        ({"host": "db.example", "port": 9}, "http://db.example:9"),
        ({"host": "db.example", "ssl": True, "port": 443}, "https://db.example:443"),
        ({"host": "https://db.example/chroma/", "port": 9}, "https://db.example/chroma"),
        ({"host": "http://db.example:1234/api/v2"}, "http://db.example:1234"),
        ({"host": "::1", "port": 9}, "http://[::1]:9"),
        ({"host": "[::1]"}, "http://[::1]:8000"),
        ({"host": "[::1]:9"}, "http://[::1]:9"),
        ({"host": "fe80::1%eth0"}, "http://[fe80::1%eth0]:8000"),
        ({"host": "localhost:8000"}, "http://localhost:8000"),
        ({"host": "127.0.0.1:8400"}, "http://127.0.0.1:8400"),
        ({"host": "127.0.0.1:8400", "port": 8400, "ssl": True}, "https://127.0.0.1:8400"),
        ({"host": "db.example", "port": "9"}, "http://db.example:9"),
        ({"settings": Settings(chroma_server_http_port=9), "port": "9"}, "http://localhost:9"),
        (
            {"host": "a.example", "settings": Settings(chroma_server_host="a.example")},
            "http://a.example:8000",
        ),
    ],
)
def test_an_address_is_spelled_in_many_ways(
    options: dict[str, Any], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Endpoint] = []

    def note(endpoint: Endpoint) -> Any:
        seen.append(endpoint)
        raise KeyboardInterrupt

    monkeypatch.setattr("pgchroma.backends._sync.http.HttpBackend", note)
    with pytest.raises(KeyboardInterrupt):
        pgchroma.HttpClient(**options)
    assert seen[0].url == url


@pytest.mark.parametrize(
    ("text", "verify"),
    [
        ("False", False),
        ("0", False),
        (" no ", False),
        ("TRUE", True),
        ("on", True),
        (__file__, __file__),
    ],
)
def test_whether_certificates_are_checked_is_read_from_a_text(
    text: str, verify: bool | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHROMA_SERVER_SSL_VERIFY", text)
    assert endpoint_of(Settings()).verify == verify


@pytest.mark.parametrize(
    ("provider", "header", "sent"),
    [
        (
            "chromadb.auth.token_authn.TokenAuthClientProvider",
            None,
            {"Authorization": "Bearer u:p"},
        ),
        (
            "chromadb.auth.token.TokenAuthClientProvider",
            "X_CHROMA_TOKEN",
            {"X-Chroma-Token": "u:p"},
        ),
        ("token", TokenTransportHeader.X_CHROMA_TOKEN, {"X-Chroma-Token": "u:p"}),
        ("chromadb.auth.basic.BasicAuthClientProvider", None, {"Authorization": "Basic dTpw"}),
        (
            "chromadb.auth.basic_authn.BasicAuthClientProvider",
            "x-chroma-token",
            {"Authorization": "Basic dTpw"},
        ),
    ],
)
def test_providers_are_known_by_their_names_of_every_version(
    provider: str, header: str | None, sent: dict[str, str]
) -> None:
    settings = Settings(
        chroma_client_auth_provider=provider,
        chroma_client_auth_credentials="u:p",
        chroma_auth_token_transport_header=header,
    )
    assert endpoint_of(settings).headers == sent


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate of 127.0.0.1, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), False
        )
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    path.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        + signed.public_bytes(Encoding.PEM)
    )
    return path


@pytest.fixture
def secured(scripted: Scripted, certificate: Path) -> Scripted:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    scripted.socket = context.wrap_socket(scripted.socket, server_side=True)
    scripted.scheme = "https"
    return scripted


def test_a_certificate_that_is_not_trusted_is_told(
    secured: Scripted, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(
        ValueError, match=r"certificate of the server at .* is not trusted.*self"
    ) as raised:
        pgchroma.HttpClient(secured.url)
    assert "chroma_server_ssl_verify" in str(raised.value)
    monkeypatch.setenv("CHROMA_SERVER_SSL_VERIFY", str(certificate))
    secured.answers = [BEAT]
    backend = HttpBackend(endpoint_of(Settings(chroma_server_host=secured.url)))
    assert backend.execute(Heartbeat()) == 7
    backend.close()


def test_the_file_of_authorities_is_read_for_each_client(
    secured: Scripted, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The tests' own cache, which is in `conftest.py`, is left out.
    monkeypatch.setattr("httpx._transports.default.create_ssl_context", httpx.create_ssl_context)
    with pytest.raises(ValueError, match="not trusted"):
        pgchroma.HttpClient(secured.url)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    secured.answers = [BEAT]
    backend = HttpBackend(endpoint_of(Settings(chroma_server_host=secured.url)))
    assert backend.execute(Heartbeat()) == 7
    backend.close()


async def test_a_server_without_tls_is_told(scripted: Scripted) -> None:
    with pytest.raises(ValueError, match=r"no secure connection .* It may speak plain HTTP"):
        await pgchroma.AsyncHttpClient(scripted.url.replace("http:", "https:"))


IN_FIVE_LOOPS = """
import asyncio, sys, threading, warnings
import pgchroma
warnings.simplefilter("ignore", ResourceWarning)

client = asyncio.run(pgchroma.AsyncHttpClient(sys.argv[1]))
collection = asyncio.run(client.create_collection("loops", embedding_function=None))

async def work(n):
    await asyncio.gather(*(collection.add(f"{n}-{i}", [float(i)]) for i in range(4)))
    return await collection.count()

for n in range(5):
    assert asyncio.run(work(n)) == 4 * n + 4
threads = [threading.Thread(target=lambda n=n: asyncio.run(work(n))) for n in (6, 7)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(asyncio.run(collection.count()), len(client._backend._clients._clients))
asyncio.run(client.close())
asyncio.run(client.close())
try:
    asyncio.run(collection.count())
except pgchroma.errors.InvalidArgumentError as error:
    print(error)
"""


def test_an_asynchronous_client_is_used_in_many_loops(emptied: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IN_FIVE_LOOPS, emptied], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("28 1\nthis client is closed\n", "")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"host": "db.example/chroma"}, "Invalid URL. Unrecognized protocol"),
        ({"host": "ftp://db.example"}, "Invalid URL. Unrecognized protocol - ftp"),
        ({"host": "db.example:http"}, "Invalid host 'db.example:http': expected a name"),
        ({"host": "db.example:99999"}, "Invalid host"),
        ({"host": "user@db.example"}, "Invalid host"),
        ({"host": "local host"}, "Invalid host"),
        ({"host": "[::1"}, "Invalid host"),
        ({"host": "db.example:1", "port": 2}, "two ports are given: 'db.example:1' and port=2"),
        ({"port": 0}, "Invalid port 0: expected a number from 1 to 65535"),
        ({"port": "http"}, "Invalid port 'http'"),
        ({"settings": Settings(chroma_server_ssl_verify="flase")}, "there is no file 'flase'"),
        (
            {"settings": Settings(chroma_client_auth_provider="my.Provider")},
            "unknown provider 'my.Provider', expected chromadb.auth.token_authn",
        ),
        (
            {
                "settings": Settings(
                    chroma_client_auth_provider="chromadb.auth.token.TokenAuthClientProvider",
                    chroma_client_auth_credentials="k",
                    chroma_auth_token_transport_header="X-Key",
                )
            },
            "unknown header 'X-Key', expected one of Authorization, X-Chroma-Token",
        ),
        ({"host": "b", "settings": Settings(chroma_server_host="a")}, "host provided in settings"),
        ({"settings": Settings(chroma_server_host="a")}, r"HttpClient: \[localhost\]"),
        ({"settings": Settings(chroma_server_http_port=9)}, r"port .*\[9\].*HttpClient: \[8000\]"),
        ({"host": "http://x:abc"}, "not a server's URL"),
        (
            {"settings": Settings(chroma_client_auth_provider="x.TokenAuthClientProvider")},
            "chroma_client_auth_credentials",
        ),
        (
            {
                "settings": Settings(
                    chroma_client_auth_provider="x.TokenAuthClientProvider",
                    chroma_client_auth_credentials="schlüssel",
                )
            },
            "Invalid token",
        ),
    ],
)
def test_an_address_or_a_key_that_is_none_is_refused(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pgchroma.HttpClient(**options)


def test_no_credential_is_in_an_error(scripted: Scripted) -> None:
    with pytest.raises(ValueError, match="X-Chroma-Token") as caught:
        pgchroma.HttpClient(scripted.url, headers={"X-Chroma-Token": "pgc_secret\n"})
    assert "pgc_secret" not in str(caught.value)
    assert caught.value.__cause__ is None
    with pytest.raises(ValueError, match="Could not connect") as caught:
        pgchroma.HttpClient(f"http://jane:s3cret@127.0.0.1:{free_port()}")
    assert "s3cret" not in "".join(map(str, [caught.value, caught.value.__cause__]))


def test_a_callers_header_takes_the_place_of_the_settings_one(locked: Server) -> None:
    settings = Settings(
        chroma_client_auth_provider="TokenAuthClientProvider",
        chroma_client_auth_credentials="pgc_wrong",
    )
    headers = {"authorization": f"Bearer {locked.first_key}"}
    with pgchroma.HttpClient(locked.url, headers=headers, settings=settings) as client:
        assert client.heartbeat()


def test_a_closed_client_says_so(served: str) -> None:
    client = pgchroma.HttpClient(served)
    client.close()
    with pytest.raises(errors.InvalidArgumentError, match="closed"):
        client.heartbeat()


def test_an_unreachable_server_is_reported_as_by_chroma() -> None:
    with pytest.raises(ValueError, match="Could not connect to a Chroma server") as caught:
        pgchroma.HttpClient(port=free_port())
    assert isinstance(caught.value.__cause__, errors.UnavailableError)


async def test_an_unreachable_server_is_reported_to_asynchronous_callers_too() -> None:
    with pytest.raises(ValueError, match="Could not connect to a Chroma server"):
        await pgchroma.AsyncHttpClient(port=free_port())


@pytest.mark.parametrize("provider", ["Token", "Basic"])
@pytest.mark.parametrize("header", [None, "X-Chroma-Token", "Authorization"])
def test_a_credential_is_sent_as_chromas_settings_say(
    locked: Server, provider: str, header: str | None
) -> None:
    key = locked.first_key
    settings = Settings(
        chroma_client_auth_provider=f"chromadb.auth.{provider.lower()}.{provider}AuthClientProvider",
        chroma_client_auth_credentials=key if provider == "Token" else f"admin:{key}",
        chroma_auth_token_transport_header=header,
    )
    with pgchroma.HttpClient(locked.url, settings=settings) as client:
        assert client.get_user_identity().user_id == "admin"
    assert key not in repr(settings)
    assert key not in repr(client._backend._endpoint)  # type: ignore[attr-defined]


def test_a_missing_or_wrong_key_is_refused(locked: Server) -> None:
    for headers in ({}, {"X-Chroma-Token": "pgc_wrong"}, {"Authorization": "Bearer x"}):
        with pytest.raises(errors.ChromaAuthError):
            pgchroma.HttpClient(locked.url, headers=headers)


def test_the_cloud_client_takes_its_key_from_the_environment(
    locked: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CHROMA_API_KEY", "CHROMA_TENANT", "CHROMA_DATABASE", "CHROMA_HOST"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValueError, match="Missing required arguments: api_key"):
        pgchroma.CloudClient()
    monkeypatch.setenv("CHROMA_API_KEY", locked.first_key)
    monkeypatch.setenv("CHROMA_HOST", locked.url)
    with pytest.raises(ValueError, match="several tenants"):
        pgchroma.CloudClient()
    with pytest.raises(ValueError, match="several databases"):
        pgchroma.CloudClient("default_tenant")
    with pgchroma.CloudClient("default_tenant", "default_database") as client:
        assert client.tenant == "default_tenant"
        assert client.count_collections() >= 0


def test_settings_make_the_plain_factories_speak_http(emptied: str) -> None:
    settings = Settings(
        chroma_api_impl=FASTAPI,
        chroma_server_host="127.0.0.1",
        chroma_server_http_port=int(emptied.rsplit(":", 1)[1]),
    )
    with pgchroma.Client(settings) as client:
        client.create_collection("papers")
    admin = pgchroma.AdminClient(settings)
    assert isinstance(admin, AdminClient)
    admin.create_database("other")
    with pgchroma.Client(settings, database="other") as client:
        assert client.count_collections() == 0
    admin._backend.close()


def test_a_request_that_does_no_harm_is_sent_again(scripted: Scripted) -> None:
    scripted.answers = [AWAY, AWAY, BEAT]
    backend = HttpBackend(Endpoint(scripted.url))
    assert backend.execute(Heartbeat()) == 7
    assert len(scripted.requests) == 3
    backend.close()


def test_a_request_that_might_do_harm_is_not_sent_again(scripted: Scripted) -> None:
    scripted.answers = [AWAY]
    backend = HttpBackend(Endpoint(scripted.url))
    with pytest.raises(errors.UnavailableError, match="away"):
        backend.execute(CreateTenant("acme"))
    assert len(scripted.requests) == 1
    backend.close()


@pytest.mark.parametrize(("effect", "sent"), [("none", 2), ("unknown", 1), (None, 1)])
def test_a_write_is_sent_again_if_it_had_no_effect(
    effect: str | None, sent: int, scripted: Scripted
) -> None:
    headers = AWAY[1] | ({} if effect is None else {"pgchroma-effect": effect})
    scripted.answers = [(503, headers, AWAY[2]), (200, {}, b"{}")]
    backend = HttpBackend(Endpoint(scripted.url))
    try:
        backend.execute(CreateTenant("acme"))
    except errors.UnavailableError as error:
        assert isinstance(error, errors.OutcomeUnknownError) is (effect == "unknown")
    assert len(scripted.requests) == sent
    backend.close()


def test_the_server_says_how_long_to_wait(scripted: Scripted) -> None:
    scripted.answers = [(503, {"retry-after": "1"}, AWAY[2]), BEAT]
    backend = HttpBackend(Endpoint(scripted.url))
    started = time.monotonic()
    backend.execute(Heartbeat())
    assert time.monotonic() - started >= 1
    backend.close()


@pytest.mark.parametrize(
    ("answer", "kind", "message"),
    [
        ((200, {}, b"<html>hello</html>"), errors.ChromaError, "HTTP status 200: <html>"),
        ((418, {}, b"teapot"), errors.ChromaError, "HTTP status 418: teapot"),
        ((404, {}, b""), errors.ChromaError, "HTTP status 404"),
        ((200, {}, b"{}"), errors.ChromaError, "another shape"),
        ((200, {}, b"null"), errors.ChromaError, "another shape"),
        ((500, {}, b'{"detail":"x"}'), errors.ChromaError, "HTTP status 500"),
        (
            (404, {"chroma-trace-id": "a" * 32}, b'{"error":"NotFoundError","message":"no"}'),
            errors.NotFoundError,
            "^no$",
        ),
    ],
)
def test_answers_that_are_none_of_chromas_are_told(
    scripted: Scripted, answer: Any, kind: Any, message: str
) -> None:
    scripted.answers = [answer]
    backend = HttpBackend(Endpoint(scripted.url))
    with pytest.raises(kind, match=message) as caught:
        backend.execute(GetTenant("acme"))
    assert caught.value.trace_id == answer[1].get("chroma-trace-id")
    backend.close()


def test_a_path_on_the_way_and_headers_are_kept(scripted: Scripted) -> None:
    scripted.answers = [(200, {}, b'{"name":"a/b c"}')]
    backend = HttpBackend(Endpoint(f"{scripted.url}/proxy", {"X-Mine": "yes"}))
    assert backend.execute(GetTenant("a/b c")).name == "a/b c"
    ((method, path, headers),) = scripted.requests
    assert (method, path) == ("GET", "/proxy/api/v2/tenants/a%2Fb%20c")
    assert headers["X-Mine"] == "yes"
    assert headers["user-agent"].startswith("pgchroma/")
    backend.close()


@pytest.mark.heavy
def test_a_client_outlives_the_server(module_url: str, tmp_path: Path) -> None:
    port = free_port()
    arguments = ("--url", module_url, "--no-auth")
    with running(tmp_path / "one", *arguments, port=port) as server:
        client = pgchroma.HttpClient(server.url)
        collection = client.get_or_create_collection("survivor")
        server.stop(signal.SIGTERM)
    with running(tmp_path / "two", *arguments, port=port):
        assert collection.count() == 0
        client.close()


def test_a_forks_child_has_connections_of_its_own(served: str) -> None:
    with pgchroma.HttpClient(served) as client:
        child = os.fork()
        if child == 0:
            os._exit(0 if client.heartbeat() else 1)
        assert client.heartbeat()
        assert os.waitpid(child, 0)[1] == 0


async def test_a_forked_child_does_not_use_its_parents_connections(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The child may go on with the event loop of its parent."""
    endpoint = Endpoint("http://localhost:8000")
    clients, asynchronous = HttpClients(endpoint), AsyncHttpClients(endpoint)
    parents = clients.current(), asynchronous.current()
    assert (clients.current(), asynchronous.current()) == parents
    with monkeypatch.context() as child:
        child.setattr("os.getpid", lambda: -1)
        childs = clients.current(), asynchronous.current()
        assert childs[0] is not parents[0]
        assert childs[1] is not parents[1]
        assert (clients.current(), asynchronous.current()) == childs
        clients.close()
        await asynchronous.close()
    assert not parents[1].is_closed
    await parents[1].aclose()
