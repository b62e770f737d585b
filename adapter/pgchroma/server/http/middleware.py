"""Middleware around routing: the raw path, HEAD, the trace id, the access log and metrics.

Chroma routes on the percent-encoded path, so that a tenant's name may contain a slash, and treats
``/x/`` as a different path than ``/x``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from pgchroma.server.auth.middleware import CALLER
from pgchroma.server.http.errors import allowed
from pgchroma.server.http.unread import ABORT, PART_BYTES, UnreadAnswers
from pgchroma.server.observability.logs import AccessRecord, log_request

if TYPE_CHECKING:
    from pgchroma.server.observability.metrics import Metrics

__all__ = ("RequestMiddleware",)

_FAILURE = 400

_SHORT = 65_536
"""Bytes of a body that usually arrive together with the request's headers."""

_CLIENT_CLOSED = 499
"""The logged status of a request whose client disconnected before the response."""


class RequestMiddleware:
    """The outermost ASGI application.

    Args:
        application: The wrapped application.
        logs_requests: Whether each request is logged.
        metrics: Counts requests, if there is an admin port.
        trace: Names the current trace after the operation when a response begins, and returns the
            trace's id; `None` without tracing.
        unread: Sends long answers, and drops those that clients do not read.
    """

    def __init__(
        self,
        application: ASGIApp,
        *,
        logs_requests: bool,
        metrics: Metrics | None = None,
        trace: Callable[[str], str] | None = None,
        unread: UnreadAnswers | None = None,
    ) -> None:
        self._unread = unread or UnreadAnswers(30.0)
        self._application = application
        self._logs_requests = logs_requests
        self._metrics = metrics
        self._trace = trace

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request; lifespan events are passed on."""
        if scope["type"] != ScopeType.HTTP:
            await self._application(scope, receive, send)
            return
        passed = _with_raw_path(scope)
        response = _Response(
            send, passed, self._trace, self._unread, is_head=scope["method"] == "HEAD"
        )
        body = _Body(receive)
        started = time.perf_counter()
        metrics = self._metrics
        if metrics is not None:
            metrics.request_started()
            receive = body.receive
        try:
            await self._application(passed, receive, response.send)
        finally:
            if self._logs_requests or metrics is not None:
                record = _access_record(scope, response, body, time.perf_counter() - started)
                if metrics is not None:
                    metrics.request_finished(record)
                if self._logs_requests:
                    log_request(record)


class _Body:
    """Counts the bytes of a request's body."""

    def __init__(self, receive: Receive) -> None:
        self.size = 0
        self._receive = receive

    async def receive(self) -> Any:
        message: Any = await self._receive()
        self.size += len(message.get("body", b""))
        return message


class _Response:
    def __init__(
        self,
        send: Send,
        scope: HTTPScope,
        trace: Callable[[str], str] | None,
        unread: UnreadAnswers,
        *,
        is_head: bool,
    ) -> None:
        self._unread = unread
        self.status = _CLIENT_CLOSED
        self.size = 0
        self.trace_id = "0" * 32
        self._send = send
        self._scope = scope
        self._trace = trace
        self._is_head = is_head

    @property
    def operation(self) -> str:
        """The operation's id; empty before routing, and for an unknown path."""
        handler: Any = self._scope.get("route_handler")
        return getattr(handler, "operation_id", None) or ""

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if self._trace is not None:
                self.trace_id = self._trace(self.operation)
            message["headers"] = self._headers(list(message["headers"]))
        elif message["type"] == "http.response.body":
            self.size += len(message["body"])
            if self._is_head:
                message["body"] = b""
            elif len(message["body"]) > PART_BYTES and not message.get("more_body"):
                if not await self._unread.send(message, self._send):
                    await self._abort()
                return
        await self._send(message)

    async def _abort(self) -> None:
        extensions: Any = self._scope.get("extensions") or {}
        if ABORT in extensions:
            extensions[ABORT]["abort"]()
            # The event loop tells the HTTP server in its next round.
            await asyncio.sleep(0)

    def _headers(self, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        is_empty = (b"content-length", b"0") in headers
        # Empty bodies have no content type, nor do responses that were given an empty one.
        headers = [h for h in headers if h[0] != b"content-type" or (h[1] and not is_empty)]
        if self._scope["method"] == "OPTIONS":
            # Litestar lists the methods of one handler, but a path may have several handlers.
            methods = allowed(self._scope["litestar_app"], self._scope["path"]).encode()
            headers = [(name, methods if name == b"allow" else value) for name, value in headers]
        if self.status >= _FAILURE:
            headers.append((b"chroma-trace-id", self.trace_id.encode()))
            if _is_long(self._scope):
                headers.append((b"connection", b"close"))
        return headers


def _is_long(scope: HTTPScope) -> bool:
    """Whether a request's body may still be arriving when the request is rejected.

    The connection is closed soon afterwards. Without ``Connection: close``, a client would send its
    next request on it.
    """
    headers = dict(scope["headers"])
    length = headers.get(b"content-length", b"")
    return b"transfer-encoding" in headers or (length.isdigit() and int(length) > _SHORT)


_NOWHERE = "/%"
"""A path that no route matches."""


def _with_raw_path(scope: HTTPScope) -> HTTPScope:
    path = scope["raw_path"].decode(errors="replace").split("?", 1)[0]
    if "//" in path or (path.endswith("/") and path not in ("/", "/docs/")):
        # Routing would remove the slash, and with it an empty name.
        path = _NOWHERE
    method: Any = "GET" if scope["method"] == "HEAD" else scope["method"]
    # The log reads what the application adds to it.
    scope.setdefault("state", {})
    passed = scope.copy()
    passed.update({"path": path, "method": method})
    return passed


def _access_record(
    scope: HTTPScope, response: _Response, body: _Body, seconds: float
) -> AccessRecord:
    # Neither query strings nor bodies: they contain users' data.
    client = scope.get("client") or ("", 0)
    return AccessRecord(
        response.operation,
        scope["method"],
        scope["raw_path"].decode(errors="replace").split("?", 1)[0][:500],
        response.status,
        seconds,
        response.size,
        body.size,
        scope["state"].get(CALLER) or "",
        client[0],
        response.trace_id,
    )
