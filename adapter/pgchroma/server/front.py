"""What stands before routing: the path as it came, HEAD, the trace id, and the log of requests.

Chroma routes on the percent-encoded path, so that a tenant's name may have a slash in it, and takes
``/x/`` for another path than ``/x``.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

__all__ = ("CALLER", "Front", "trace_id")

_log = logging.getLogger("pgchroma.requests")

CALLER = "pgchroma.caller"
"""The key of the request's state under which the caller is noted, for the log."""

_NO_TRACE = "0" * 32

_FAILURE = 400


class Front:
    """Wraps the application; the server calls this."""

    def __init__(self, application: ASGIApp, *, logs_requests: bool) -> None:
        self._application = application
        self._logs_requests = logs_requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass the server's start and end on."""
        if scope["type"] != ScopeType.HTTP:
            await self._application(scope, receive, send)
            return
        response = _Response(send, is_head=scope["method"] == "HEAD")
        started = time.perf_counter()
        try:
            await self._application(_as_it_came(scope), receive, response.send)
        finally:
            if self._logs_requests:
                _note(scope, response, time.perf_counter() - started)


class _Response:
    def __init__(self, send: Send, *, is_head: bool) -> None:
        self.status = 0
        self.size = 0
        self._send = send
        self._is_head = is_head

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = self._headers(list(message["headers"]))
        elif message["type"] == "http.response.body":
            self.size += len(message["body"])
            if self._is_head:
                message["body"] = b""
        await self._send(message)

    def _headers(self, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        if (b"content-length", b"0") in headers:
            # Nothing is of no type.
            headers = [header for header in headers if header[0] != b"content-type"]
        if self.status >= _FAILURE:
            headers.append((b"chroma-trace-id", trace_id().encode()))
        return headers


def trace_id() -> str:
    """Return the id of the trace the request is part of; zeros where there is none."""
    try:
        from opentelemetry import trace  # noqa: PLC0415  (installed only where it is asked for)
    except ImportError:
        return _NO_TRACE
    return format(trace.get_current_span().get_span_context().trace_id, "032x")


def _as_it_came(scope: HTTPScope) -> HTTPScope:
    path = scope["raw_path"].decode("ascii", errors="replace").split("?", 1)[0]
    if path.endswith("/") and not path.startswith("/docs"):
        # A path no route has: routing would take the slash away.
        path += "%"
    method: Any = "GET" if scope["method"] == "HEAD" else scope["method"]
    passed = scope.copy()
    passed.update({"path": path, "method": method})
    return passed


def _note(scope: HTTPScope, response: _Response, seconds: float) -> None:
    # Neither query strings nor bodies: they may hold what is nobody's business.
    state: dict[str, Any] = scope.get("state") or {}
    _log.info(
        "%s %s %d",
        scope["method"],
        scope["raw_path"].decode("ascii", errors="replace")[:500],
        response.status,
        extra={
            "method": scope["method"],
            "path": scope["raw_path"].decode("ascii", errors="replace")[:500],
            "status": response.status,
            "milliseconds": round(seconds * 1000, 2),
            "bytes": response.size,
            "caller": state.get(CALLER),
            "client": (scope.get("client") or ("",))[0],
        },
    )
