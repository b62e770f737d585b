"""The most frequent requests, answered ahead of the framework.

Routing, request objects and middleware of the framework take longer than such a request itself.
The same code decides on both ways: the dispatcher, the authenticator, the rules for browsers, and
the answers to errors. A test compares both ways.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

from pgchroma.server.auth.authenticator import Authenticator
from pgchroma.server.auth.headers import plain_headers
from pgchroma.server.auth.middleware import authenticate
from pgchroma.server.http.answers import Answer
from pgchroma.server.http.browsers import BrowserRules
from pgchroma.server.http.dispatch import ANONYMOUS, Dispatcher, Incoming
from pgchroma.server.http.errors import answer_to
from pgchroma.server.limits import RequestLimiter
from pgchroma.wire.paths import COLLECTION
from pgchroma.wire.route import PREFIX, Route
from pgchroma.wire.routes import ROUTES

__all__ = ("Shortcut",)

NAMES: Final = frozenset(
    (
        "collection_add",
        "collection_count",
        "collection_delete",
        "collection_get",
        "collection_query",
        "collection_update",
        "collection_upsert",
        "heartbeat",
    )
)
"""The ids of the operations that are answered here."""


class _Named(NamedTuple):
    """What the log and the metrics read of a handler."""

    operation_id: str


class Shortcut:
    """Answers the most frequent requests, and passes all others on.

    Args:
        application: The framework's application.
        dispatcher: Handles requests.
        authenticator: Authenticates callers.
        limiter: Bounds how long authentication may take.
        rules: Which requests of browsers are accepted; `None` if the server requires credentials.
        has_cors: Whether answers to web pages get headers, which the framework adds.
    """

    def __init__(
        self,
        application: ASGIApp,
        dispatcher: Dispatcher,
        authenticator: Authenticator,
        limiter: RequestLimiter,
        rules: BrowserRules | None,
        *,
        has_cors: bool,
    ) -> None:
        self._application = application
        self._dispatcher = dispatcher
        self._authenticator = authenticator
        self._limiter = limiter
        self._rules = rules
        self._has_cors = has_cors
        hot = [route for route in ROUTES if route.name in NAMES]
        self._of_collections: dict[tuple[str, str], Route[Any, Any]] = {
            (route.method, route.path.removeprefix(f"{COLLECTION}/")): route
            for route in hot
            if route.path.startswith(COLLECTION)
        }
        self._others: dict[tuple[str, str], Route[Any, Any]] = {
            (route.method, PREFIX + route.path): route
            for route in hot
            if not route.path.startswith(COLLECTION)
        }
        self._handlers = {route.name: _Named(route.name) for route in hot}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        found = self._find(scope) if scope["type"] == ScopeType.HTTP else None
        if found is None:
            await self._application(scope, receive, send)
            return
        route, values = found
        request: Any = scope
        request["route_handler"] = self._handlers[route.name]
        try:
            answer = await self._answer(route, values, request, receive)
        except Exception as error:
            answer = answer_to(error, route.name)
        await answer.send(send)

    def _find(self, scope: HTTPScope) -> tuple[Route[Any, Any], Sequence[str]] | None:
        """Return the route of a request with the values of its path; `None` to pass it on."""
        if scope["query_string"] or (self._has_cors and _has_origin(scope)):
            return None
        method, path = scope["method"], scope["path"]
        parts = path.split("/")
        if len(parts) != len(_PARTS):
            route = self._others.get((method, path))
            return None if route is None else (route, ())
        if parts[:4] != _PARTS[:4] or parts[5] != _PARTS[5] or parts[7] != _PARTS[7]:
            return None
        route = self._of_collections.get((method, parts[9]))
        return None if route is None else (route, (parts[4], parts[6], parts[8]))

    async def _answer(
        self, route: Route[Any, Any], values: Sequence[str], scope: HTTPScope, receive: Receive
    ) -> Answer:
        headers = plain_headers(scope["headers"])
        if self._rules is not None:
            self._rules.check(scope["method"], headers)
        caller = ANONYMOUS
        if route.access != "public":
            caller = await authenticate(scope, headers, self._authenticator, self._limiter)
        incoming = Incoming(scope, values, {}, headers, caller, receive)
        return await self._dispatcher.dispatch(route, incoming)


_PARTS: Final = f"{PREFIX}{COLLECTION}/verb".split("/")
"""The parts of a path below a collection."""


def _has_origin(scope: HTTPScope) -> bool:
    return any(name.lower() == b"origin" for name, _ in scope["headers"])
