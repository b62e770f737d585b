"""Requests that are answered ahead of the framework get the answers that the framework gives."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from pgchroma import errors
from pgchroma.model.credentials import EVERYTHING, Credential, FoundCredential, Role
from pgchroma.model.entities import Limits
from pgchroma.model.hashes import Key, hash_key_secret
from pgchroma.model.operations import CountRecords, DeleteRecords, GetRecords, QueryRecords
from pgchroma.model.operations.credentials import FindCredential
from pgchroma.model.records import QueriedRecords, RecordColumns
from pgchroma.server.http.app import create_app
from pgchroma.server.http.middleware import RequestMiddleware
from pgchroma.server.http.shortcut import NAMES, Shortcut
from pgchroma.server.settings import CircuitBreaker, ServerSettings
from pgchroma.wire.routes import ROUTES

ID = "11111111-1111-4111-8111-111111111111"
C = f"/api/v2/tenants/default_tenant/databases/default_database/collections/{ID}"
ONE = {"ids": ["é"], "embeddings": [[1, 2]]}
JSON = {"content-type": "application/json"}
KEYS: dict[Role, Key] = {role: Key.generate() for role in ("read", "write")}


@dataclass
class Sent:
    """A request; a connection that ends before the body does is `is_cut`."""

    method: str
    path: str
    body: Any = b""
    headers: dict[str, str] = field(default_factory=lambda: dict(JSON))
    is_cut: bool = False

    def messages(self) -> list[dict[str, Any]]:
        """What the server receives, the body in two parts."""
        raw = self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()
        half = len(raw) // 2
        first = {"type": "http.request", "body": raw[:half], "more_body": True}
        rest = {"type": "http.request", "body": raw[half:], "more_body": False}
        return [first, {"type": "http.disconnect"} if self.is_cut else rest]


class Backend:
    """Answers every operation, or fails, and records what it is asked."""

    in_caller_transaction = False

    def __init__(self, failure: BaseException | None = None) -> None:
        self.failure = failure
        self.asked: list[Any] = []

    async def execute(self, operation: Any) -> Any:
        if not isinstance(operation, FindCredential):
            self.asked.append(operation)
        columns = RecordColumns(["é"], np.ones((1, 2), np.float32), ["text"], [None], [{"n": 1}])
        match operation:
            case FindCredential(handle=handle):
                return next(
                    (_found(role, key) for role, key in KEYS.items() if key.id == handle), None
                )
            case _ if self.failure is not None:
                raise self.failure
            case GetRecords():
                return columns
            case QueryRecords():
                return [QueriedRecords(columns, [0.5])]
            case CountRecords() | DeleteRecords():
                return 3
        return None

    async def limits(self) -> Limits:
        return Limits(100, 1000)

    async def close(self) -> None:
        """Nothing is open."""


def _found(role: Role, key: Key) -> FoundCredential:
    credential = Credential(key.id, "key", role, role, EVERYTHING, datetime.now(UTC))
    return FoundCredential(credential, hash_key_secret(key.secret))


@asynccontextmanager
async def _lifespan(_: Any) -> AsyncIterator[None]:
    yield


class Ways:
    """Both ways to an answer: the application, and the same without the shortcut."""

    def __init__(self, settings: ServerSettings, backend: Backend | None = None) -> None:
        self.backend = backend or Backend()
        whole = create_app(settings, self.backend, _lifespan)
        shortcut = whole._application
        assert isinstance(shortcut, Shortcut)
        rest = RequestMiddleware(shortcut._application, logs_requests=settings.log_requests)
        self.applications = whole, rest

    async def ask(self, sent: Sent) -> list[dict[str, Any]]:
        """Assert that both ways answer alike, and ask the backend for the same; return that."""
        seen = []
        for application in self.applications:
            self.backend.asked.clear()
            answer = await _asked(application, sent)
            if sent.path.startswith("/api/v2/heartbeat"):
                answer[1]["body"] = answer[1]["body"][:30]
            seen.append((answer, repr(self.backend.asked)))
        assert seen[0] == seen[1]
        return seen[0][0]


async def _asked(application: RequestMiddleware, sent: Sent) -> list[dict[str, Any]]:
    """What the server sends."""
    messages, answer = sent.messages(), []
    path, _, query = sent.path.partition("?")
    scope: Any = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": sent.method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode("latin-1"),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(k.encode(), v.encode("latin-1")) for k, v in sent.headers.items()],
        "client": ("127.0.0.1", 4711),
        "server": ("127.0.0.1", 8000),
        "state": {},
        "extensions": {},
    }

    async def receive() -> Any:
        await asyncio.sleep(0)
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        answer.append(message)

    await application(scope, receive, send)
    for message in answer:
        message.pop("more_body", None)
        message["headers"] = sorted(message.get("headers", []))
    return answer


OPEN = ServerSettings(
    auth=False,
    log_requests=False,
    max_batch_size=2,
    max_payload_size_bytes=2_000,
    max_n_results=50,
    allowed_hosts=["db.example"],
)

WRITES = ("add", "update", "upsert")

REQUESTS = {
    "heartbeat": (200, Sent("GET", "/api/v2/heartbeat")),
    "heartbeat by HEAD": (200, Sent("HEAD", "/api/v2/heartbeat")),
    "heartbeat with a query": (200, Sent("GET", "/api/v2/heartbeat?x=1")),
    "count": (200, Sent("GET", f"{C}/count")),
    "count by HEAD": (200, Sent("HEAD", f"{C}/count")),
    "count with a query": (200, Sent("GET", f"{C}/count?read_level=index_only")),
    "count with a bad query": (400, Sent("GET", f"{C}/count?read_level=x")),
    "count by POST": (405, Sent("POST", f"{C}/count")),
    "options": (204, Sent("OPTIONS", f"{C}/get")),
    **{name: (201 if name == "add" else 200, Sent("POST", f"{C}/{name}", ONE)) for name in WRITES},
    "get": (200, Sent("POST", f"{C}/get", {"ids": ["é"], "include": ["embeddings", "uris"]})),
    "query": (200, Sent("POST", f"{C}/query", {"query_embeddings": [[1, 2]], "n_results": 1})),
    "query of many results": (
        400,
        Sent("POST", f"{C}/query", {"query_embeddings": [[1]], "n_results": 51}),
    ),
    "delete": (200, Sent("POST", f"{C}/delete", {"ids": ["é"]})),
    "delete without a condition": (400, Sent("POST", f"{C}/delete", {"ids": []})),
    "no JSON": (400, Sent("POST", f"{C}/get", b"{")),
    "another shape": (422, Sent("POST", f"{C}/get", {"ids": 5})),
    "a bad filter": (400, Sent("POST", f"{C}/get", {"where": {"$x": 5}})),
    "a regular expression": (
        200,
        Sent("POST", f"{C}/get", {"where_document": {"$regex": "a+"}}),
    ),
    "deeply nested": (400, Sent("POST", f"{C}/get", b'{"where":' + b'{"$and":[' * 180)),
    "empty": (400, Sent("POST", f"{C}/get")),
    "cut off": (400, Sent("POST", f"{C}/get", {"ids": ["é"]}, is_cut=True)),
    "form": (415, Sent("POST", f"{C}/get", {}, {"content-type": "text/plain"})),
    "no content type": (415, Sent("POST", f"{C}/get", {}, {"content-length": "2"})),
    "too many records": (
        400,
        Sent("POST", f"{C}/add", {"ids": ["1", "2", "3"], "embeddings": [[1]] * 3}),
    ),
    **{
        f"too long {name}": (413, Sent("POST", f"{C}/{name}", {"ids": ["é" * 1_000]}))
        for name in (*WRITES, "get", "query", "delete")
    },
    "too long by its header": (
        413,
        Sent("POST", f"{C}/add", ONE, {**JSON, "content-length": "70000"}),
    ),
    "another host": (403, Sent("GET", f"{C}/count", headers={"host": "evil.example"})),
    "an allowed host": (200, Sent("GET", f"{C}/count", headers={"host": "db.example:80"})),
    "another origin": (
        403,
        Sent("POST", f"{C}/add", ONE, {**JSON, "origin": "http://evil.example"}),
    ),
    "no UUID": (400, Sent("GET", C.replace(ID, "papers") + "/count")),
    "an encoded tenant": (200, Sent("GET", C.replace("default_tenant", "a%2Fb%C3%A9") + "/count")),
    "a path that is not UTF-8": (400, Sent("GET", C.replace("default_tenant", "%FF") + "/count")),
    "an empty name": (404, Sent("GET", C.replace("default_tenant", "") + "/count")),
    "a short database": (400, Sent("GET", C.replace("default_database", "x") + "/count")),
    "a slash at the end": (404, Sent("GET", f"{C}/count/")),
    "an unknown verb": (404, Sent("POST", f"{C}/unknown")),
    "another prefix": (404, Sent("GET", C.replace("tenants", "people") + "/count")),
}


@pytest.fixture(scope="module")
def ways() -> Ways:
    """Both ways of a server without authentication."""
    return Ways(OPEN)


@pytest.mark.parametrize("name", REQUESTS)
async def test_both_ways_answer_alike(ways: Ways, name: str) -> None:
    status, sent = REQUESTS[name]
    answer = await ways.ask(sent)
    assert answer[0]["status"] == status


FAILURES = (
    errors.NotFoundError("Collection [x] does not exist."),
    errors.InvalidArgumentError("wrong"),
    errors.UnavailableError("host db.example does not answer"),
    errors.PoolExhaustedError("all 4 connections"),
    errors.OutcomeUnknownError("lost"),
    errors.DeadlineExceededError("took too long"),
    errors.RateLimitError("slower"),
    errors.MissingRightError("grant it"),
    errors.InternalError("quotes a row"),
    errors.StorageFullError("full"),
    RecursionError("too deep"),
    ValueError("quotes a value"),
    MemoryError(),
)


@pytest.mark.parametrize("failure", FAILURES, ids=lambda each: type(each).__name__)
@pytest.mark.parametrize("name", ["get", "add"])
async def test_both_ways_fail_alike(
    ways: Ways, monkeypatch: pytest.MonkeyPatch, name: str, failure: BaseException
) -> None:
    monkeypatch.setattr(ways.backend, "failure", failure)
    answer = await ways.ask(Sent("POST", f"{C}/{name}", ONE))
    assert answer[0]["status"] >= 400
    assert b"quotes" not in answer[1]["body"]


@pytest.fixture(scope="module")
def locked() -> Ways:
    """Both ways of a server that requires credentials."""
    return Ways(ServerSettings(log_requests=False))


CALLERS: dict[str, dict[str, str]] = {
    "reader": {"x-chroma-token": KEYS["read"].text},
    "writer": {"authorization": f"Bearer {KEYS['write'].text}"},
    "basic": {"authorization": "Basic eDp5"},
    "malformed": {"authorization": "Digest x"},
    "wrong": {"x-chroma-token": Key.generate().text},
    "nobody": {},
}


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize(
    "sent",
    [
        Sent("GET", "/api/v2/heartbeat"),
        Sent("GET", f"{C}/count"),
        Sent("POST", f"{C}/add", ONE),
        Sent("POST", f"{C}/add", b"{"),
        Sent("GET", C.replace("default_tenant", "%FF") + "/count"),
    ],
    ids=["heartbeat", "count", "add", "no JSON", "not UTF-8"],
)
async def test_both_ways_authenticate_alike(locked: Ways, caller: str, sent: Sent) -> None:
    given = Sent(sent.method, sent.path, sent.body, {**sent.headers, **CALLERS[caller]})
    answer = await locked.ask(given)
    if caller not in ("reader", "writer") and not sent.path.endswith("heartbeat"):
        assert answer[0]["status"] == 401


async def test_both_ways_refuse_what_is_too_much_at_once() -> None:
    settings = ServerSettings(
        auth=False, log_requests=False, circuit_breaker=CircuitBreaker(requests=1)
    )
    for application in Ways(settings, Slow()).applications:
        first, second = await asyncio.gather(
            *(_asked(application, Sent("GET", f"{C}/count")) for _ in range(2))
        )
        assert (first[0]["status"], second[0]["status"]) == (200, 429)


async def test_both_ways_end_what_takes_too_long() -> None:
    settings = ServerSettings(auth=False, log_requests=False, request_timeout=0.01)
    answer = await Ways(settings, Slow()).ask(Sent("GET", f"{C}/count"))
    assert answer[0]["status"] == 504


class Slow(Backend):
    async def execute(self, operation: Any) -> Any:
        await asyncio.sleep(0.1)
        return await super().execute(operation)


async def test_web_pages_of_allowed_origins_get_the_headers_of_the_framework() -> None:
    settings = ServerSettings(
        auth=False, log_requests=False, cors_allow_origins=["http://app.example"]
    )
    ways = Ways(settings)
    for headers in ({"Origin": "http://app.example"}, {"origin": "http://evil.example"}, {}):
        sent = Sent("POST", f"{C}/get", {"ids": ["é"]}, {**JSON, **headers})
        answer = await ways.ask(sent)
        has_cors = b"access-control-allow-origin" in dict(answer[0]["headers"])
        assert has_cors == ("Origin" in headers)


def test_a_limit_of_the_rate_leaves_everything_to_the_framework() -> None:
    app = create_app(ServerSettings(rate_limit=5), Backend(), _lifespan)
    assert not isinstance(app._application, Shortcut)


def test_every_name_is_that_of_a_route() -> None:
    assert {route.name for route in ROUTES} >= NAMES
